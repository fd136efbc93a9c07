"""pgBackRest's words: what its repositories hold, and what its errors mean to an operator."""

from __future__ import annotations

import grp
import json
import pwd
import re
import subprocess
from dataclasses import dataclass
from typing import Any

PROGRAM = "/usr/bin/pgbackrest"
CONFIGURATION = "/etc/pgbackrest/pgbackrest.conf"
USER = "postgres"
# Reads the host's key.
GROUP = "nano-tls"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
# pgBackRest tries again for as long as this when nobody answers, several times in a row; its default is 60 s.
IO_TIMEOUT_S = 10
# Code of the status of a repository that cannot be read: https://pgbackrest.org/command.html#command-info
OTHER_ERROR = 99
# Exit code of a command that found another one's lock.
LOCKED = 50
UNREACHABLE = r"(unable to connect to '[^']+'|unable to get address for '[^']+'|timeout connecting to '[^']+')"


class PgBackRestError(Exception):
    """What pgBackRest refuses to do, and what to do about it."""


@dataclass(frozen=True)
class Cluster:
    """A cluster as its control file names it."""

    system_identifier: int
    version: str


@dataclass(frozen=True)
class Repository:
    """What a repository holds of a stanza: the cluster that it was last made for, and whether any WAL of that one."""

    number: int
    cluster: Cluster | None
    has_wal: bool


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    output: str
    errors: str


def run(stanza: str, *argv: str) -> Done:
    """Run pgBackRest as PostgreSQL's user; the host's own configuration says with what."""
    owner = pwd.getpwnam(USER)
    done = subprocess.run(
        [PROGRAM, f"--stanza={stanza}", f"--io-timeout={IO_TIMEOUT_S}", *argv],
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[grp.getgrnam(GROUP).gr_gid],
        env={**ENVIRONMENT, "HOME": owner.pw_dir},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    # Decrypted with a wrong passphrase, a file is quoted as the noise that it then is.
    return Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


# In the order in which they are looked for: what, and the text, with the first group of the pattern as {0}.
MEANINGS = (
    (
        r"unable to load info file(?s:.*)(?:CryptoError|FormatError|ChecksumError)",
        "it cannot be decrypted. Is pgbackrest_cipher_passphrase the one that the repository was made with? It cannot "
        "be changed afterwards: bring the old one back into the vault",
    ),
    (r"SignatureDoesNotMatch", "S3 refuses the signature: pgbackrest_s3_secret is not the secret of that access key"),
    (r"InvalidAccessKeyId", "S3 does not know pgbackrest_s3_access_key"),
    (r"NoSuchBucket", "S3 has no such bucket: make it, or correct pgbackrest_s3_bucket"),
    (
        r"failed with 403",
        "S3 refuses the access: pgbackrest_s3_access_key may not list, read, write and delete in pgbackrest_s3_bucket, "
        "or one of the two is mistyped",
    ),
    (r"HTTP request failed with (\d+ \([^)]*\))", "S3 answers {0}"),
    (
        r"unable to verify certificate presented by '([^']+)'",
        "{0} cannot prove who it is: its certificate is of another CA than that of the platform or, for S3, of "
        "pgbackrest_s3_ca_file",
    ),
    (
        r"access denied",
        "the other host's pgBackRest does not know this host: run role pgbackrest there too, without --limit",
    ),
    (r"expected value '([^']+)' for greeting key 'version'", "the other host has not pgBackRest {0}, as this one has"),
    (
        r"unable to find primary cluster(?s:.*)",
        "no member of group postgresql serves as primary. Is PostgreSQL running, and pgbackrest.service beside it?",
    ),
    (
        r"files exist but do not match the database",
        "a repository holds the backups of another cluster, or of an older version of this one: run without --limit, "
        "and the two are told apart",
    ),
    (
        r"WAL segment (\w+) was not archived",
        "segment {0} did not arrive: PostgreSQL's log on the primary says why archiving fails",
    ),
    (r"unable to acquire lock on file '([^']+)'", "another pgBackRest is at work, {0} is locked: try again later"),
    (
        r"directory not empty",
        "a repository holds files of this stanza and not the lists of them. Look at what is there, and move it away or "
        "bring back archive.info and backup.info",
    ),
    (
        UNREACHABLE,
        "{0}: is the host up, the address right and the port open?",
    ),
)


def readable(text: str) -> str:
    """Return pgBackRest's own error in one line: without hints, headers and what is no text."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    kept = [line for line in lines if re.match(r"(ERROR|WARN|\[\w+Error\])", line) and line.isprintable()]
    return " ".join(kept)[:400] or "pgBackRest gives no reason"


def meaning(text: str) -> str:
    """Return what an error of pgBackRest's means and what to do; its own words where none is known."""
    for pattern, words in MEANINGS:
        if found := re.search(pattern, text):
            warned = f" ({readable(text)})" if "find primary" in pattern else ""
            return words.format(*found.groups()) + warned
    return readable(text)


def read(output: str, stanza: str) -> dict[str, Any]:
    """Return what `pgbackrest info --output=json` tells of a stanza.

    Raises:
        PgBackRestError: it tells nothing that can be read.
    """
    try:
        # Noise holds characters that JSON does not allow.
        found: dict[str, Any] = next(each for each in json.loads(output, strict=False) if each["name"] == stanza)
    except (ValueError, StopIteration) as error:
        raise PgBackRestError(f"What the repositories hold cannot be read: {meaning(output)}.") from error
    return found


def refusals(found: dict[str, Any]) -> list[tuple[int, str]]:
    """Return number and error of each repository that cannot be read."""
    wrong = [repo for repo in found.get("repo", []) if repo["status"]["code"] == OTHER_ERROR]
    return [(repo["key"], repo["status"]["message"]) for repo in wrong]


def accepts(done: Done, stanza: str) -> None:
    """Judge a configuration by how `pgbackrest info --output=json` ended with it.

    Raises:
        PgBackRestError: a repository refuses it, or pgBackRest itself does. One that does not answer refuses nothing.
    """
    # It warns before it has read where warnings are to go, and where that is depends on its version.
    if found := re.search(r"configuration file contains .*", done.errors + done.output):
        raise PgBackRestError(f"The {found.group()}: correct pgbackrest_settings.")
    if done.code:
        raise PgBackRestError(f"pgBackRest refuses it: {meaning(done.errors + done.output)}.")
    wrong = [(key, text) for key, text in refusals(read(done.output, stanza)) if not re.search(UNREACHABLE, text)]
    if wrong:
        raise PgBackRestError(" ".join(f"Repository {key}: {meaning(text)}." for key, text in wrong))


def repositories(output: str, stanza: str) -> list[Repository]:
    """Read the output of `pgbackrest info --output=json`.

    Raises:
        PgBackRestError: a repository cannot be read; the text names it.
    """
    found = read(output, stanza)
    if wrong := refusals(found):
        raise PgBackRestError(" ".join(f"Repository {key}: {meaning(text)}." for key, text in wrong))
    made = []
    for repo in found.get("repo", []):
        of_repo = [entry for entry in found["db"] if entry["repo-key"] == repo["key"]]
        if not of_repo:
            made.append(Repository(repo["key"], None, False))
            continue
        last = max(of_repo, key=lambda entry: int(entry["id"]))
        wal = [
            entry["max"]
            for entry in found["archive"]
            if (entry["database"]["repo-key"], entry["database"]["id"]) == (repo["key"], last["id"])
        ]
        made.append(Repository(repo["key"], Cluster(int(last["system-id"]), str(last["version"])), any(wal)))
    return made


def plan(found: list[Repository], cluster: Cluster | None) -> str:
    """Decide what is to be done with a stanza: "stanza-create", "stanza-upgrade" or "".

    Args:
        found: what the repositories hold.
        cluster: the cluster that is to be backed up; None when it was not looked at.

    Raises:
        PgBackRestError: a repository holds another cluster's backups.
    """
    for repository in found:
        held = repository.cluster
        if held and cluster and held.system_identifier != cluster.system_identifier:
            raise PgBackRestError(
                f"Repository {repository.number} holds the backups of another cluster, nothing was changed: it was "
                f"made for system identifier {held.system_identifier} (PostgreSQL {held.version}), the databases have "
                f"{cluster.system_identifier} (PostgreSQL {cluster.version}). Was the cluster made anew by mistake? "
                "Then restore it. Is it meant to be a new one? Then `sudo -u postgres pgbackrest --stanza=nano "
                "stanza-upgrade` on this host goes on with it in the same place, and the old backups stay until they "
                "expire"
            )
    if any(repository.cluster is None for repository in found):
        return "stanza-create"
    if cluster and any(repository.cluster != cluster for repository in found):
        return "stanza-upgrade"
    return ""
