"""The tree is an installable collection: built, installed into an empty place, its playbooks run by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from .conftest import ROOT

BIN = Path(sys.executable).parent
# Inventories of others stay at home, and so do the lab's state and everything that a tool left behind.
NOT_FOR_OTHERS = (
    ".lab",
    ".venv",
    ".git",
    ".ansible",
    "collections",
    "__pycache__",
    ".cache",
    ".mypy_cache",
    ".ruff_cache",
)


def run(*argv: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in argv],
        env={**{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}, **env},
        cwd=env.get("HOME", ROOT),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive of a tree that has a vault in it, as every used one does."""
    tree = tmp_path_factory.mktemp("tree") / "ops"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*NOT_FOR_OTHERS))
    (tree / "inventories/lab/group_vars/all/vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n")
    (tree / "inventories/mine/group_vars/all").mkdir(parents=True)
    (tree / "inventories/mine/group_vars/all/vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n")
    out = tmp_path_factory.mktemp("archive")
    done = run(BIN / "ansible-galaxy", "collection", "build", tree, "--output-path", out)
    assert done.returncode == 0, done.stderr
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty home with nothing in it but the collection."""
    home = tmp_path_factory.mktemp("home")
    done = run(
        *(BIN / "ansible-galaxy", "collection", "install", archive, "--collections-path", home / "c", "--no-deps"),
        HOME=str(home),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def play(home: Path, name: str, *argv: str | Path) -> subprocess.CompletedProcess[str]:
    (home / "ansible.cfg").write_text("[defaults]\n")
    return run(
        *(BIN / "ansible-playbook", name, *argv),
        HOME=str(home),
        ANSIBLE_COLLECTIONS_PATH=str(home / "c"),
        ANSIBLE_FORCE_COLOR="0",
    )


def test_archive_holds_what_a_run_needs_and_no_vault(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    for needed in (
        "site.yml",
        "catalogue.yml",
        "playbooks/site.yml",
        "roles/host/tasks/main.yml",
        "plugins/action/files.py",
    ):
        assert needed in names
    assert [name for name in names if "vault.yml" in name or "ssh/" in name or name.startswith(".lab")] == []


@pytest.mark.parametrize("name", ["site", "rotate_certificates", "secrets"])
def test_playbook_runs_by_its_name(installed: Path, name: str) -> None:
    done = play(installed, f"nano.ops.{name}", "-i", ROOT / "inventories/lab/hosts.yml", "--list-tasks")
    assert done.returncode == 0, done.stderr
    assert "TAGS: " in done.stdout


def test_installed_collection_makes_secrets_and_checks_an_inventory(installed: Path) -> None:
    """The first two things that an operator does, from the installed collection alone."""
    mine = installed / "mine"
    shutil.copytree(ROOT / "inventories/lab", mine, ignore=shutil.ignore_patterns("vault.yml"))
    password = installed / "password"
    password.write_text("a password for this test alone\n")
    vault = mine / "group_vars/all/vault.yml"
    env = ("--vault-password-file", password)
    make = (
        *("nano.ops.secrets", "-i", "localhost,", "-e", f"secrets_file={vault}", *env),
        *("-e", f"secrets_password_file={password}"),
    )
    made = play(installed, *make)
    assert made.returncode == 0, made.stdout + made.stderr
    before = vault.read_bytes()
    assert play(installed, *make).returncode == 0
    assert vault.read_bytes() == before, "what is there stays"
    vault.write_text("redis_password: typed-by-hand-and-left-open\n")
    assert play(installed, *make).returncode == 0
    assert vault.read_text().startswith("$ANSIBLE_VAULT"), "an open one is closed"
    shown = run(BIN / "ansible-vault", "view", vault, *env).stdout
    assert "typed-by-hand-and-left-open" in shown and "host_ca_passphrase" in shown
    assert vault.read_text().startswith("$ANSIBLE_VAULT;1.1;AES256"), "the secrets lie there for all to read"
    assert vault.stat().st_mode & 0o777 == 0o600
    good = play(installed, "nano.ops.site", "-i", mine, *env, "--tags", "always")
    assert good.returncode == 0, good.stdout + good.stderr
    bad = play(installed, "nano.ops.site", "-i", mine, *env, "--tags", "always", "-e", "prometheus_retenton=1d")
    assert bad.returncode != 0
    assert "prometheus_retention" in bad.stdout + bad.stderr
