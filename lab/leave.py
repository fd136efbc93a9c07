"""Taking the lab away: `make down` the hosts, `make clean` whatever was made for them too."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab import hosts
from lab.common import cache_dir
from lab.hosts import STATE, VAULT, step
from lab.image import SUITES

# What the lab keeps in its cache; the log of an engine that runs is not its own to delete.
CACHED = ("mirror", "mirror-*.lock", "go", "go.lock", "image-*", "build-*.log")


def down(mirror: Path) -> None:
    """Remove the hosts and their networks, and say what stays."""
    env = hosts.environment(mirror)
    for scenario in hosts.NETWORKS:
        step(f"remove the hosts {', '.join(hosts.platforms(scenario))}")
        hosts.destroy(env, scenario)
    there = hosts.docker("network", "ls", "--format", "{{.Name}}").split()
    for name, _ in hosts.NETWORKS.values():
        if name in there:
            hosts.docker("network", "rm", name)
    for path in (STATE / "ssh").glob("known_hosts*"):
        path.unlink()
    print(
        "\nThe hosts are gone. What makes the next `make up` quick stays: the base image, the programs in "
        f"{cache_dir()},\n.venv, and the lab's secrets in .lab. `make clean` removes these too. The engine is yours.",
        flush=True,
    )


def clean(mirror: Path) -> None:
    """Remove the hosts, and what was made or fetched for them: images, programs, the lab's secrets."""
    down(mirror)
    step("remove the images, the programs and the lab's secrets")
    tags = hosts.docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    for name in (f"nano-lab:{suite}" for suite in SUITES):
        if name in tags:
            hosts.docker("image", "rm", name)
    VAULT.unlink(missing_ok=True)
    shutil.rmtree(STATE)
    # By name: NANO_CACHE may point to a folder that holds other things.
    for pattern in CACHED:
        for path in cache_dir().glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
