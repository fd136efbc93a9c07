"""How data that have gone their own way become a copy of the primary's again: pg_rewind, else a delta restore."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.nano.ops.plugins.module_utils import restore_repository
from ansible_collections.nano.ops.plugins.module_utils.failover import FailoverError, number
from ansible_collections.nano.ops.plugins.module_utils.rejoin_wal import History
from ansible_collections.nano.ops.plugins.module_utils.restore_choice import SEGMENT_BYTES, segment_name
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import Backup, Repository, as_postgres
from ansible_collections.nano.ops.plugins.module_utils.restore_server import RECOVERY_SETTINGS

# A copy of terabytes takes hours.
MOST_SECONDS = 7 * 86400.0


def configuration(place: Place) -> str:
    """Return the server's configuration, which lies where Debian has it."""
    return f"/etc/postgresql/{place.version}/{place.name}/postgresql.conf"


def run(place: Place, name: str, *words: str, seconds: float = MOST_SECONDS) -> str:
    """Run a program of PostgreSQL as its user and return what it prints.

    Raises:
        FailoverError: it failed; its words are in the text.
    """
    argv = [f"/usr/lib/postgresql/{place.version}/bin/{name}", *words]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=seconds, **as_postgres())
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FailoverError(f"{name}: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error:" in line or "FATAL" in line]
        raise FailoverError(f"{name} failed: {' / '.join(lines or done.stderr.splitlines())[-600:]}")
    # Of lines alone: an empty last column is part of an answer.
    return str(done.stdout).strip("\n")


def setting(place: Place, name: str) -> str:
    """Return what the server's configuration says of a setting, whether it runs or not."""
    return run(place, "postgres", "-D", str(place.data), "-c", f"config_file={configuration(place)}", "-C", name)


def ask(place: Place, source: str, command: str) -> str:
    """Ask the primary a question of the replication protocol, with the words and certificate that a standby has.

    Raises:
        FailoverError: it does not answer.
    """
    argv = ["-XAtq", "-F", "\x1f", "-d", f"{source} dbname=postgres replication=true", "-c", command]
    return run(place, "psql", *argv, seconds=30)


def primary_history(place: Place, source: str) -> tuple[str, History, int]:
    """Return the primary's system identifier, its history and how far it has come."""
    identifier, timeline, position, _ = ask(place, source, "IDENTIFY_SYSTEM").split("\x1f")
    text = ask(place, source, f"TIMELINE_HISTORY {timeline}").partition("\x1f")[2] if int(timeline) > 1 else ""
    return identifier, History.read(int(timeline), text), number(position)


def rewind(place: Place, source: str) -> None:
    """Bring the blocks back that were changed since the histories parted.

    Raises:
        FailoverError: it cannot be done, or was cut off; the data may be spoilt then.
    """
    words = [f"--target-pgdata={place.data}", f"--source-server={source} dbname=postgres"]
    words += [f"--config-file={configuration(place)}"]
    if setting(place, "restore_command"):
        # What this host has removed of its own WAL since the histories parted may be in the archive.
        words += ["--restore-target-wal"]
    run(place, "pg_rewind", *words)


def usable(backups: Iterable[Backup], history: History, identifier: str) -> Backup:
    """Return the newest backup that lies on the way to where the primary is.

    Raises:
        FailoverError: there is none.
    """
    ends = dict(history.timelines)
    found = [
        each
        for each in backups
        if str(each.system_id) == identifier and not each.has_errors and each.stop_lsn <= ends.get(each.timeline, -1)
    ]
    if not found:
        raise FailoverError("no repository has a backup that leads to where the primary is")
    return max(found, key=lambda each: (each.stop_lsn, -each.repository))


def check_forks(repository: Repository, backup: Backup, history: History) -> None:
    """Refuse an archive that lacks the segment in which a timeline began.

    PostgreSQL would take the older timeline's segment of that number instead, and that may be one which the old
    primary has archived after the histories parted.

    Raises:
        FailoverError: it lacks one.
    """
    for (_, end), (timeline, _) in zip(history.timelines, history.timelines[1:], strict=False):
        name = segment_name(timeline, end // SEGMENT_BYTES)
        if end >= backup.start_lsn and name not in repository.wal:
            raise FailoverError(
                f"repository {repository.key} lacks WAL segment {name}, in which timeline {timeline} began: run "
                "`pgbackrest --stanza=nano check` as postgres on the primary, which stores it, then this again"
            )


def delta(place: Place, history: History, identifier: str, stanza: str) -> str:
    """Make the data a backup's by copying what is different; return the backup's label.

    Raises:
        FailoverError: it cannot be done, or was cut off; the data may be spoilt then.
    """
    try:
        repositories = {each.key: each for each in restore_repository.read(stanza) if not each.problem}
        backup = usable((each for found in repositories.values() for each in found.backups), history, identifier)
        check_forks(repositories[backup.repository], backup, history)
        at = (f"--stanza={stanza}", f"--repo={backup.repository}", f"--set={backup.label}")
        restore_repository.call(*at, "--delta", "--type=standby", "restore", seconds=MOST_SECONDS)
    except RestoreError as error:
        raise FailoverError(str(error)) from error
    forget_settings(place.data / "postgresql.auto.conf")
    return f"{backup.label} of repository {backup.repository}"


def forget_settings(path: Path) -> None:
    """Take away what pgBackRest has written of recovery: the server's own configuration says where WAL comes from."""
    kept = [line for line in path.read_text().splitlines() if line.split("=")[0].strip() not in RECOVERY_SETTINGS]
    path.write_text("\n".join([*kept, ""]))
    account = as_postgres()
    os.chown(path, account["user"], account["group"])
