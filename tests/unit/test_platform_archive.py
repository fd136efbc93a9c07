"""What the platform is built anew from: packed the same way each time, opened with the vault's password alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.nano.ops.plugins.plugin_utils import platform_archive

from .conftest import ROOT

BIN = Path(sys.executable).parent
SECRET = "a secret that lies open in the inventory"
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - nano.ops.platform_archive:
        directories: {inventory: "HERE/inventory", ca: "HERE/ca"}
        dest: "HERE/backups/platform"
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "inventory/group_vars").mkdir(parents=True)
    (tmp_path / "inventory/hosts.yml").write_text(f"all: {{}} # {SECRET}\n")
    (tmp_path / "inventory/group_vars/vault.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n")
    (tmp_path / "ca").mkdir()
    (tmp_path / "ca/ca.key").write_text("encrypted key\n")
    (tmp_path / "ca/.lock").write_text("")
    (tmp_path / "password").write_text("the password of this test\n")
    (tmp_path / "play.yml").write_text(PLAY.replace("HERE", str(tmp_path)))
    return tmp_path


def play(here: Path, *words: str, vault: bool = True) -> str:
    secret = ["--vault-password-file", str(here / "password")] if vault else []
    argv = [str(BIN / "ansible-playbook"), str(here / "play.yml"), "-i", "localhost,", *secret, *words]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    done = subprocess.run(argv, env=env, cwd=here, capture_output=True, text=True, check=False)
    assert SECRET not in done.stdout + done.stderr
    return done.stdout + done.stderr


def archives(here: Path) -> list[Path]:
    return sorted((here / "backups/platform").glob("*"))


def test_nothing_changes_as_long_as_nothing_has_changed(here: Path) -> None:
    assert "changed=1" in play(here, "--check") and archives(here) == []
    assert "changed=1" in play(here)
    (first,) = archives(here)
    assert "changed=0" in play(here)
    # Times and locks are no content.
    os.utime(here / "inventory/hosts.yml", (1, 1))
    (here / "ca/.lock").write_text("1")
    assert "changed=0" in play(here)
    (here / "ca/ca.key").write_text("another key\n")
    assert "changed=1" in play(here)
    assert first in archives(here) and len(archives(here)) == 2


def test_the_vaults_password_alone_opens_it(here: Path) -> None:
    play(here)
    (path,) = archives(here)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert path.read_text().startswith("$ANSIBLE_VAULT;") and SECRET not in path.read_text()
    out = here / "out"
    out.mkdir()
    view = f"'{BIN}/ansible-vault' decrypt --vault-password-file '{here}/password' --output - '{path}'"
    subprocess.run(["sh", "-c", f"{view} | tar -xz -C '{out}'"], check=True, capture_output=True)
    found = {str(each.relative_to(out)): each.read_bytes() for each in out.rglob("*") if each.is_file()}
    assert found == {
        "inventory/hosts.yml": (here / "inventory/hosts.yml").read_bytes(),
        "inventory/group_vars/vault.yml": (here / "inventory/group_vars/vault.yml").read_bytes(),
        "ca/ca.key": (here / "ca/ca.key").read_bytes(),
    }


def test_without_a_password_nothing_is_written(here: Path) -> None:
    said = play(here, vault=False)
    assert "none was given" in said and "backup_platform_archive: false" in said
    assert archives(here) == []


def test_a_missing_folder_is_named(here: Path) -> None:
    with pytest.raises(platform_archive.ArchiveError, match="nowhere is not there: backup_platform_directories"):
        platform_archive.pack({"ca": here / "nowhere"})


def test_what_is_no_inventory_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_archive, "MOST_BYTES", 10)
    with pytest.raises(platform_archive.ArchiveError, match="move what is no inventory away"):
        platform_archive.pack({"inventory": here / "inventory"})
