"""The lab's command line. Nothing outside the standard library is imported before a command needs it."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from lab.common import LabError, cache_dir


def parser() -> argparse.ArgumentParser:
    """Return the parser of the lab's command line."""
    top = argparse.ArgumentParser(prog="python -m lab", description="Run the lab of nano.ops.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("engine", help="make sure that a container engine answers")
    image = commands.add_parser("image", help="make the hosts' base image")
    image.add_argument("--suite", choices=["trixie", "bookworm"], default="trixie")
    mirror = commands.add_parser("mirror", help="fill the mirror of third-party programs")
    mirror.add_argument("--program", action="append", help="which one; may be repeated")
    mirror.add_argument("--into", type=Path, help="folder (default: mirror in the cache)")
    mirror.add_argument("--build", action="store_true", help="build even where a download would do")
    commands.add_parser("check-upstream", help="check every release of the catalogue at its upstream")
    for name, text in (
        ("up", "bring the lab up"),
        ("test", "test the lab"),
        ("application", "test the application and its telemetry package"),
        ("down", "take the lab away"),
        ("clean", "take away what was made for it too"),
        ("bench", "measure how long the site's playbook takes"),
        ("bench-backup", "measure backups and restores against the bare programs"),
    ):
        commands.add_parser(name, help=text)
    traffic = commands.add_parser("traffic", help="send requests as people do")
    traffic.add_argument("--rate", type=float, default=20.0, help="requests a second")
    traffic.add_argument("--seconds", type=float, default=30.0)
    traffic.add_argument("--seed", type=int, default=1)
    follow = commands.add_parser("follow", help="show a request's series, log lines and trace")
    follow.add_argument("id", help="request id, correlation id or trace id")
    return top


def run(options: argparse.Namespace) -> None:
    """Run one command."""
    if options.command == "engine":
        importlib.import_module("lab.engine").ensure()
    elif options.command == "image":
        importlib.import_module("lab.image").ensure(options.suite)
    elif options.command == "mirror":
        into = options.into or cache_dir() / "mirror"
        importlib.import_module("lab.mirror").fill(options.program, into.resolve(), options.build)
    elif options.command == "check-upstream":
        importlib.import_module("lab.upstream").check(importlib.import_module("lab.mirror").catalogue())
    elif options.command == "bench":
        importlib.import_module("lab.bench").bench(cache_dir() / "mirror")
    elif options.command == "bench-backup":
        importlib.import_module("lab.bench_backup").bench(cache_dir() / "mirror")
    elif options.command in ("down", "clean"):
        getattr(importlib.import_module("lab.leave"), options.command)(cache_dir() / "mirror")
    elif options.command == "traffic":
        importlib.import_module("lab.traffic").traffic(options.rate, options.seconds, options.seed)
    elif options.command == "follow":
        importlib.import_module("lab.follow").follow(options.id, cache_dir() / "mirror")
    elif options.command == "application":
        importlib.import_module("lab.proof").test_application(cache_dir() / "mirror")
    elif options.command == "test":
        importlib.import_module("lab.proof").test(cache_dir() / "mirror")
    else:
        importlib.import_module("lab.hosts").up(cache_dir() / "mirror")


def main(argv: list[str] | None = None) -> int:
    """Run a command; a user's mistake is told without a stack trace."""
    try:
        run(parser().parse_args(argv))
    except LabError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    return 0
