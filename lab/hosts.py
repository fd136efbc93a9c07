"""The lab's hosts: started, converged and taken away through Molecule, as a user of Molecule would do it by hand."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab import page

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".lab"
# Scenario to its network and what the addresses in it begin with, as in its molecule.yml.
NETWORKS = {"default": ("nano-lab", "172.30.77."), "all_in_one": ("nano-solo", "172.30.78.")}
VAULT = ROOT / "inventories/lab/group_vars/all/vault.yml"


class LabError(Exception):
    """What went wrong, where, and what to do next; shown to the user without a stack trace."""


def cgroup_tree() -> str:
    """Return the path of the machine's cgroup v2 tree.

    A "hybrid" machine has it beside the v1 controllers, at /sys/fs/cgroup/unified; systemd 254 and newer cannot boot
    from v1. The machine's own cgroups are not changed: the hosts make theirs below it.
    """
    unified = Path("/sys/fs/cgroup/unified")
    return str(unified) if unified.is_dir() else "/sys/fs/cgroup"


def environment(mirror: Path) -> dict[str, str]:
    """Return the environment that Molecule and Ansible run in."""
    env = dict(os.environ)
    env.update(
        ANSIBLE_VAULT_PASSWORD_FILE=str(STATE / "vault-password"),
        ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"),
        ANSIBLE_FORCE_COLOR="1" if sys.stdout.isatty() else "0",
        MOLECULE_PROJECT_DIRECTORY=str(ROOT),
        NANO_LAB_CGROUP=cgroup_tree(),
        NANO_LAB_MIRROR=str(mirror),
        PATH=f"{Path(sys.executable).parent}:{env['PATH']}",
        # A run without a terminal (CI) still shows its lines as they come.
        PYTHONUNBUFFERED="1",
    )
    return env


def run(argv: list[str], env: dict[str, str], cwd: Path = ROOT) -> str:
    """Run a command, by default in the project's root, show its output as it comes, and return it.

    Raises:
        LabError: it ended with another code than 0.
    """
    lines: list[str] = []
    with subprocess.Popen(
        argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            print(line, end="", flush=True)
    output = "".join(lines)
    if process.returncode:
        raise LabError(f"`{' '.join(argv[:4])}` ended with code {process.returncode}; the reason is in the lines above")
    return output


def memory(scenario: str) -> Path:
    """Return the folder where Molecule keeps what it knows of a scenario."""
    return STATE / "molecule" / scenario


def molecule(env: dict[str, str], scenario: str, *argv: str) -> str:
    """Run a command of Molecule on a scenario and return its output.

    Raises:
        LabError: it failed.
    """
    folder = memory(scenario)
    folder.mkdir(parents=True, exist_ok=True)
    return run(
        ["molecule", argv[0], "--scenario-name", scenario, *argv[1:]],
        {**env, "MOLECULE_EPHEMERAL_DIRECTORY": str(folder)},
    )


def step(title: str) -> None:
    """Print the title of a step."""
    print(f"\n=== {time.strftime('%H:%M:%S')} {title}", flush=True)


def prepare_state(env: dict[str, str]) -> None:
    """Make the lab's SSH key, vault password and vault, each once."""
    (STATE / "ssh").mkdir(parents=True, exist_ok=True, mode=0o700)
    STATE.chmod(0o700)
    password = STATE / "vault-password"
    if not password.exists():
        fresh = password.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(32) + "\n", encoding="utf-8")
        fresh.replace(password)
        # A vault of an earlier lab opens with an earlier password: without it, it is worth nothing.
        VAULT.unlink(missing_ok=True)
    key = STATE / "ssh/id_ed25519"
    if not key.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "nano.ops lab", "-f", str(key)], check=True
        )
    (STATE / "env").write_text(page.shell(ROOT, STATE), encoding="utf-8")
    (STATE / "ssh/config").write_text(page.ssh_config(addresses(), STATE), encoding="utf-8")
    run(["ansible-playbook", "playbooks/secrets.yml", "-i", "localhost,", "-e", f"secrets_file={VAULT}"], env)


def docker(*argv: str) -> str:
    """Run the docker client and return its output, stripped."""
    done = subprocess.run(["docker", *argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"docker {argv[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def platforms(scenario: str = "default") -> list[str]:
    """Return the names of a scenario's hosts, from molecule.yml."""
    import yaml

    config = yaml.safe_load((ROOT / "molecule" / scenario / "molecule.yml").read_text(encoding="utf-8"))
    return [platform["name"] for platform in config["platforms"]]


def check_subnet(scenario: str = "default") -> None:
    """Refuse an address range that something else uses.

    Raises:
        LabError: an interface of the machine or another network of the engine has an address of the scenario.
    """
    name, prefix = NETWORKS[scenario]
    ours = ipaddress.ip_network(f"{prefix}0/24")
    for network in docker("network", "ls", "--format", "{{.Name}}").split():
        if network == name:
            return
        details = json.loads(docker("network", "inspect", network))[0]
        for config in details.get("IPAM", {}).get("Config") or []:
            subnet = ipaddress.ip_network(config.get("Subnet", "::/128"))
            if subnet.version == 4 and subnet.overlaps(ours):
                raise LabError(f"the lab's network {ours} is in use by the engine's network {network}")
    addresses = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=False).stdout
    for interface in re.findall(r" inet ([0-9.]+/[0-9]+)", addresses):
        if ipaddress.ip_interface(interface).network.overlaps(ours):
            raise LabError(f"an interface of this machine has {interface}, an address in the lab's network {ours}")


def start_stopped(scenario: str = "default") -> None:
    """Start hosts that an earlier run left stopped: an engine that was killed leaves them so."""
    wanted = platforms(scenario)
    known = docker("ps", "--all", "--format", "{{.Names}} {{.State}}").splitlines()
    stopped = [name for name, state in (line.split() for line in known) if name in wanted and state != "running"]
    if stopped:
        step(f"start the stopped hosts {', '.join(stopped)}")
        docker("start", *stopped)


def wait_for_ssh(addresses: list[str], seconds: float = 60.0) -> None:
    """Wait until each address answers on port 22.

    Raises:
        LabError: one does not within the given time in seconds.
    """
    deadline = time.monotonic() + seconds
    for address in addresses:
        while True:
            try:
                socket.create_connection((address, 22), timeout=2).close()
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"{address} does not answer on port 22 after {seconds:.0f} s: {error}") from error
                time.sleep(0.5)


def inventory(scenario: str = "default") -> dict[str, Any]:
    """Return group name to group, from the scenario's inventory."""
    import yaml

    path = ROOT / ("inventories/lab/hosts.yml" if scenario == "default" else f"molecule/{scenario}/inventory/hosts.yml")
    groups: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["all"]["children"]
    return groups


def addresses(scenario: str = "default") -> dict[str, str]:
    """Return host name to address, from the scenario's inventory."""
    found: dict[str, str] = {}
    for name, group in inventory(scenario).items():
        if name.startswith("site_"):
            found |= {host: variables["ansible_host"] for host, variables in group["hosts"].items()}
    return found


def create(env: dict[str, str], scenario: str = "default") -> None:
    """Make or start the hosts and open them to SSH."""
    check_subnet(scenario)
    start_stopped(scenario)
    if set(platforms(scenario)) - set(docker("ps", "--all", "--format", "{{.Names}}").split()):
        # Molecule remembers hosts that somebody else has removed, and would make none. Its own `reset` is no help: it
        # removes the hosts of all scenarios.
        (memory(scenario) / "state.yml").unlink(missing_ok=True)
    step("create the hosts")
    molecule(env, scenario, "create")
    step("open them to SSH")
    molecule(env, scenario, "prepare", "--force")
    wait_for_ssh(list(addresses(scenario).values()))


def destroy(env: dict[str, str], scenario: str = "default") -> None:
    """Remove the hosts of a scenario; their disks go with them."""
    molecule(env, scenario, "destroy")


def up(mirror: Path) -> None:
    """Bring the whole lab up and say what is there."""
    started = time.monotonic()
    env = environment(mirror)
    step("keys and secrets of the lab")
    prepare_state(env)
    create(env)
    step("site.yml, the playbook that production uses")
    molecule(env, "default", "converge")
    print(page.closing(inventory(), time.monotonic() - started), flush=True)
