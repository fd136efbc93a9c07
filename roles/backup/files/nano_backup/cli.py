"""The command line of nano-backup."""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import signal
from pathlib import Path
from types import FrameType

from . import commands
from . import config as configuration
from .errors import BackupError, ConfigError, LockedError
from .log import Log, complain

FAILED, MISTAKE, BUSY = commands.FAILED, 2, 75
COMMANDS = {
    "run": commands.run,
    "verify": commands.verify_backups,
    "metrics": commands.metrics,
    "list": commands.show,
    "settle": commands.settle,
    "due": commands.due,
    "restore-dump": commands.restore_dump,
}
EVERYTHING = ("physical", "dump")
# As the units do: the repositories and dumps are this user's, the host's key is this group's.
USER, TLS_GROUP = "postgres", "nano-tls"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="nano-backup", description="Make, copy, prove and restore backups.")
    top.add_argument("--config", type=Path, help="default: /etc/nano/backup.json, for verify backup_verify.json")
    verbs = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    one = verbs.add_parser("run", help="make the backups that are due and copy them")
    one.add_argument("--kind", choices=["auto", "full", "diff"], default="auto", help="of the physical backup")
    one.add_argument("--only", choices=EVERYTHING, default="", help="leave the other out")
    one = verbs.add_parser("verify", help="restore the newest backups and look at them")
    one.add_argument("--repository", type=int, help="default: each of them")
    one.add_argument("--only", choices=EVERYTHING, default="", help="leave the other out")
    verbs.add_parser("metrics", help="write the figures for Prometheus")
    verbs.add_parser("list", help="show all backups")
    verbs.add_parser("settle", help="note a run that was killed as failed")
    one = verbs.add_parser("due", help="end with 0 when a daily run was missed, else with 1")
    one.add_argument("--at", required=True, metavar="HH:MM", help="when it is run, UTC")
    one = verbs.add_parser("restore-dump", help="restore a dump into a new database")
    one.add_argument("--database", required=True, help="which was dumped")
    one.add_argument("--table", default="", help="only this one, as schema.table or a name in schema public")
    one.add_argument("--into", required=True, help="name of the new database")
    one.add_argument(
        "--from", dest="stamp", default="", metavar="TIME", help="the dump, as list shows it; else the newest"
    )
    one.add_argument("--host", default="", help="name, address or socket folder; default: the primary")
    one.add_argument("--user", default="", help="who restores; default: the user of the backups")
    return top


def become() -> None:
    """Go on as the user of the units when root calls."""
    if os.geteuid():
        return
    try:
        owner = pwd.getpwnam(USER)
    except KeyError:
        raise ConfigError(f"there is no user {USER} here: role backup installs what brings it") from None
    groups = {gid for gid in os.getgrouplist(USER, owner.pw_gid)}
    groups |= {each.gr_gid for each in grp.getgrall() if each.gr_name == TLS_GROUP}
    os.setgroups(sorted(groups))
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
    os.environ["HOME"] = owner.pw_dir
    os.chdir("/")


def main(argv: list[str] | None = None) -> int:
    """Run a command; a mistake is told without a stack trace."""
    options = parser().parse_args(argv)

    def stop(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    # What PostgreSQL's programs write is for its user alone.
    os.umask(0o077)
    try:
        config = configuration.load(options.config or _default(options.command))
        become()
        return COMMANDS[options.command](config, options, Log())
    except LockedError as error:
        complain(str(error))
        return BUSY
    except ConfigError as error:
        complain(str(error))
        return MISTAKE
    except (BackupError, OSError) as error:
        complain(str(error))
        return FAILED
    except KeyboardInterrupt as error:
        complain(f"stopped by {error or 'the keyboard'}; older backups are as they were")
        return 128 + signal.SIGTERM


def _default(command: str) -> Path:
    own = (
        (configuration.VERIFY, configuration.CONFIG)
        if command == "verify"
        else (configuration.CONFIG, configuration.VERIFY)
    )
    return own[0] if command in ("run", "verify") or own[0].exists() else own[1]
