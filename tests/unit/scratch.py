"""A mount namespace where /var/lib is a scratch folder, for programs and modules that know one place only."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from .modules import Result, run_module_below

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
VERSION = int(PROGRAMS[-1].parents[1].name) if PROGRAMS else 0
BIN = f"/usr/lib/postgresql/{VERSION}/bin"


class Scratch:
    """A folder that is /var/lib for what runs below it, beside a group file of its own."""

    def __init__(self, here: Path) -> None:
        self.here = here
        owner = pwd.getpwnam("postgres")
        (here / "lib/postgresql").mkdir(parents=True)
        os.chown(here / "lib/postgresql", owner.pw_uid, owner.pw_gid)
        groups = [line for line in Path("/etc/group").read_text().splitlines() if not line.startswith("nano-tls:")]
        (here / "group").write_text("\n".join([*groups, "nano-tls:x:64999:", ""]))

    @property
    def data(self) -> Path:
        return self.here / f"lib/postgresql/{VERSION}/main"

    def below(self, extra: str = "true") -> list[str]:
        """Return the command that runs another one in the namespace, which ends with it."""
        mounts = f'mount --bind "$0/lib" /var/lib && mount --bind "$0/group" /etc/group && {extra} && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mounts, str(self.here)]

    def as_postgres(self, *argv: str) -> list[str]:
        """Return the command that runs a program there as user postgres."""
        return [*self.below(), "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *argv]

    def cluster(self, state: str = "seen", *, check: bool = False, extra: str = "true", **options: str) -> Result:
        """Run the module."""
        return run_module_below(
            self.below(extra), "postgresql_cluster", {"version": VERSION, "state": state, **options}, check=check
        )

    def write(self, name: str, text: str) -> None:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def content(self) -> dict[str, bytes]:
        """Return every file below /var/lib/postgresql."""
        top = self.here / "lib/postgresql"
        return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}

    def names(self) -> list[str]:
        """Return what lies where the data directory does; nothing when even that folder is missing."""
        return sorted(path.name for path in self.data.parent.glob("*")) if self.data.parent.exists() else []

    def unfinished(self) -> list[str]:
        return [name for name in self.names() if name != "main"]
