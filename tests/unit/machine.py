"""A stand-in for systemd: `systemctl` and `journalctl` over one unit, whose program decides how it fares."""

from __future__ import annotations

import time
from pathlib import Path

from .modules import program

# What a unit does when it is started, by the version that `current` points at (file fates/<version>):
#   serves   becomes active
#   fails    systemd gives it up at once
#   crashes  ends at every start; each look finds one more restart
#   refuses  systemctl itself returns an error
#   dies     systemctl is killed before it can say anything
#   hangs    stays "activating"
# A shell, not Python: it is called hundreds of times. Each value is a file.
SYSTEMCTL = """\
#!/bin/sh
cd "HERE" || exit 1
echo "$*" >> calls
read -r active < active; read -r restarts < restarts; read -r fate < fate
verb=$1
add() { read -r number < "$1"; echo $((number + 1)) > "$1"; }
[ "$verb" = reload-or-restart ] && { [ "$active" = active ] && verb=reload || verb=restart; }
[ "$verb" = start ] && [ "$active" = active ] && exit 0
case $verb in
  start|restart)
    version=only; [ -L program/current ] && version=$(readlink program/current)
    fate=serves; [ -e "fates/$version" ] && read -r fate < "fates/$version"
    case $fate in serves) active=active;; fails|refuses|dies) active=failed;; *) active=activating;; esac
    echo "$version" > version; echo "$fate" > fate; echo "$active" > active; echo 0 > restarts
    add starts
    case $fate in
      refuses) echo 'Job failed because the unit has a bad setting.' >&2; exit 1;;
      dies) kill -KILL $$;;
    esac;;
  reload) add reloads;;
  stop) echo inactive > active;;
  show)
    if [ "$fate" = crashes ]; then
      add restarts; read -r restarts < restarts
      [ $((restarts % 2)) = 1 ] && active=active || active=activating
      echo "$active" > active
    fi
    echo "LoadState=loaded"; echo "ActiveState=$active"; echo "NRestarts=$restarts"; echo "MainPID=1";;
  is-active) echo "$active"; [ "$active" = active ];;
esac
"""
JOURNALCTL = "#!/bin/sh\necho 'line from the log: port 9090 is taken'\n"
LOOKS = ("show", "is-active", "is-failed", "status", "cat", "list-units")


class Machine:
    """One unit and the folder of its program."""

    def __init__(self, here: Path) -> None:
        """Make the programs; the unit is inactive and would serve."""
        self.here = here
        self.path = here / "bin"
        self.program = here / "program"
        program(self.path, "systemctl", SYSTEMCTL.replace("HERE", str(here)))
        program(self.path, "journalctl", JOURNALCTL)
        (here / "fates").mkdir()
        self.set(active="inactive", restarts=0, fate="none", version="none", starts=0, reloads=0)

    def set(self, **values: object) -> None:
        """Change the unit."""
        for name, value in values.items():
            (self.here / name).write_text(f"{value}\n")

    def doom(self, **fates: str) -> None:
        """Say what becomes of the unit when it is started: by version, with v and underscores, or `only`."""
        for version, fate in fates.items():
            self.set(**{f"fates/{version.removeprefix('v').replace('_', '.')}": fate})

    def install(self, previous: str, current: str) -> None:
        """Put two versions of the program there, as M(nano.ops.program) does; previous may be ""."""
        for name, version in (("previous", previous), ("current", current)):
            if version:
                (self.program / version).mkdir(parents=True)
                (self.program / name).symlink_to(version)

    def get(self, name: str) -> str:
        """Return a value of the unit; while systemctl writes it, wait for the new one."""
        deadline = time.monotonic() + 5
        while not (text := (self.here / name).read_text()).endswith("\n"):
            assert time.monotonic() < deadline, f"{name} stays empty"
        return text.strip()

    def installed(self) -> str:
        """Return the version that is switched on."""
        return (self.program / "current").readlink().name

    @property
    def orders(self) -> list[str]:
        """Return the calls of systemctl that did more than look."""
        calls = self.here / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [line for line in lines if line.split()[0] not in LOOKS]
