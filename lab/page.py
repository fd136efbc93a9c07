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


def groups_of(tree: dict[str, Any], host: str) -> list[str]:
    """Return the groups of services that a host is in."""
    return [name for name in tree if not name.startswith("site_") and host in tree[name]["hosts"]]


def rows(tree: dict[str, Any]) -> list[tuple[str, str, str, list[str]]]:
    """Return host, address, site and what runs there, of each host, site by site."""
    found = []
    for site in sorted(name for name in tree if name.startswith("site_")):
        for host, variables in tree[site]["hosts"].items():
            services = []
            for group in groups_of(tree, host):
                own = {**variables, **(tree[group]["hosts"][host] or {})}
                role = own.get(f"{group}_role")
                services.append(f"{group} ({role})" if role else group)
            found.append((host, variables["ansible_host"], site, services))
    return found


def doors(hosts: list[tuple[str, str, str, list[str]]]) -> str:
    """Return where people and customers get in."""
    lines = []
    for _, address, _, services in hosts:
        if "nginx" in services and "nano_api" in services:
            lines.append(f"Marketplace:  https://{address}/v1/nanos    (its CA: .lab/ca/ca.crt)")
        elif "nginx" in services and "prometheus" in services:
            lines.append(f"For people:   https://{address}/    user operator, the password shows")
            lines.append("                ansible-vault view inventories/lab/group_vars/all/vault.yml | grep door")
    return "".join(f"{line}\n" for line in lines)


def closing(tree: dict[str, Any], seconds: float) -> str:
    """Return what runs where, how to log in and what to try next."""
    hosts = rows(tree)
    table = "\n".join(
        f"  {host:<8}{address:<16}{site:<10}{', '.join(services) or 'nothing else'}"
        for host, address, site, services in hosts
    )
    return f"""
The lab is up after {seconds:.0f} s.

  host    address         site      services, besides node_exporter and otel_collector
{table}

{doors(hosts)}Log in:       ssh -F .lab/ssh/config ops1
Targets:      ssh -F .lab/ssh/config ops1 sudo curl -s --cacert /etc/nano/tls/ca.crt --cert /etc/nano/tls/host.crt \\
                --key /etc/nano/tls/host.key https://ops1:9090/api/v1/targets
Try next:     make traffic                      requests of users, good and bad; names one of them
              make follow ID=...                its series, log lines and trace
              make test                         prove it all
              ansible-playbook site.yml --check --diff    (. .lab/env first)
              make down                         take it all away again
"""
