"""The program nano-primary-record: shows the record, changes it, and stands in front of PostgreSQL."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Any

from nano_primary_record import data as postgresql
from nano_primary_record import guard, record, rounds, server, watch
from nano_primary_record.settings import CONFIG, Settings, SettingsError, read
from nano_primary_record.transport import Keepers

OK, USAGE, REFUSED, NO_MAJORITY, NO_RECORD = 0, 2, 3, 4, 5
CHANGE_SECONDS = 10.0
EPILOG = """exit codes: 0 done or yes; 2 called wrongly; 3 no: the record says something else; 4 no majority of the
keepers answers, of a claim nothing is known then: look with `show`; 5 there is no record yet"""


class Ending(Exception):
    """How the program ends when not well: the code, the words, and what belongs to them."""

    def __init__(self, code: int, text: str, /, **fields: Any) -> None:
        """Keep them."""
        super().__init__(text)
        self.code, self.fields = code, fields


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="nano-primary-record", description=__doc__, epilog=EPILOG)
    top.add_argument("--config", type=Path, default=CONFIG, help=argparse.SUPPRESS)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("show", help="what the record says, and what each keeper holds")
    claim = commands.add_parser("claim", help="make a host the primary of the record, if nobody was faster")
    claim.add_argument("--host", required=True, help="its name in the inventory")
    claim.add_argument("--expect-epoch", type=int, required=True, metavar="N", help="the epoch that `show` tells now")
    claim.add_argument("--timeline", type=int, required=True, help="of its data, as `check` tells on that host")
    claim.add_argument("--system-identifier", required=True, help="of its data, as `check` tells on that host")
    claim.add_argument("--claim-id", default="", help="the same again continues a claim that was cut off")
    claim.add_argument("--other-cluster", action="store_true", help="another cluster or an older state was restored")
    check = commands.add_parser("check", help="whether PostgreSQL may start on this host")
    create = commands.add_parser("create", help="make the first record, of this host; one that is there stays")
    for command in (check, create):
        command.add_argument("--data", type=Path, help="data directory, where the host has several")
    override = commands.add_parser("override", help="let the next start go without the keepers")
    override.add_argument("--i-know-that-no-other-primary-runs", action="store_true", required=True)
    run = commands.add_parser("run", help="for PostgreSQL's unit: become it, if it may start")
    run.add_argument("--data", type=Path, required=True)
    run.add_argument("argv", nargs="+")
    commands.add_parser("keep", help="for the keeper's unit")
    commands.add_parser("watch", help="for the unit of the guard of a database host")
    return top


def data_of(settings: Settings, given: Path | None) -> postgresql.Data:
    """Return what the data directory of this host holds."""
    found = [given] if given else postgresql.find(settings.data)
    if len(found) != 1:
        many = f"{', '.join(map(str, found))}: say which by --data" if found else "there is none"
        raise Ending(USAGE, f"no single data directory at {settings.data}: {many}")
    return postgresql.read(found[0])


def seen(keepers: Keepers, *, everybody: bool = False) -> rounds.Reading:
    """Read the record, and complete a change that was cut off where this host may."""
    reading = keepers.look(everybody=everybody)
    if reading.state == "split" and keepers.settings.host in keepers.settings.writers:
        reading = keepers.settle(reading)
    if reading.state != "agreed":
        why = keepers.complaints(reading.answers) or "they do not hold the same: a change is under way"
        raise Ending(NO_MAJORITY, f"no majority of the keepers answers: {why}", keepers=rows(keepers, reading))
    return reading


def rows(keepers: Keepers, reading: rounds.Reading) -> list[dict[str, Any]]:
    """Return what each keeper said, for people."""
    found = []
    for name in keepers.names:
        answer = reading.answers.get(name)
        if answer is None:
            found.append({"keeper": name, "state": "silent", "error": keepers.errors.get(name, "no answer")})
            continue
        value = answer.get("value") or {}
        row = {"keeper": name, "state": answer["state"], "epoch": value.get("epoch", 0), "host": value.get("host", "")}
        found.append(row | ({"error": answer["reason"]} if answer.get("reason") else {}))
    return found


def show(settings: Settings) -> dict[str, Any]:
    """Return the record."""
    keepers = Keepers(settings)
    reading = seen(keepers, everybody=True)
    if not reading.value:
        raise Ending(NO_RECORD, "there is no record yet: site.yml makes it", keepers=rows(keepers, reading))
    return {"record": reading.value, "keepers": rows(keepers, reading)}


def claim(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """Change the record and return it."""
    if options.host not in settings.databases:
        known = ", ".join(settings.databases)
        raise Ending(USAGE, f"--host {options.host} is no database host of the inventory, these are: {known}")
    if not re.fullmatch(r"\d{1,20}", options.system_identifier) or options.timeline < 1 or options.expect_epoch < 0:
        raise Ending(USAGE, "--system-identifier and --timeline are numbers, as pg_controldata shows them")
    wanted = record.Claim(
        options.host, options.system_identifier, options.timeline, options.claim_id or secrets.token_hex(8)
    )
    update = record.compare_and_set(wanted, options.expect_epoch, other_cluster=options.other_cluster)
    keepers = Keepers(settings)
    try:
        return {"changed": True, "record": keepers.change(update, CHANGE_SECONDS)}
    except rounds.Declined as declined:
        current = declined.current
        names = f"names {current['host']} since {current['time']}" if current else "is not there yet"
        raise Ending(
            REFUSED,
            f"the record has epoch {record.epoch(current)}, not {options.expect_epoch}, and {names}: nothing was "
            "changed; somebody was faster, or the epoch was mistyped",
            record=current,
        ) from None
    except record.ClaimError as error:
        raise Ending(REFUSED, str(error)) from None
    except rounds.NoMajority as error:
        why = keepers.complaints(error.answers) or "others change it all the time"
        raise Ending(
            NO_MAJORITY,
            f"no majority of the keepers answers ({why}): the claim may or may not have been taken; "
            "`nano-primary-record show` tells once a majority is back",
        ) from None


def create(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """Make the first record of this host, and return the one that there is."""
    if settings.host not in settings.databases:
        raise Ending(USAGE, f"{settings.host} is no database host of the inventory")
    data = data_of(settings, options.data)
    if data.kind != "primary":
        raise Ending(REFUSED, f"the data in {data.path} are a standby's; create it on the primary")
    keepers = Keepers(settings)
    wanted = record.Claim(settings.host, data.system_identifier, data.timeline, secrets.token_hex(8))
    try:
        value = keepers.look().value
        if not value:
            keepers.run(rounds.found(keepers.names))
            value = keepers.change(record.first(wanted), CHANGE_SECONDS)
    except rounds.NotEmpty as error:
        raise Ending(REFUSED, f"the record was not made: {error} {keepers.complaints()}".strip()) from None
    except rounds.NoMajority:
        raise Ending(NO_MAJORITY, f"no majority of the keepers answers: {keepers.complaints()}") from None
    verdict = guard.judge(settings.host, data, rounds.Reading("agreed", value, {}))
    if verdict.kind != "allowed":
        raise Ending(REFUSED, verdict.text, record=value)
    return {"changed": value["claim"] == wanted.claim, "record": value}


def check(settings: Settings, options: argparse.Namespace) -> dict[str, Any]:
    """Return what the guard would say."""
    data = data_of(settings, options.data)
    own = {"kind": data.kind, "timeline": data.timeline, "system_identifier": data.system_identifier}
    own |= {"path": str(data.path), "running": bool(postgresql.server(data.path))}
    keepers = Keepers(settings)
    reading = keepers.settle(keepers.look())
    verdict = guard.judge(settings.host, data, reading, keepers.complaints(reading.answers))
    result = {"verdict": verdict.kind, "text": verdict.text, "data": own, "record": reading.value}
    if verdict.kind == "refused":
        raise Ending(REFUSED, verdict.text, **result)
    if verdict.kind == "undecided":
        raise Ending(NO_RECORD if reading.state == "agreed" else NO_MAJORITY, verdict.text, **result)
    return result


def override(settings: Settings) -> dict[str, Any]:
    """Write the operator's word for the next start."""
    if running := [path for path in postgresql.find(settings.data) if postgresql.server(path)]:
        raise Ending(REFUSED, f"PostgreSQL runs on {running[0]}: there is no start to let go")
    by = os.environ.get("SUDO_USER") or getpass.getuser()
    guard.override(settings, by)
    return {"override": str(settings.override), "by": by, "valid_seconds": int(guard.OVERRIDE_SECONDS)}


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        settings = read(options.config)
        match options.command:
            case "run":
                return guard.run(settings, options.data, options.argv)
            case "keep":
                return server.keep(settings)
            case "watch":
                return watch.watch(settings)
            case "show":
                result = show(settings)
            case "claim":
                result = claim(settings, options)
            case "create":
                result = create(settings, options)
            case "check":
                result = check(settings, options)
            case _:
                result = override(settings)
    except Ending as ending:
        print(json.dumps({"error": str(ending), **ending.fields}))
        print(ending, file=sys.stderr)
        return ending.code
    except (SettingsError, postgresql.DataError, OSError) as error:
        print(json.dumps({"error": str(error)}))
        print(error, file=sys.stderr)
        return USAGE
    print(json.dumps(result))
    return OK
