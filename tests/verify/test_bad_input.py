"""A mistake is told before anything is changed: what is wrong, where, and what to do."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.verify.conftest import Run
from tests.verify.controller import environment
from tests.verify.lab import Lab

pytestmark = pytest.mark.disturbs
Tree = dict[str, Any]


def plain(run: Run) -> str:
    """Return what a run printed with every white space as one blank."""
    return " ".join(run.output.split())


def assert_told(run: Run, *words: str) -> None:
    """The run failed in its first play, changed nothing, and said all the words."""
    assert run.rc == 2, run.output
    assert "nothing was changed" in plain(run), run.output
    assert re.findall(r"^PLAY \[(.*)\]", run.output, flags=re.MULTILINE) == [
        "Check the inventory before anything is changed"
    ]
    assert run.changed == []
    assert "Traceback" not in run.output
    for word in words:
        assert word in plain(run), run.output


VARIABLES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "mistyped name": (
        {"prometheus_retention_tme": "30d"},
        ("all hosts: prometheus_retention_tme", "did you mean prometheus_retention_time?"),
    ),
    "wrong type": (
        {"postgresql_max_connections": "many"},
        ("postgresql_max_connections: is not of type int; correct its value",),
    ),
    "none of the choices": (
        {"node_exporter_install_from": "source"},
        ("node_exporter_install_from: is none of release, package",),
    ),
    "short secret": ({"redis_exporter_password": "short"}, ("redis_exporter_password: is shorter than 16 characters",)),
    "placeholder for a secret": (
        {"redis_exporter_password": "changeme-changeme-changeme"},
        ("redis_exporter_password: is a placeholder", "playbooks/secrets.yml"),
    ),
    "variable that refers to nothing": (
        {"redis_maxmemory": "{{ nowhere_defined }}"},
        ("redis_maxmemory: cannot be computed", "nowhere_defined"),
    ),
    "no receiver": (
        {"alertmanager_receivers": []},
        ("ops1: alertmanager_receivers: empty, alerts would reach nobody; name a receiver",),
    ),
    "receiver that tells nobody": (
        {"alertmanager_receivers": [{"name": "team"}]},
        ("ops1: alertmanager_receivers: receiver team tells nobody; give it a list such as email_configs",),
    ),
    "route to a receiver that is not there": (
        {"alertmanager_route": {"receiver": "nobody"}},
        ("ops1: alertmanager_route: there is no receiver nobody; use one of: team",),
    ),
    "share of more than all": (
        {"jaeger_sampling_percentage": 300},
        ("ops1: jaeger_sampling_percentage is 300, but a share is from 0 to 100",),
    ),
    "S3 without its keys": (
        {"loki_s3_bucket": "logs"},
        ("ops1: loki_s3_bucket needs loki_s3_access_key and loki_s3_secret",),
    ),
    "door without a password": (
        {"nginx_door_users": {"operator": ""}},
        ("ops1: nginx_door_users: somebody has no password",),
    ),
    "certificate for no name": (
        {"nginx_certificate": "acme"},
        ("nginx_certificate: acme needs nginx_names", "nginx_acme_email"),
    ),
    "own certificate that is not given": (
        {"nginx_certificate": "own"},
        ("nginx_certificate: own needs nginx_certificate_pem",),
    ),
    "application without a store": (
        {"nano_api_s3_endpoint": "store1:9000"},
        ("group nano_api: nano_api_s3_endpoint: neither a URL nor a host in group minio",),
    ),
    "two at once": (
        {"redis_maxmemroy": "1gb", "host_certificate_days": "a year"},
        ("2 problems in the inventory", "did you mean redis_maxmemory?", "host_certificate_days: is not of type int"),
    ),
}


@pytest.mark.parametrize("mistake", VARIABLES)
def test_mistake_in_a_variable_is_told(playbook: Callable[..., Run], mistake: str) -> None:
    variables, words = VARIABLES[mistake]
    assert_told(playbook("site.yml", "--check", extra_vars=variables), *words)


def second_primary(tree: Tree) -> None:
    tree["site_b"]["hosts"]["db2"]["postgresql_role"] = "primary"


def no_primary(tree: Tree) -> None:
    tree["site_a"]["hosts"]["db1"]["postgresql_role"] = "standby"


def no_site(tree: Tree) -> None:
    tree["redis"]["hosts"]["lost"] = {"ansible_host": "172.30.77.98"}


def two_sites(tree: Tree) -> None:
    tree["site_a"]["hosts"]["store1"] = None


def misspelt_site(tree: Tree) -> None:
    tree["site_B2"] = {"hosts": {"store1": tree["site_b"]["hosts"].pop("store1")}}


def same_address(tree: Tree) -> None:
    tree["site_b"]["hosts"]["app2"]["ansible_host"] = tree["site_a"]["hosts"]["app1"]["ansible_host"]


def two_of_loki(tree: Tree) -> None:
    tree["loki"]["hosts"]["store1"] = None


PLACES: dict[str, tuple[Callable[[Tree], None], tuple[str, ...]]] = {
    "two primaries": (second_primary, ("db1 and db2 are all primary; leave one and make the others standby",)),
    "standbys without a primary": (no_primary, ("postgresql_role: no host is primary; set it to primary on one",)),
    "host in no site": (no_site, ("lost: site: the host is in no group site_*; put it into exactly one",)),
    "host in two sites": (two_sites, ("store1: site: the host is in site_a and site_b; put it into exactly one",)),
    "unknown site": (misspelt_site, ("group site_B2: name: not of a-z, 0-9 and _; rename the group",)),
    "two of Loki on their own disks": (
        two_of_loki,
        ("group loki: Group loki has 2 members but loki_s3_bucket is empty", "leave one host in the group"),
    ),
    "two hosts at one address": (same_address, ("172.30.77.21 is the address of", "give each host its own")),
}


@pytest.mark.parametrize("mistake", PLACES)
def test_mistake_in_the_inventory_is_told(playbook: Callable[..., Run], copied_inventory: Path, mistake: str) -> None:
    change, words = PLACES[mistake]
    file = copied_inventory / "hosts.yml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    change(tree["all"]["children"])
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert_told(playbook("site.yml", "--check", inventory=copied_inventory), *words)


def test_missing_secret_is_told(lab: Lab, playbook: Callable[..., Run], copied_inventory: Path) -> None:
    kept = {name: str(value) for name, value in lab.secrets().items() if name != "redis_password"}
    subprocess.run(
        ["ansible-vault", "encrypt", "--output", str(copied_inventory / "group_vars/all/vault.yml")],
        input=yaml.safe_dump(kept),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    run = playbook("site.yml", "--check", inventory=copied_inventory)
    assert_told(run, "group redis: redis_password: missing, role redis needs it; make it with playbooks/secrets.yml")


def test_missing_receivers_are_told(playbook: Callable[..., Run], copied_inventory: Path) -> None:
    (copied_inventory / "group_vars/alertmanager.yml").unlink()
    assert_told(playbook("site.yml", "--check", inventory=copied_inventory), "ops1: alertmanager_receivers:")


def test_mistake_is_told_in_a_run_for_one_host_too(playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml", "--check", "--limit", "store1", extra_vars={"prometheus_retention_tme": "30d"})
    assert_told(run, "did you mean prometheus_retention_time?")


def assert_refused_by_host(run: Run, *words: str) -> None:
    """The host's own check failed: nothing came after it."""
    assert run.rc == 2, run.output
    tasks = re.findall(r"^TASK \[nano\.ops\.(?:host|node_exporter) : (.*)\]", run.output, flags=re.MULTILINE)
    assert tasks[-1] == "Check that the host can carry the platform", tasks
    assert run.changed == []
    assert "Traceback" not in run.output
    for word in ("store1", "This host cannot carry the platform yet", *words):
        assert word in plain(run), run.output


def test_full_disk_and_little_memory_are_told_together(playbook: Callable[..., Run]) -> None:
    wanted = {"host_disk_free_min_mb": 99999999, "host_memory_min_mb": 88888888}
    run = playbook("site.yml", "--limit", "store1", "--tags", "host", extra_vars=wanted)
    assert_refused_by_host(run, "99999999 needed: make room or lower host_disk_free_min_mb", "lower host_memory_min_mb")


@pytest.fixture
def other_system(lab: Lab) -> Iterator[None]:
    """Let store1 say that it is another system."""
    host = lab.host("store1")
    host.run_expect([0], "mv /etc/os-release /etc/os-release.verify")
    lab.command("store1", ["tee", "/etc/os-release"], input='ID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n')
    yield
    host.run_expect([0], "mv /etc/os-release.verify /etc/os-release")


@pytest.mark.usefixtures("other_system")
def test_unsupported_system_is_told(playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml", "--limit", "store1", "--tags", "host")
    assert_refused_by_host(run, "unsupported system ubuntu 24.04: install Debian 12 (bookworm), 13 (trixie)")


@pytest.fixture
def damaged_mirror(lab: Lab) -> Iterator[str]:
    """A mirror on store1 with a version whose archive is not the one that its checksum file speaks of."""
    folder = f"/opt/nano-verify-{uuid.uuid4().hex[:8]}"
    host = lab.host("store1")
    place, archive = f"{folder}/node_exporter/9.9.9", "node_exporter-9.9.9.linux-amd64.tar.gz"
    host.run_expect([0], "mkdir --parents %s", place)
    host.run_expect([0], f"cat /srv/mirror/node_exporter/*/*.tar.gz > {place}/{archive}")
    host.run_expect([0], f"cd {place} && sha256sum {archive} > sha256sums.txt && printf x >> {archive}")
    yield f"file://{folder}"
    host.run_expect([0], "rm --recursive %s", folder)


def test_archive_with_a_wrong_checksum_is_not_installed(
    lab: Lab, playbook: Callable[..., Run], damaged_mirror: str
) -> None:
    link = "/opt/nano/node_exporter/current"
    before = lab.host("store1").file(link).linked_to, lab.main_pids("store1")
    wanted = {"host_mirror_url": damaged_mirror, "node_exporter_version": "9.9.9"}
    run = playbook("site.yml", "--limit", "store1", "--tags", "node_exporter", extra_vars=wanted)
    assert run.rc == 2, run.output
    for word in ("store1", "node_exporter-9.9.9.linux-amd64.tar.gz", "SHA-256", "sha256sums.txt"):
        assert word in plain(run), run.output
    assert (lab.host("store1").file(link).linked_to, lab.main_pids("store1")) == before
    assert not lab.host("store1").file("/opt/nano/node_exporter/9.9.9").exists


def test_host_that_does_not_answer_is_named(playbook: Callable[..., Run], copied_inventory: Path) -> None:
    file = copied_inventory / "hosts.yml"
    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    tree["all"]["children"]["site_b"]["hosts"]["away"] = {"ansible_host": "172.30.77.98"}
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    run = playbook("site.yml", "--limit", "away", "--tags", "host", inventory=copied_inventory)
    assert run.rc == 4, run.output
    assert "UNREACHABLE" in run.output and "away" in run.output and "172.30.77.98" in run.output, run.output
    assert run.changed == []


def test_copied_inventory_without_a_mistake_is_accepted(playbook: Callable[..., Run], copied_inventory: Path) -> None:
    """The control: it is the mistakes that are refused, not the copy."""
    run = playbook("site.yml", "--check", "--tags", "always", inventory=copied_inventory)
    assert run.rc == 0, run.output
