"""Requests as people make them, good and bad: seeded, bounded in rate and time, each with an id that can be followed.

An open loop: requests begin when they are due, whether or not earlier ones were answered, as those of strangers do.
What is drawn depends on the seed alone; names and ids also on the moment, so that runs don't meet.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import random
import shlex
import ssl
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
from actions import actions, sell
from run import Run, join, log_in

# Bounds of one run.
MOST_PER_SECOND, MOST_SECONDS, MOST_AT_ONCE = 500, 3600, 200
PEOPLE = 8


async def spend(run: Run, rate: float, seconds: float) -> int:
    """Send requests for some seconds and show how it goes; return how many were held back at the limit."""
    under_way: set[asyncio.Task[object]] = set()
    what = actions()
    choices, parts = list(what), list(what.values())
    begin, due, held_back, shown = time.monotonic(), 0.0, 0, 0.0
    while (due := due + run.draw.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, begin + due - time.monotonic()))
        action = run.draw.choices(choices, parts)[0]
        if len(under_way) >= MOST_AT_ONCE:
            held_back += 1
            continue
        task: asyncio.Task[object] = asyncio.ensure_future(action(run))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        if due - shown >= 2:
            shown = due
            print(f"  {due:5.0f} s  {len(run.answers):6d} answers, {sum(run.broken.values())} without", flush=True)
    for task in list(under_way):
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return held_back


def percentile(values: list[float], share: float) -> float:
    """Return the nearest-rank percentile of a list that isn't empty."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def report(run: Run, held_back: int) -> None:
    """Print what was asked and how it went, and ids to follow."""
    print(f"\n  {'what':<28}{'count':>7}{'p50 ms':>9}{'p99 ms':>9}  statuses")
    for name in dict.fromkeys(answer.name for answer in run.answers):
        mine = [answer for answer in run.answers if answer.name == name]
        times = [answer.seconds * 1000 for answer in mine]
        statuses = ", ".join(f"{status}: {n}" for status, n in sorted(Counter(a.status for a in mine).items()))
        print(f"  {name:<28}{len(mine):>7}{percentile(times, 0.5):>9.1f}{percentile(times, 0.99):>9.1f}  {statuses}")
    for what, count in run.broken.items():
        print(f"  no answer: {what} ({count} times)")
    failed = sum(answer.status >= 500 for answer in run.answers)
    print(
        f"\n{len(run.answers)} answers, {failed} of them 5xx; {sum(run.broken.values())} requests without an answer, "
        f"{held_back} held back because {MOST_AT_ONCE} were under way"
    )
    examples = {
        "a nano was created": lambda a: a.name == "create a nano" and a.status == 201,
        "an error": lambda a: a.status in (404, 422),
        "the slowest": lambda a: a is max(run.answers, key=lambda answer: answer.seconds),
    }
    print("\nFollow one:")
    for what, fits in examples.items():
        found = [answer for answer in run.answers if fits(answer)]
        if found:
            print(f"  make follow ID={found[-1].request_id}    {what}")


async def traffic(options: argparse.Namespace) -> int:
    """Run it; return the exit status, 1 when a request got no answer or a 5xx."""
    verify = ssl.create_default_context(cafile=options.ca)
    limits = httpx.Limits(max_connections=MOST_AT_ONCE, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=options.url, verify=verify, limits=limits, timeout=60) as client:
        run = Run(client, random.Random(options.seed))
        run.people = [await join(run, number) for number in range(PEOPLE)]
        if options.moderator_command:
            argv = [*shlex.split(options.moderator_command), run.people[0].email]
            made = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False)
            if made.returncode:
                sys.exit(f"error: nobody could be made a moderator: {made.stderr.strip()}")
            await log_in(run, run.people[0])
        for _ in range(5):
            await sell(run)
        held_back = await spend(run, options.rate, options.seconds)
        report(run, held_back)
        if options.json:
            told = {"answers": [vars(answer) for answer in run.answers], "broken": run.broken, "held_back": held_back}
            options.json.write_text(json.dumps(told), encoding="utf-8")
        return int(bool(run.broken) or any(answer.status >= 500 for answer in run.answers))


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--url", required=True, help="where the marketplace is")
    parser.add_argument("--ca", help="certificates that it is checked against (default: the system's)")
    parser.add_argument("--rate", type=float, default=20, help=f"requests a second, at most {MOST_PER_SECOND}")
    parser.add_argument("--seconds", type=float, default=30, help=f"how long, at most {MOST_SECONDS}")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn")
    parser.add_argument("--moderator-command", help="command that makes the user whose e-mail follows a moderator")
    parser.add_argument("--json", type=Path, help="file for how every request went")
    options = parser.parse_args()
    if not (0 < options.rate <= MOST_PER_SECOND and 0 < options.seconds <= MOST_SECONDS):
        parser.error(f"a rate up to {MOST_PER_SECOND} a second and up to {MOST_SECONDS} s, please")
    return asyncio.run(traffic(options))


if __name__ == "__main__":
    sys.exit(main())
