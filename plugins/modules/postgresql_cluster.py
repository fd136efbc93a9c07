"""Look at a PostgreSQL cluster's data directory; fill an empty one; never touch one that holds anything."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: postgresql_cluster
short_description: Look at a PostgreSQL data directory, or fill an empty one
version_added: 0.1.0
author: nano.ops contributors
description:
  - Tells whether a data directory is empty or holds the data of a primary or of a standby.
  - Initialises a cluster, or copies one from a primary, into an empty directory only. A directory that holds anything
    is never written to.
options:
  version:
    description: Major version of PostgreSQL.
    type: int
    required: true
  name:
    description: Name of the cluster, as Debian's tools have it.
    type: str
    default: main
  state:
    description: C(seen) only looks; C(initialised) makes a new cluster; C(cloned) copies one.
    type: str
    choices: [seen, initialised, cloned]
    default: seen
  source:
    description: libpq connection string of the primary, without a password. Needed for C(cloned).
    type: str
  slot:
    description: Replication slot on the primary. Needed for C(cloned).
    type: str
attributes:
  check_mode:
    description: Tells whether it would fill the directory.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Look at the cluster that is there
  nano.ops.postgresql_cluster:
    version: 17
  register: __postgresql_cluster
"""

RETURN = r"""
holds:
  description: What the directory holds now, empty, primary or standby.
  returned: success
  type: str
path:
  description: The directory.
  returned: success
  type: str
system_identifier:
  description: Number that tells this cluster and its standbys from all others, as text; empty for an empty directory.
  returned: success
  type: str
version:
  description: Major version, as text.
  returned: success
  type: str
"""

USER = "postgres"
GROUP = "nano-tls"


class ClusterError(Exception):
    """What is wrong with a data directory, and what to do."""


def holds(path: Path, version: int) -> str:
    """Return what a data directory holds: empty, primary or standby.

    Raises:
        ClusterError: it holds something that is no cluster of this version.
    """
    if not path.is_dir() or not any(path.iterdir()):
        return "empty"
    note = path / "PG_VERSION"
    if not note.is_file():
        raise ClusterError(
            f"{path} is not empty and holds no PostgreSQL cluster, nothing was changed: look at what is in it and move "
            "it away if it is not needed"
        )
    found = note.read_text(encoding="ascii").strip()
    if found != str(version):
        raise ClusterError(f"{path} was made by PostgreSQL {found}, postgresql_version is {version}: set it to {found}")
    return "standby" if (path / "standby.signal").exists() else "primary"


def system_identifier(path: Path) -> str:
    """Return the number of the cluster in a data directory, "" if there is none.

    It is the first field of the control file, in the machine's byte order, in every version so far.
    """
    control = path / "global/pg_control"
    if not control.is_file():
        return ""
    with control.open("rb") as file:
        (number,) = struct.unpack("=Q", file.read(8))
    return str(number)


def argv(params: dict[str, Any], path: Path) -> list[str]:
    """Return the command that fills the directory."""
    programs = Path(f"/usr/lib/postgresql/{params['version']}/bin")
    if params["state"] == "initialised":
        return [
            str(programs / "initdb"),
            f"--pgdata={path}",
            "--data-checksums",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
        ]
    return [
        str(programs / "pg_basebackup"),
        f"--pgdata={path}",
        f"--dbname={params['source']}",
        f"--slot={params['slot']}",
        "--wal-method=stream",
        "--checkpoint=fast",
        # No --write-recovery-conf: its settings would win over those of the role.
        "--no-password",
    ]


def fill(params: dict[str, Any], path: Path) -> None:
    """Fill an empty directory as user postgres: first one beside it, so that half a cluster never has its name.

    Raises:
        ClusterError: the program failed; its words are in the text. It removes what it wrote.
    """
    owner = pwd.getpwnam(USER)
    if not path.parent.exists():
        path.parent.mkdir(mode=0o755)
        os.chown(path.parent, owner.pw_uid, owner.pw_gid)
    fresh = path.with_name(f".{path.name}.unfinished")
    if fresh.exists():
        # Left by a run that was cut off: no server ever ran on it.
        shutil.rmtree(fresh)
    done = subprocess.run(
        argv(params, fresh),
        user=owner.pw_uid,
        group=owner.pw_gid,
        extra_groups=[grp.getgrnam(GROUP).gr_gid],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": owner.pw_dir},
        cwd="/",
        umask=0o077,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"{Path(done.args[0]).name} failed: {done.stderr.strip()[-800:]}")
    if params["state"] == "cloned":
        signal = fresh / "standby.signal"
        signal.touch(mode=0o600)
        os.chown(signal, owner.pw_uid, owner.pw_gid)
    # Replaces an empty directory and nothing else.
    fresh.rename(path)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "int", "required": True},
            "name": {"type": "str", "default": "main"},
            "state": {"type": "str", "choices": ["seen", "initialised", "cloned"], "default": "seen"},
            "source": {"type": "str"},
            "slot": {"type": "str"},
        },
        required_if=[("state", "cloned", ("source", "slot"))],
        supports_check_mode=True,
    )
    params = module.params
    path = Path(f"/var/lib/postgresql/{params['version']}/{params['name']}")
    try:
        found = holds(path, params["version"])
        changed = params["state"] != "seen" and found == "empty"
        if changed and not module.check_mode:
            fill(params, path)
            found = holds(path, params["version"])
        number = system_identifier(path)
    except (ClusterError, OSError, KeyError, struct.error) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=changed, holds=found, path=str(path), system_identifier=number, version=str(params["version"])
    )


if __name__ == "__main__":
    main()
