"""The controller's side: the tree, its inventory with the vault opened, and the environment of an operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".lab"
INVENTORY = ROOT / "inventories/lab"
SECRET_NAMES = ("_password", "_passphrase", "_secret", "_token")


class Secret(str):
    """A text that a failing test does not show."""

    def __repr__(self) -> str:
        """Return a placeholder."""
        return "'(secret)'"


def masked(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields of JSON with what their names call a secret made one."""
    return {name: Secret(value) if name.endswith(SECRET_NAMES) else value for name, value in fields.items()}


def environment() -> dict[str, str]:
    """Return the environment of an operator in a plain clone: without Molecule's own settings for Ansible."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
    password = os.environ.get("ANSIBLE_VAULT_PASSWORD_FILE", str(STATE / "vault-password"))
    return env | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_VAULT_PASSWORD_FILE": password,
        "PATH": f"{Path(sys.executable).parent}:{env['PATH']}",
    }


def read_inventory() -> dict[str, Any]:
    """Return the lab's inventory as `ansible-inventory --list` shows it, its vault opened."""
    done = subprocess.run(
        ["ansible-inventory", "--inventory", str(INVENTORY), "--list"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout, object_hook=masked)
    return found
