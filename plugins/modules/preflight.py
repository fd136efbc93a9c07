"""Check that a host can carry the platform: one round trip instead of a fact gathering and a row of asserts."""

from __future__ import annotations

import ipaddress
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: preflight
short_description: Check that a host can carry the platform
version_added: 0.1.0
author: nano.ops contributors
description:
  - Looks at system, architecture, service manager, memory, free disk and clock, changes nothing, and fails with one
    message that lists everything that is wrong and what to do about it.
  - Returns the few facts that roles read, so that no other facts need gathering.
options:
  memory_min_mb:
    description: Least memory in MiB.
    type: int
    default: 900
  disk_free_min_mb:
    description: Least free disk in MiB on each filesystem of I(paths).
    type: int
    default: 5120
  paths:
    description: Folders whose filesystems must have room; the nearest existing parent counts.
    type: list
    elements: str
    default: [/, /var/lib, /opt]
  time_sync:
    description: Whether a clock that is not synchronised is an error. Not looked at in containers, which have none.
    type: bool
    default: true
  ssh_from:
    description:
      - Networks (CIDR) that a firewall is about to let in by SSH. The address that this very run comes from has to be
        among them. Empty looks at nothing.
    type: list
    elements: str
    default: []
  ssh_port:
    description: The port that it is about to let them in by; this run has to have come in by it. 0 looks at nothing.
    type: int
    default: 0
attributes:
  check_mode:
    description: Changes nothing in either mode.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Check that the host can carry the platform
  nano.ops.preflight:
    memory_min_mb: 2048
"""

RETURN = r"""
ansible_facts:
  description: >-
    C(memtotal_mb) (MiB), C(architecture) (kernel's name), C(distribution_release) (Debian's code name),
    C(distribution_major_version) and C(virtualization_container) (bool).
  returned: always
  type: dict
"""

# Debian releases that the tests run on: 12 and 13.
SYSTEMS = {"12": "bookworm", "13": "trixie"}
ARCHITECTURES = ("x86_64", "aarch64")


def os_release(text: str) -> dict[str, str]:
    """Parse os-release(5) into a dict, quotes removed."""
    found = re.findall(r"^(\w+)=[\"']?(.*?)[\"']?$", text, flags=re.MULTILINE)
    return dict(found)


def memory_mb(meminfo: str) -> int:
    """Total memory in MiB from the text of /proc/meminfo, whose unit is KiB."""
    match = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, flags=re.MULTILINE)
    return int(match.group(1)) // 1024 if match else 0


def free_mb(path: str) -> int:
    """Free disk in MiB for an unprivileged user at a path or its nearest existing parent."""
    place = Path(path)
    while not place.exists():
        place = place.parent
    stat = os.statvfs(place)
    return stat.f_bavail * stat.f_frsize // (1024 * 1024)


def clock_synchronised() -> bool:
    """Whether systemd says that the clock follows a time server."""
    if not shutil.which("timedatectl"):
        return False
    done = subprocess.run(
        ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() == "yes"


def in_container() -> bool:
    """Whether this is a container, as PID 1 was told."""
    return Path("/run/systemd/container").exists() or Path("/.dockerenv").exists()


def way_in(proc: Path = Path("/proc"), pid: int | None = None) -> tuple[str, int] | None:
    """Return the address that this run's SSH session comes from and the port that it came in by; None if there is none.

    sudo takes the variable away, so that the processes above are asked too.
    """
    number = os.getpid() if pid is None else pid
    while number > 1:
        try:
            variables = (proc / str(number) / "environ").read_bytes().split(b"\0")
            status = (proc / str(number) / "status").read_text(encoding="utf-8")
        except OSError:
            return None
        for variable in variables:
            if variable.startswith(b"SSH_CONNECTION="):
                words = variable.decode().partition("=")[2].split()
                return words[0].removeprefix("::ffff:"), int(words[3])
        parent = re.search(r"^PPid:\s+(\d+)$", status, flags=re.MULTILINE)
        number = int(parent.group(1)) if parent else 0
    return None


def locked_out(came: tuple[str, int] | None, networks: list[str], port: int) -> str:
    """Say how a firewall would lock this run out; empty if it would not.

    Args:
        came: address and port of the way in, None if it is not SSH.
        networks: CIDRs that will be let in; empty if there will be no firewall.
        port: that they will be let in by; 0 if there will be no firewall.
    """
    if came is None:
        return ""
    address = ipaddress.ip_address(came[0])
    if networks and not any(address in ipaddress.ip_network(network, strict=False) for network in networks):
        return (
            f"the firewall would lock you out: you come from {address}, host_firewall_ssh_from has only "
            f"{', '.join(networks)}: add the address"
        )
    if port and came[1] != port:
        return (
            f"the firewall would lock you out: you came in by port {came[1]}, host_firewall_ssh_port is {port}: "
            "set it to the port that sshd listens at"
        )
    return ""


def problems(params: dict[str, Any], facts: dict[str, Any], system: str, systemd: bool) -> list[str]:
    """List what is wrong with a host, each line with its remedy.

    Args:
        params: the module's options.
        facts: what was found, see RETURN.
        system: C(ID) of os-release.
        systemd: whether systemd is the service manager.
    """
    wrong = []
    release = facts["distribution_major_version"]
    if system != "debian" or release not in SYSTEMS:
        wanted = ", ".join(f"{number} ({name})" for number, name in SYSTEMS.items())
        wrong.append(f"unsupported system {system} {release}: install Debian {wanted}")
    if facts["architecture"] not in ARCHITECTURES:
        wrong.append(f"unsupported architecture {facts['architecture']}: use {' or '.join(ARCHITECTURES)}")
    if not systemd:
        wrong.append("systemd does not run as the service manager: boot the host with it")
    if facts["memtotal_mb"] < params["memory_min_mb"]:
        wrong.append(
            f"{facts['memtotal_mb']} MiB of memory, {params['memory_min_mb']} needed: "
            "use a larger host or lower host_memory_min_mb"
        )
    for path in params["paths"]:
        free = free_mb(path)
        if free < params["disk_free_min_mb"]:
            wrong.append(
                f"{free} MiB free on the filesystem of {path}, {params['disk_free_min_mb']} needed: "
                "make room or lower host_disk_free_min_mb"
            )
    if params["time_sync"] and systemd and not facts["virtualization_container"] and not clock_synchronised():
        wrong.append("the clock is not synchronised: apt install systemd-timesyncd, then look at timedatectl")
    return wrong


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "memory_min_mb": {"type": "int", "default": 900},
            "disk_free_min_mb": {"type": "int", "default": 5120},
            "paths": {"type": "list", "elements": "str", "default": ["/", "/var/lib", "/opt"]},
            "time_sync": {"type": "bool", "default": True},
            "ssh_from": {"type": "list", "elements": "str", "default": []},
            "ssh_port": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    release = os_release(Path("/etc/os-release").read_text(encoding="utf-8"))
    facts = {
        "architecture": platform.machine(),
        "distribution_major_version": release.get("VERSION_ID", "unknown"),
        "distribution_release": release.get("VERSION_CODENAME", "unknown"),
        "memtotal_mb": memory_mb(Path("/proc/meminfo").read_text(encoding="utf-8")),
        "virtualization_container": in_container(),
    }
    wrong = problems(module.params, facts, release.get("ID", "unknown"), Path("/run/systemd/system").is_dir())
    try:
        lock = locked_out(way_in(), module.params["ssh_from"], module.params["ssh_port"])
    except ValueError as error:
        lock = f"host_firewall_ssh_from: {error}; write networks as 192.0.2.0/24"
    wrong += [lock] if lock else []
    if wrong:
        module.fail_json(msg="This host cannot carry the platform yet: " + "; ".join(wrong) + ".")
    module.exit_json(changed=False, ansible_facts=facts)


if __name__ == "__main__":
    main()
