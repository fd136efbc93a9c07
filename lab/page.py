"""What the lab tells its user: where things run, how to log in, what to try next."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def ssh_config(addresses: dict[str, str], state: Path) -> str:
    """Return the text of a file for `ssh -F`."""
    lines = [f"Host {host}\n  HostName {address}" for host, address in addresses.items()]
    return "\n".join(
        [
            *lines,
            "Host *",
            "  User ops",
            f"  IdentityFile {state}/ssh/id_ed25519",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {state}/ssh/known_hosts",
            "",
        ]
    )


def shell(root: Path, state: Path) -> str:
    """Return the text of a file to source: the tools and the lab's vault, for one's own ansible-playbook."""
    return f'export PATH={root}/.venv/bin:"$PATH" ANSIBLE_VAULT_PASSWORD_FILE={state}/vault-password\n'


def closing(tree: dict[str, Any], seconds: float) -> str:
    """Return what runs where, how to log in and what to try next."""
    rows = []
    for site in sorted(name for name in tree if name.startswith("site_")):
        for host, variables in tree[site]["hosts"].items():
            groups = [name for name in tree if not name.startswith("site_") and host in tree[name]["hosts"]]
            role = f" ({variables['postgresql_role']})" if "postgresql_role" in variables else ""
            rows.append(
                f"  {host:<8}{variables['ansible_host']:<16}{site:<10}{', '.join(groups) or 'node_exporter'}{role}"
            )
    hosts = "\n".join(rows)
    return f"""
The lab is up after {seconds:.0f} s.

  host    address         site      services besides node_exporter
{hosts}

Log in:       ssh -F .lab/ssh/config ops1
Targets:      ssh -F .lab/ssh/config ops1 sudo curl -s --cacert /etc/nano/tls/ca.crt --cert /etc/nano/tls/host.crt \\
                --key /etc/nano/tls/host.key https://ops1:9090/api/v1/targets
Try next:     make test    prove it
              ansible-playbook site.yml --check --diff    (. .lab/env first)
              make down    take it all away again
"""
