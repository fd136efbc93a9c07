"""`make traffic`: requests of users to the lab's marketplace."""

from __future__ import annotations

import os
import subprocess

from lab import hosts, workload
from lab.common import ROOT, LabError

CLIENT = ROOT / "workload/nano_traffic"


def entrance() -> tuple[str, str]:
    """Return the host that serves customers and its address.

    Raises:
        LabError: the lab is not up, or nobody serves.
    """
    tree = hosts.inventory()
    served = {name for name, own in tree["nano_api"]["hosts"].items() if (own or {}).get("nano_api_role") != "cold"}
    for site in sorted(name for name in tree if name.startswith("site_")):
        for host, variables in tree[site]["hosts"].items():
            if host in served and host in tree["nginx"]["hosts"]:
                return host, str(variables["ansible_host"])
    raise LabError("no host of the lab is both in group nginx and serves nano_api")


def command(rate: float, seconds: float, seed: int) -> list[str]:
    """Return the command line that sends it from this machine.

    Args:
        rate: requests per second.
        seconds: how long.
        seed: what is drawn.

    Raises:
        LabError: the lab is not up.
    """
    certificate = hosts.STATE / "ca/ca.crt"
    if not certificate.exists():
        raise LabError("the lab is not up: make up")
    host, address = entrance()
    argv = [str(workload.ensure() / "python"), str(CLIENT), f"--url=https://{address}", f"--ca={certificate}"]
    argv += [f"--rate={rate}", f"--seconds={seconds}", f"--seed={seed}"]
    argv += [f"--moderator-command=ssh -F {hosts.STATE}/ssh/config {host} sudo nano-api moderator"]
    return argv


def traffic(rate: float, seconds: float, seed: int) -> None:
    """Send it; arguments as above.

    Raises:
        LabError: the lab is not up, or a request failed.
    """
    argv = command(rate, seconds, seed)
    print(f"{rate:g} requests a second for {seconds:g} s to {entrance()[0]}, seed {seed}\n", flush=True)
    done = subprocess.run(argv, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=False)
    if done.returncode:
        raise LabError("the traffic did not go well; the lines above tell")
