"""Whether PostgreSQL may start here as a primary; stands in front of it in its unit and becomes it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from nano_primary_record import data as postgresql
from nano_primary_record import rounds
from nano_primary_record.settings import Settings, notify
from nano_primary_record.transport import Keepers

# In the unit: RestartPreventExitStatus=77. PostgreSQL itself ends with 0 to 3.
REFUSED = 77
ASK_AGAIN_SECONDS = 2.0
SAY_AGAIN_SECONDS = 60.0
OVERRIDE_SECONDS = 600.0
OVERRIDE = "nano-primary-record override --i-know-that-no-other-primary-runs"


@dataclass(frozen=True)
class Verdict:
    """`allowed`, `refused` (somebody has to act) or `undecided` (ask again), and the words for it."""

    kind: str
    text: str


def judge(host: str, data: postgresql.Data, reading: rounds.Reading, complaints: str = "") -> Verdict:
    """Say whether a data directory may start.

    Args:
        host: name of this host.
        data: what is in the directory.
        reading: what the keepers say.
        complaints: who did not answer, and why.
    """
    if data.kind == "standby":
        return Verdict("allowed", "a standby starts always")
    if reading.state != "agreed":
        found = complaints or "a change of the record is under way"
        return Verdict(
            "undecided",
            f"No majority of the keepers tells who is the primary ({found}). The data here are a primary's, so "
            f"PostgreSQL waits and asks again. If the keepers stay away and no other primary runs: {OVERRIDE}",
        )
    value = reading.value
    if not value:
        return Verdict(
            "undecided",
            "The keepers have no record of who is the primary yet. PostgreSQL waits for it: site.yml makes it, or "
            "`nano-primary-record create` on the host that is the primary",
        )
    head = f"The record (epoch {value['epoch']} of {value['time']}) names {value['host']}"
    claim = (
        f"nano-primary-record claim --host {host} --expect-epoch {value['epoch']} --timeline {data.timeline} "
        f"--system-identifier {data.system_identifier}"
    )
    right = f"If they are the right ones: {claim} --other-cluster, then start it"
    if value["host"] != host:
        return Verdict(
            "refused",
            f"{head} as the primary, and the data here are a primary's too (timeline {data.timeline}). PostgreSQL does "
            f"not start, so that there are not two. To make {host} a standby again, move {data.path} away and run "
            f"site.yml. Only if {value['host']} is lost: {claim}, then start it",
        )
    if value["system_identifier"] != data.system_identifier:
        return Verdict(
            "refused",
            f"{head}, but with cluster {value['system_identifier']}; the data in {data.path} are of cluster "
            f"{data.system_identifier}. {right}",
        )
    if data.timeline < value["timeline"]:
        return Verdict(
            "refused",
            f"{head} on timeline {value['timeline']}; the data in {data.path} end on timeline {data.timeline}, they "
            f"are an older copy. {right}",
        )
    return Verdict("allowed", f"{head}, timeline {value['timeline']}")


def override(settings: Settings, by: str) -> None:
    """Write the operator's word for the next start.

    Raises:
        OSError: the folder is not there.
    """
    settings.override.write_text(json.dumps({"time": time.time(), "by": by}), encoding="utf-8")
    # The server's user has to take it away.
    owner = settings.override.parent.stat()
    os.chown(settings.override, owner.st_uid, owner.st_gid)


def take_override(settings: Settings) -> str:
    """Take the operator's word away and return whose it was; "" if there is none, or it is old."""
    path = settings.override
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        # One that stays would count more than once.
        path.unlink()
        age = time.time() - float(given["time"])
        return str(given["by"]) if -5 <= age <= OVERRIDE_SECONDS else ""
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{path} is not used: {error}", file=sys.stderr, flush=True)
        return ""


class Speaker:
    """Says a thing when it is new, and again from time to time."""

    def __init__(self) -> None:
        """Nothing has been said."""
        self.text, self.since = "", 0.0

    def say(self, text: str) -> None:
        """Write to the journal and to `systemctl status`."""
        if text != self.text or time.monotonic() - self.since > SAY_AGAIN_SECONDS:
            self.text, self.since = text, time.monotonic()
            print(text, file=sys.stderr, flush=True)
            notify(f"STATUS={text}")


def wait(settings: Settings, path: Path) -> Verdict:
    """Ask until the answer is yes or no, or the operator decides."""
    keepers, speaker, asked = Keepers(settings), Speaker(), 0.0
    while True:
        if time.monotonic() - asked >= ASK_AGAIN_SECONDS or not asked:
            asked = time.monotonic()
            data = postgresql.read(path)
            reading = keepers.settle(keepers.look())
            verdict = judge(settings.host, data, reading, keepers.complaints(reading.answers))
            if verdict.kind != "undecided":
                # Its start is the next one, needed or not; but it does not beat a record that is known.
                take_override(settings)
                return verdict
            speaker.say(verdict.text)
        if by := take_override(settings):
            return Verdict("allowed", f"OVERRIDE by {by}: PostgreSQL starts as a primary without the keepers' word")
        time.sleep(0.2)


def run(settings: Settings, path: Path, argv: list[str]) -> int:
    """Become PostgreSQL, or return the exit code that keeps it from starting."""
    # What Python has changed would go on into PostgreSQL; and a stop while it waits is no failure.
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        verdict = Verdict("allowed", "") if postgresql.kind(path) == "standby" else wait(settings, path)
    except postgresql.DataError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    if verdict.text:
        print(verdict.text, file=sys.stderr, flush=True)
        notify(f"STATUS={verdict.text}")
    if verdict.kind == "refused":
        return REFUSED
    try:
        os.execv(argv[0], argv)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 1
