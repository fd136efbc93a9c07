"""The stages of a restore on the host, each safe to be cut off and begun again.

The backup is copied beside the data directory by a process of its own that outlives a lost connection. Only a whole
copy gets the data directory's name, and what had the name before is kept under another.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import restore_place as places
from ansible_collections.nano.ops.plugins.module_utils.restore_options import RestoreError
from ansible_collections.nano.ops.plugins.module_utils.restore_place import Place, Record
from ansible_collections.nano.ops.plugins.module_utils.restore_repository import as_postgres, words

# Bytes below which a disk counts as full.
FULL = 8 << 20
PERCENT = re.compile(r", ([\d.]+)%\)")
# $0 is the log, $1 the file that tells how it ended; the process keeps the lock that it has inherited.
COPY = 'log="$0"; ended="$1"; shift; "$@" >"$log" 2>&1; echo $? >"$ended.fresh" && mv "$ended.fresh" "$ended"'


def argv(place: Place, record: Record, stanza: str) -> list[str]:
    """Return pgBackRest's command; what it needs to decipher stands in its configuration, not here."""
    options, choice = record.options, record.choice
    words_ = ["pgbackrest", f"--stanza={stanza}", f"--repo={choice['repository']}", f"--set={choice['label']}"]
    words_ += [f"--pg1-path={place.fresh}", "--log-level-console=detail", "--log-level-file=off"]
    # By default it would name the folder that the copy is made in.
    words_ += [f'--recovery-option=restore_command=pgbackrest --stanza={stanza} archive-get %f "%p"']
    # Until the data are verified the server is reached from its own host alone.
    words_ += ["--recovery-option=listen_addresses="]
    kind = {"latest": "default"}.get(options["type"], options["type"])
    words_ += [f"--type={kind}"]
    if kind != "default":
        words_ += ["--target-action=promote"]
    if options["target"]:
        words_ += [f"--target={options['target']}"]
    if options["timeline"] and kind != "immediate":
        words_ += [f"--target-timeline={options['timeline']}"]
    if options["exclusive"]:
        words_ += ["--target-exclusive"]
    # Only over what an earlier copy has left.
    if (place.fresh / "backup.manifest").exists() or (place.fresh / "PG_VERSION").exists():
        words_ += ["--delta"]
    return [*words_, "restore"]


def copying(place: Place) -> bool:
    """Whether a copy is under way: its processes hold the lock."""
    if not place.beside("lock").exists():
        return False
    with place.beside("lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def start_copy(place: Place, record: Record, stanza: str) -> None:
    """Start the copy as user postgres, in a session of its own."""
    account = as_postgres()
    command = argv(place, record, stanza)
    if "--delta" not in command:
        places.remove(place.fresh)
        place.fresh.mkdir(mode=0o700)
        os.chown(place.fresh, account["user"], account["group"])
    with place.beside("lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        place.beside("ended").unlink(missing_ok=True)
        subprocess.Popen(
            ["sh", "-c", COPY, str(place.beside("log")), str(place.beside("ended")), *command],
            start_new_session=True,
            pass_fds=(lock.fileno(),),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account,
        )


def progress(place: Place) -> float:
    """Return how much of the copy is done, in percent."""
    try:
        with place.beside("log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            found = PERCENT.findall(log.read().decode(errors="replace"))
    except OSError:
        return 0.0
    return float(found[-1]) if found else 0.0


def copy(place: Place, record: Record, stanza: str, seconds: float) -> bool:
    """Copy the backup, or go on watching; return whether it is whole.

    Raises:
        RestoreError: it failed; the text says why and that nothing was lost.
    """
    if not copying(place) and not place.beside("ended").exists():
        start_copy(place, record, stanza)
    deadline = time.monotonic() + seconds
    while copying(place):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    ended = place.beside("ended")
    code = ended.read_text(encoding="ascii").strip() if ended.exists() else "none"
    ended.unlink(missing_ok=True)
    if code == "0":
        return True
    raise RestoreError(failure(place, code))


def failure(place: Place, code: str) -> str:
    """Return why the copy failed."""
    try:
        lines = place.beside("log").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    errors = words("\n".join(line for line in lines if "ERROR:" in line or "HINT:" in line)) if lines else ""
    safe = "The old data are where they were; the same command again goes on where this one stopped"
    disk = shutil.disk_usage(place.base)
    # On a full disk there is no room for a log that would say so.
    if "No space left on device" in "\n".join(lines[-200:]) or disk.free < FULL:
        return (
            f"the disk of {place.base} is full ({disk.free >> 20} MiB free): make room, or discard an older "
            "directory with "
            f"restore_discard. {safe}."
        )
    if code == "none" or int(code) > 128:
        how = "no word of how" if code == "none" else f"signal {int(code) - 128}"
        return f"the copy was ended from outside ({how}). {safe}."
    return f"pgBackRest could not restore (code {code}): {errors}. {safe}; its log is {place.beside('log')}."


def keep_unarchived(place: Place, record: Record) -> list[str]:
    """Copy WAL that was written and never archived out of the old data, so that type latest replays it too.

    After an attempt that failed the old data are those that the attempt has put aside.
    """
    choice = record.choice
    if record.options["type"] != "latest" or not place.fresh.exists():
        return []
    ours = places.control(place, place.fresh).get("Database system identifier")
    account = as_postgres()
    copied = set()
    for old in [place.data, *(place.base / name for name in (record.kept, record.aside) if name)]:
        if not ours or places.control(place, old).get("Database system identifier") != ours:
            continue
        for path in places.written_segments(old, choice["timeline"], choice["last_wal"]):
            target = place.fresh / "pg_wal" / path.name
            shutil.copyfile(path, target)
            os.chown(target, account["user"], account["group"])
            target.chmod(0o600)
            copied.add(path.name)
    return sorted(copied)


def swap(place: Place, record: Record) -> None:
    """Give the copy the data directory's name; what had it is kept. Cut off in between, it goes on from there."""
    if place.fresh.exists():
        if not places.is_empty(place.data):
            if (place.base / record.aside).exists():
                # Somebody made a cluster after the old one was put aside: neither is lost.
                record.kept, record.aside = record.kept or record.aside, place.free_name(record.aside.split("-")[2])
                places.write_record(place, record)
            place.data.rename(place.base / record.aside)
            places.sync(place.base)
        elif place.data.exists():
            place.data.rmdir()
        place.fresh.rename(place.data)
        places.sync(place.base)
    if not (place.data / "PG_VERSION").is_file():
        raise RestoreError(f"the copy {place.fresh} has vanished; begin anew with -e restore_anew=true")
    record.stage = "swapped"
    if not (place.base / record.aside).exists():
        record.aside = ""
    places.write_record(place, record)


def restore(place: Place, record: Record, stanza: str, seconds: float) -> dict[str, Any]:
    """Do what is left of a restore; return stage and percent, the stage being swapped when it is done."""
    if record.stage == "swapped" and places.is_empty(place.data):
        # Cut off while it was made the ground of another restore.
        record.stage = "copying"
    if record.stage == "copying":
        if not copy(place, record, stanza, seconds):
            return {"stage": "copying", "percent": progress(place)}
        record.stage = "copied"
        places.write_record(place, record)
    if record.stage == "copied":
        record.facts["unarchived_replayed"] = keep_unarchived(place, record) or record.facts.get(
            "unarchived_replayed", []
        )
        swap(place, record)
    return {"stage": record.stage, "percent": 100.0}
