"""inventories/example, used as the README tells: copied, given secrets, checked by the playbook's own first step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "inventories/example"
VAULT = "group_vars/all/vault.yml"
# What Ansible needs and nothing that the machine may have set: no other inventory, no other configuration.
KEPT = ("HOME", "LANG", "LC_ALL")


def play(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook from the clone, as an operator does, with the password that lies in the given folder."""
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    env |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_VAULT_PASSWORD_FILE": str(home / "vault-password"),
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(home / "facts"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    argv = ("ansible-playbook", *argv)
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)


def check(production: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run the check that comes before any change."""
    return play(production.parent, "site.yml", "-i", str(production), "--tags", "always", *argv)


def secrets(production: Path) -> subprocess.CompletedProcess[str]:
    """Make the vault as the README tells; without -i, Ansible would open the lab's vault."""
    place = f"secrets_file={production / VAULT}"
    return play(production.parent, "playbooks/secrets.yml", "-i", str(production), "-e", place)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the example whose vault was made by the playbook and got the one secret of one's own."""
    home = tmp_path_factory.mktemp("made")
    copy = home / "production"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("vault.yml"))
    (home / "vault-password").write_text("a password of this test\n")
    done = secrets(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    (copy / "group_vars/all/own.yml").write_text("vault_smtp_password: Zt7bqLw93kVxe2Rm\n")
    return home


@pytest.fixture
def production(made: Path, tmp_path: Path) -> Path:
    """Return a copy of that inventory which a test may spoil."""
    home = tmp_path / "home"
    shutil.copytree(made, home)
    return home / "production"


def groups(path: Path) -> dict[str, set[str]]:
    """Return group to hosts of an inventory file."""
    children = yaml.safe_load(path.read_text())["all"]["children"]
    return {name: set(group["hosts"]) for name, group in children.items()}


def test_it_has_the_groups_and_hosts_of_the_lab() -> None:
    assert groups(EXAMPLE / "hosts.yml") == groups(ROOT / "inventories/lab/hosts.yml")


def test_its_addresses_reach_nobody() -> None:
    text = "".join(path.read_text() for path in EXAMPLE.rglob("*.yml"))
    # RFC 5737's ranges, and in comments a private address; 0.0.0.0 is everybody.
    allowed = re.compile(r"192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|10\.0\.|0\.0\.0\.0")
    found = re.findall(r"\d+\.\d+\.\d+\.\d+", text)
    assert len(found) >= 6 and [address for address in found if not allowed.match(address)] == []


def test_it_holds_no_secret() -> None:
    assert not (EXAMPLE / VAULT).exists()
    for path in EXAMPLE.rglob("*.yml"):
        assert "$ANSIBLE_VAULT" not in path.read_text(), path
        text = re.sub(r"(^|\s)#.*$", "", path.read_text(), flags=re.M)
        for value in re.findall(r"(?:password|passphrase|private_key|token|secret):\s*([^\n]*)", text):
            assert re.match(r'"\{\{ (vault_\w+|\w+_secret) \}\}"', value), f"{path}: {value}"


def test_a_copy_with_secrets_is_accepted(production: Path) -> None:
    done = check(production)
    assert done.returncode == 0, done.stdout + done.stderr
    # Warnings, such as of files that are taken for inventories, would drown the ones that matter.
    assert "[WARNING]: Unable to parse" not in done.stderr + done.stdout
    # Every host of every play was looked at, and none was connected to: the addresses reach nobody.
    assert re.search(r"^db2 +: ok=[1-9]\d* +changed=0 +unreachable=0 +failed=0", done.stdout, re.M), done.stdout


def test_the_vault_is_encrypted_and_its_second_making_changes_nothing(production: Path) -> None:
    text = (production / VAULT).read_text()
    assert text.startswith("$ANSIBLE_VAULT;"), "secrets.yml wrote the secrets in plain text"
    done = secrets(production)
    assert done.returncode == 0 and (production / VAULT).read_text() == text


def test_without_a_vault_each_secret_is_named_with_its_remedy(production: Path) -> None:
    (production / VAULT).unlink()
    (production / "group_vars/all/own.yml").unlink()
    done = check(production)
    assert done.returncode != 0
    for name in ("host_ca_passphrase", "postgresql_replication_password", "redis_password"):
        assert re.search(rf"{name}: missing, .*playbooks/secrets.yml", done.stdout), done.stdout
    assert "alertmanager_global: cannot be computed ('vault_smtp_password' is undefined)" in done.stdout
    assert "nothing was changed" in done.stdout


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("hosts.yml", "postgresql_role: standby", "postgresql_role: primary", "db1 and db2 are all primary"),
        ("hosts.yml", "198.51.100.22", "198.51.100.21", "198.51.100.21 is the address of app1 too"),
        ("hosts.yml", "192.0.2.10", "ops1.example.com", "ops1.example.com is no IPv4 address"),
        ("hosts.yml", "site_b:", "sites_b:", "the host is in no group site_*"),
        ("group_vars/prometheus.yml", "_retention_time", "_retention_tim", "did you mean prometheus_retention_time?"),
        (
            "group_vars/prometheus.yml",
            "prometheus_retention_time: 30d",
            "prometheus_alert_backup_rpo_critical_seconds: 60",
            "is 60, but has to be more than prometheus_alert_backup_rpo_warning_seconds, which is 60",
        ),
        ("group_vars/redis.yml", "rdb\n", "disk\n", "redis_persistence: is none of none, rdb, aof"),
        ("group_vars/all/main.yml", "dns_zone: ops.example.com", "dns_zone: ops", "dns_zone: ops is no domain"),
        ("group_vars/all/main.yml", "dns_zone:", "dns_provider: none\ndns_zone:", "but group dns has members"),
        (
            "hosts.yml",
            "hosts: {store1: null}\n    # Restores",
            "hosts: {store1: null, db2: null}\n    # R",
            "db2 and store1 would",
        ),
        (
            "group_vars/all/backup.yml",
            "pgbackrest_s3_bucket: nano-backups\n",
            "",
            "pgbackrest_s3_bucket: not set, but other",
        ),
        ("group_vars/all/backup.yml", "https://store2", "http://store2", "not of the form https://host"),
        (
            "group_vars/all/backup.yml",
            "backup_telemetry_loki: false",
            "backup_telemetry_loki: true\nbackup_telemetry_s3_bucket: ''",
            "grafana, loki is to be kept, but S3 is not all set",
        ),
        ("group_vars/all/backup.yml", "16GiB", "16 GB", "no size that pgBackRest takes; write it as 16GiB"),
        ("group_vars/alertmanager.yml", "receiver: on-call", "receiver: on_call", "there is no receiver on_call"),
    ],
)
def test_a_mistake_in_the_copy_is_named(production: Path, file: str, old: str, new: str, message: str) -> None:
    path = production / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = check(production)
    assert done.returncode != 0 and message in done.stdout, done.stdout


def test_the_ca_does_not_lie_where_ansible_looks_for_inventories(production: Path) -> None:
    directory = yaml.safe_load((production / "group_vars/all/main.yml").read_text())["host_ca_directory"]
    place = Path(directory.replace("{{ inventory_dir }}", str(production)))
    assert place.is_absolute() and production not in place.parents
