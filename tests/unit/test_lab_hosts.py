"""The lab's hosts before any is made: address ranges that are taken, hosts left stopped, what a user is told."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import bench, hosts, page
from lab.hosts import NETWORKS, LabError

from .conftest import ROOT
from .modules import program

RECAP = """\
\x1b[0;32mops1\x1b[0m                       : \x1b[0;32mok=41  \x1b[0m changed=0    unreachable=0    failed=0
db1                        : ok=38   changed=4    unreachable=0    failed=0

nano.ops.postgresql ---------------------------------------------------- 12.34s
nano.ops.check_inventory ------------------------------------------------ 0.50s
prometheus -------------------------------------------------------------- 3.21s
total ------------------------------------------------------------------ 16.05s
"""


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of programs that are found first: an engine without networks, a machine without addresses."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    networks(folder, {})
    machine(folder, "127.0.0.1/8")
    return folder


def networks(folder: Path, subnets: dict[str, str]) -> None:
    """Let the engine have networks, name to subnet."""
    text = '#!/bin/sh\n[ "$2" = ls ] && {{ cat {0}/networks; exit; }}\n[ "$2" = inspect ] && cat "{0}/$3.json"\n'
    program(folder, "docker", text.format(folder))
    (folder / "networks").write_text("".join(f"{name}\n" for name in subnets))
    for name, subnet in subnets.items():
        details = [{"Name": name, "IPAM": {"Config": [{"Subnet": subnet}] if subnet else None}}]
        (folder / f"{name}.json").write_text(json.dumps(details))


def machine(folder: Path, address: str) -> None:
    """Let the machine have an interface with an address."""
    program(folder, "ip", f"#!/bin/sh\necho '2: eth0    inet {address} brd 0.0.0.0 scope global eth0'\n")


@pytest.mark.parametrize("scenario", NETWORKS)
def test_free_range_is_taken(engine: Path, scenario: str) -> None:
    networks(engine, {"bridge": "172.17.0.0/16", "host": "", "other": "10.1.0.0/24"})
    machine(engine, "192.168.1.7/24")
    hosts.check_subnet(scenario)


def test_labs_own_network_is_no_conflict(engine: Path) -> None:
    networks(engine, {"nano-lab": "172.30.77.0/24"})
    machine(engine, "172.30.77.1/24")
    hosts.check_subnet()


# The last one is of the engine's own pool: 172.17.0.0/16 to 172.31.0.0/16, one after the other.
@pytest.mark.parametrize("subnet", ["172.30.77.0/24", "172.30.77.128/25", "172.30.0.0/16"])
def test_range_of_another_network_is_refused_by_name(engine: Path, subnet: str) -> None:
    networks(engine, {"bridge": "172.17.0.0/16", "shop_default": subnet})
    with pytest.raises(LabError, match=r"172\.30\.77\.0/24 is in use by the engine's network shop_default"):
        hosts.check_subnet()


@pytest.mark.parametrize("address", ["172.30.77.5/24", "172.30.0.9/16", "172.30.77.9/32"])
def test_range_of_the_machine_is_refused(engine: Path, address: str) -> None:
    machine(engine, address)
    with pytest.raises(LabError, match=r"an interface of this machine .* 172\.30\.77\.0/24"):
        hosts.check_subnet()


def test_engines_words_are_passed_on(engine: Path) -> None:
    program(engine, "docker", "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    with pytest.raises(LabError, match="docker network: Cannot connect to the Docker daemon"):
        hosts.check_subnet()


def test_only_the_labs_stopped_hosts_are_started(engine: Path) -> None:
    listing = "ops1 exited\napp1 running\ndb1 created\nshop exited\n"
    text = f"#!/bin/sh\n[ $1 = ps ] && {{ printf '{listing}'; exit; }}\necho \"$@\" >> {engine}/asked\n"
    program(engine, "docker", text.replace("\n'", "\\n'"))
    hosts.start_stopped()
    assert (engine / "asked").read_text() == "start ops1 db1\n"


def test_host_that_does_not_answer_is_named_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(hosts.socket, "create_connection", refuse)
    with pytest.raises(LabError, match=r"10\.0\.0\.9 does not answer on port 22 after 0 s: refused"):
        hosts.wait_for_ssh(["10.0.0.9"], seconds=0.0)


def test_command_that_fails_shows_its_output(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LabError, match=r"`sh -c .* ended with code 3; the reason is in the lines above"):
        hosts.run(["sh", "-c", "echo the reason >&2; exit 3"], {"PATH": "/usr/bin:/bin"})
    assert capfd.readouterr().out == "the reason\n"


@pytest.mark.parametrize("scenario", NETWORKS)
def test_inventory_and_scenario_have_the_same_hosts_and_addresses(scenario: str) -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / f"molecule/{scenario}/molecule.yml").read_text())
    made = {each["name"]: each["networks"][0]["ipv4_address"] for each in config["platforms"]}
    assert hosts.addresses(scenario) == made
    name, prefix = NETWORKS[scenario]
    subnet = config["platforms"][0]["docker_networks"][0]
    assert (subnet["name"], subnet["ipam_config"][0]["subnet"]) == (name, f"{prefix}0/24")
    assert {ipaddress.ip_network(f"{prefix}0/24")} == {
        ipaddress.ip_network(f"{address}/24", strict=False) for address in made.values()
    }


def test_ssh_file_has_every_host(tmp_path: Path) -> None:
    text = page.ssh_config({"ops1": "10.0.0.1", "db1": "10.0.0.2"}, tmp_path)
    assert "Host db1\n  HostName 10.0.0.2\n" in text
    assert f"IdentityFile {tmp_path}/ssh/id_ed25519" in text
    assert "StrictHostKeyChecking no" not in text


def test_closing_words_say_what_runs_where() -> None:
    lines = page.closing(hosts.inventory(), 61.6).splitlines()
    assert "The lab is up after 62 s." in lines
    row = next(line.split() for line in lines if line.startswith("  db1 "))
    assert row == ["db1", hosts.addresses()["db1"], "site_a", "postgresql", "(primary)"]


def test_benchmark_reads_ansibles_recap() -> None:
    run = bench.parse(RECAP, 16.5)
    assert (run.seconds, run.changed, run.tasks) == (16.5, 4, {"ops1": 41, "db1": 38})
    assert run.roles == {"postgresql": 12.34, "prometheus": 3.21}


def test_benchmark_refuses_a_warm_run_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "run", lambda *_: RECAP)
    with pytest.raises(LabError, match="a warm run changed something"):
        bench.again({}, "site.yml")
