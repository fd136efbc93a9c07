"""The modules over pgBackRest, with the real programs: what is made, what is refused, what is said."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.nano.ops.plugins.module_utils import pgbackrest
from ansible_collections.nano.ops.plugins.module_utils.pgbackrest import Cluster, PgBackRestError, Repository

from workload.nano_api.tests import programs

from . import backup_site
from .modules import Result, run_module

REAL = pytest.mark.skipif(
    bool(os.geteuid() or backup_site.lacks()), reason=f"needs root; {backup_site.lacks() or 'all else is there'}"
)
ONE, OTHER = Cluster(7711924608674786195, "17"), Cluster(7711941674007171492, "17")


def test_stanza_is_created_where_it_is_missing() -> None:
    assert pgbackrest.plan([Repository(1, ONE, True), Repository(2, None, False)], ONE) == "stanza-create"
    assert pgbackrest.plan([Repository(1, None, False)], None) == "stanza-create"


def test_newer_version_of_the_same_cluster_is_an_upgrade() -> None:
    newer = Cluster(ONE.system_identifier, "18")
    assert pgbackrest.plan([Repository(1, ONE, True)], newer) == "stanza-upgrade"
    assert pgbackrest.plan([Repository(1, newer, True)], newer) == ""


@pytest.mark.parametrize("cluster", [ONE, None])
def test_what_is_right_or_was_not_looked_at_is_left_alone(cluster: Cluster | None) -> None:
    assert pgbackrest.plan([Repository(1, ONE, True), Repository(2, ONE, False)], cluster) == ""


def test_another_cluster_is_refused_although_a_stanza_is_missing() -> None:
    with pytest.raises(PgBackRestError) as error:
        pgbackrest.plan([Repository(1, None, False), Repository(2, OTHER, True)], ONE)
    for words in ("Repository 2 holds", "nothing was changed", str(ONE.system_identifier), "stanza-upgrade"):
        assert words in str(error.value)


# As pgBackRest 2.55.1 said them, shortened.
FORBIDDEN = (
    "ERROR: [039]: HTTP request failed with 403 (Forbidden):\n  *** Response Headers ***:\n  x-minio-error-code: "
)
SAID = {
    f"{FORBIDDEN}SignatureDoesNotMatch": "pgbackrest_s3_secret is not the secret",
    f"{FORBIDDEN}InvalidAccessKeyId": "does not know pgbackrest_s3_access_key",
    f"{FORBIDDEN}AccessDenied": "may not list, read, write and delete in pgbackrest_s3_bucket",
    "ERROR: [039]: HTTP request failed with 404 (Not Found):\n<Code>NoSuchBucket</Code>": "has no such bucket",
    "ERROR: [039]: HTTP request failed with 503 (Service Unavailable):": "S3 answers 503 (Service Unavailable)",
    "[CryptoError] unable to verify certificate presented by 'store2:9000 (10.0.0.1)': [20] unable to get": (
        "store2:9000 (10.0.0.1) cannot prove who it is"
    ),
    "ERROR: [105]: raised from remote-0 tls protocol on 'db1': access denied": "does not know this host",
    "ERROR: [103]: expected value '2.55.1' for greeting key 'version' but got '2.45'": "has not pgBackRest 2.55.1",
    "WARN: unable to check pg1: [HostConnectError] unable to connect to 'db1:8432 (10.0.0.2)': [111] refused\n"
    "ERROR: [056]: unable to find primary cluster - cannot proceed\n  HINT: are all available clusters in recovery?": (
        "no member of group postgresql serves as primary. Is PostgreSQL running, and pgbackrest.service beside it? "
        "(WARN: unable to check pg1: [HostConnectError] unable to connect to 'db1:8432 (10.0.0.2)'"
    ),
    "ERROR: [082]: WAL segment 000000010000000000000002 was not archived before the 120000ms timeout": (
        "segment 000000010000000000000002 did not arrive"
    ),
    "ERROR: [049]: unable to connect to 'store2:9000': [111] Connection refused": "store2:9000': is the host up",
    "ERROR: [050]: unable to acquire lock on file '/x/nano-backup-1.lock': Resource": "another pgBackRest is at work",
    "ERROR: [040]: backup directory and/or archive directory not empty": "holds files of this stanza and not the lists",
    "ERROR: [031]: something that nobody has seen yet\n  HINT: try": "ERROR: [031]: something that nobody has seen yet",
}


@pytest.mark.parametrize("said", SAID, ids=range(len(SAID)))
def test_error_is_put_into_words_that_help(said: str) -> None:
    assert SAID[said] in pgbackrest.meaning(said)


def test_noise_of_a_wrong_passphrase_is_not_repeated() -> None:
    said = "[FormatError] unable to load info file 'x':\nFormatError: key/value found outside of section: 9\x01�\x1b"
    found = {"name": "nano", "repo": [{"key": 2, "status": {"code": 99, "message": said}}], "db": [], "archive": []}
    with pytest.raises(PgBackRestError) as error:
        pgbackrest.repositories(json.dumps([found]).replace("\\u0001", "\x01"), "nano")
    assert str(error.value).startswith("Repository 2: it cannot be decrypted. Is pgbackrest_cipher_passphrase")
    assert str(error.value).isprintable()


@pytest.mark.parametrize("streams", [("{}[]", ""), ("[]", "{}")])
def test_unknown_option_is_told_wherever_pgbackrest_warns(streams: tuple[str, str]) -> None:
    """2.55.1 warns of it where the answer comes, 2.45 where errors do."""
    output, errors = (text.format("P00   WARN: configuration file contains invalid option 'x'\n") for text in streams)
    with pytest.raises(PgBackRestError, match="The configuration file contains invalid option 'x': correct pgbackrest"):
        pgbackrest.accepts(pgbackrest.Done(0, output, errors), "nano")


@pytest.fixture(scope="module")
def cluster(open_folder: Path) -> Iterator[backup_site.Cluster]:
    """PostgreSQL that archives into two repositories, of this file's own: its tests damage it."""
    made = backup_site.Cluster(open_folder / "stanza")
    yield made
    made.stop()


@pytest.fixture
def here(cluster: backup_site.Cluster, monkeypatch: pytest.MonkeyPatch) -> backup_site.Cluster:
    """The cluster, to which the modules find their way."""
    # Without the cluster's own words: the configuration comes by the environment, or is the one to be tried.
    plain = cluster.bin / "pgbackrest-alone"
    words = " ".join(f"'{word}'" for word in programs.find("pgbackrest"))
    plain.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    plain.chmod(0o755)
    monkeypatch.setattr(pgbackrest, "PROGRAM", str(plain))
    monkeypatch.setattr(pgbackrest, "USER", "nobody")
    monkeypatch.setattr(pgbackrest, "GROUP", "nogroup")
    monkeypatch.setattr(pgbackrest, "CONFIGURATION", str(cluster.here / "pgbackrest.conf"))
    monkeypatch.setattr(pgbackrest, "IO_TIMEOUT_S", 1)
    monkeypatch.setattr(pgbackrest, "ENVIRONMENT", {"PGBACKREST_CONFIG": str(cluster.here / "pgbackrest.conf")})
    return cluster


def identifier(cluster: backup_site.Cluster) -> str:
    return cluster.sql("SELECT system_identifier FROM pg_control_system()")


def clusters(cluster: backup_site.Cluster, **changes: str) -> list[dict[str, str]]:
    """Return what nano.ops.postgresql_cluster tells of the cluster."""
    version = cluster.sql("SHOW server_version").split(".")[0]
    return [{"holds": "primary", "system_identifier": identifier(cluster), "version": version, **changes}]


def stanza(cluster: backup_site.Cluster, *, check: bool = False, **changes: str) -> Result:
    return run_module("pgbackrest_stanza", {"clusters": clusters(cluster, **changes)}, check=check)


def content(folder: Path) -> dict[str, str]:
    """Return every file below a folder with its sum, without the WAL that goes on arriving."""
    files = [path for path in folder.rglob("*.info*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@REAL
def test_lost_repository_gets_its_stanza_and_wal_arrives(here: backup_site.Cluster) -> None:
    assert not stanza(here).changed
    second = here.repositories[1]
    second.rename(here.here / "lost")
    backup_site.give(second)
    seen = stanza(here, check=True)
    assert (seen.changed, seen["action"], seen["checked"]) == (True, "stanza-create", False)
    assert list(second.iterdir()) == [], "check mode has made something"
    made = stanza(here)
    assert (made.failed, made.changed, made["action"], made["checked"]) == (False, True, "stanza-create", True)
    assert list((second / "archive/nano").rglob("0000*-*.gz")), "no WAL has arrived"
    again = stanza(here)
    assert (again.changed, again["action"], again["checked"]) == (False, "", False)


@REAL
def test_repository_of_another_cluster_is_left_as_it_is(here: backup_site.Cluster) -> None:
    before = [content(folder) for folder in here.repositories]
    result = stanza(here, system_identifier=str(OTHER.system_identifier))
    assert result.failed and "Repository 1 holds the backups of another cluster" in result.message
    assert all(before) and [content(folder) for folder in here.repositories] == before


@REAL
def test_stanza_without_a_primary_says_so(here: backup_site.Cluster) -> None:
    known = clusters(here)
    second, aside = here.repositories[1], here.here / "aside"
    second.rename(aside)
    backup_site.give(second)
    here.stop()
    try:
        result = run_module("pgbackrest_stanza", {"clusters": known})
        assert result.failed and "no member of group postgresql serves as primary" in result.message, result.message
        assert not list(second.rglob("*.info"))
    finally:
        here.start()
        second.rmdir()
        aside.rename(second)


@REAL
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("cipher-pass=", "cipher-pass=not-the-one-", "Repository 1: it cannot be decrypted"),
        ("start-fast=y", "start-fats=y", "contains invalid option 'start-fats'"),
        ("start-fast=y", "[nowhere", "pgBackRest refuses it"),
    ],
)
def test_configuration_that_fails_does_not_replace_the_one_in_use(
    here: backup_site.Cluster, old: str, new: str, words: str
) -> None:
    place = Path(pgbackrest.CONFIGURATION)
    before, folder = place.read_text(), sorted(place.parent.iterdir())
    result = run_module("pgbackrest_configuration", {"content": before.replace(old, new)})
    assert result.failed and words in result.message and "was not changed" in result.message, result.message
    assert place.read_text() == before
    assert sorted(place.parent.iterdir()) == folder, "something was left behind"


@REAL
def test_configuration_with_a_store_that_does_not_answer_is_accepted(here: backup_site.Cluster) -> None:
    lines = ["repo3-type=s3", f"repo3-s3-endpoint=https://127.0.0.1:{backup_site.free_port()}", "repo3-s3-bucket=b"]
    lines += [
        "repo3-s3-region=r",
        "repo3-s3-key=k",
        "repo3-s3-key-secret=s",
        "repo3-path=/p",
        "repo3-s3-uri-style=path",
    ]
    content = Path(pgbackrest.CONFIGURATION).read_text().replace("[nano]", "\n".join([*lines, "[nano]"]))
    result = run_module("pgbackrest_configuration", {"content": content})
    assert (result.failed, result.data.get("tried")) == (False, True), result.message


@REAL
def test_configuration_in_use_is_not_tried_again(here: backup_site.Cluster) -> None:
    result = run_module("pgbackrest_configuration", {"content": Path(pgbackrest.CONFIGURATION).read_text()})
    assert (result.failed, result["tried"]) == (False, False)


@pytest.mark.parametrize("name", ["pgbackrest_stanza", "pgbackrest_configuration"])
def test_bare_host_passes_a_check_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgbackrest, "PROGRAM", str(tmp_path / "nothing"))
    monkeypatch.setattr(pgbackrest, "CONFIGURATION", str(tmp_path / "pgbackrest.conf"))
    args = {"content": "text", "always": True} if name.endswith("configuration") else {}
    result = run_module(name, args, check=True)
    assert (result.failed, result.changed) == (False, name == "pgbackrest_stanza")
