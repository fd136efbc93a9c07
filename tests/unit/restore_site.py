"""A cluster with a history and backups of it, in a mount namespace of its own: real PostgreSQL, real pgBackRest."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .conftest import ROOT
from .modules import MOST_SECONDS, Result, program, read, run_module_below
from .scratch import BIN, VERSION, Scratch

UNIT = f"postgresql@{VERSION}-main.service"
# Nobody else listens on it: neither a server of the machine nor another run of these tests.
ADDRESS = f"127.81.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
# systemd is not in the namespace: this starts and stops the server as the unit would, and tells what became of it.
SYSTEMCTL = """#!{python}
import os, pathlib, signal, subprocess, sys, time
here = pathlib.Path("/var/lib")
def alive():
    try:
        pid = int((here / "server.pid").read_text())
        return pid if pathlib.Path(f"/proc/{{pid}}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z" else 0
    except (OSError, ValueError):
        return 0
verb = sys.argv[1]
if verb == "show" and "LoadState" in sys.argv[-1]:
    print("LoadState=loaded" if sys.argv[2] == "{unit}" else "LoadState=not-found")
elif verb == "show":
    tried = (here / "server.pid").exists()
    state = "active" if alive() else "failed" if tried else "inactive"
    print("ActiveState=" + state, "SubState=x", "NRestarts=0", sep="\\n")
elif verb == "start":
    log = open(here / "server.log", "ab")
    argv = ["{bin}/postgres", "-c", "config_file=/etc/postgresql/{version}/main/postgresql.conf"]
    server = subprocess.Popen(
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *argv],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")
    (here / "server.pid").write_text(str(server.pid))
elif verb == "stop" and alive():
    pid = alive()
    os.kill(pid, signal.SIGINT)
    while alive() == pid:
        time.sleep(0.05)
elif verb == "reset-failed":
    (here / "server.pid").unlink(missing_ok=True) if not alive() else None
"""
JOURNALCTL = "#!/bin/sh\ncat /var/lib/server.log\n"
SERVER = """data_directory = '/var/lib/postgresql/{version}/main'
hba_file = '/etc/postgresql/{version}/main/pg_hba.conf'
ident_file = '/etc/postgresql/{version}/main/pg_ident.conf'
listen_addresses = '{address}'
port = 5432
unix_socket_directories = '/run/postgresql'
timezone = 'Etc/UTC'
log_timezone = 'Etc/UTC'
wal_level = replica
archive_mode = on
archive_command = 'pgbackrest --stanza=nano archive-push "%p"'
"""
REPOSITORIES = """[global]
repo1-path=/var/lib/pgbackrest
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=the-passphrase-of-these-tests
repo1-retention-full=9
repo2-path=/var/lib/pgbackrest2
repo2-retention-full=9
lock-path=/var/lib/pgbackrest-lock
log-level-file=off
log-level-console=off
log-level-stderr=warn
start-fast=y
process-max=1
[nano]
pg1-path=/var/lib/postgresql/{version}/main
pg1-socket-path=/run/postgresql
"""


class Site(Scratch):
    """A folder that is /var/lib, /etc and /run/postgresql for what runs below it."""

    def __init__(self, here: Path) -> None:
        super().__init__(here)
        self.started = False

    @classmethod
    def made(cls, here: Path) -> Site:
        """Make the folders, with a configuration and no cluster."""
        site = cls(here)
        shutil.copytree("/etc", here / "etc", symlinks=True, dirs_exist_ok=True)
        owner = pwd.getpwnam("postgres")
        configuration = here / f"etc/postgresql/{VERSION}/main"
        configuration.mkdir(parents=True, exist_ok=True)
        (configuration / "postgresql.conf").write_text(SERVER.format(version=VERSION, address=ADDRESS))
        (configuration / "pg_hba.conf").write_text(
            "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 trust\n"
        )
        (configuration / "pg_ident.conf").write_text("")
        (here / "etc/pgbackrest").mkdir(exist_ok=True)
        (here / "etc/pgbackrest/pgbackrest.conf").write_text(REPOSITORIES.format(version=VERSION))
        subprocess.run(["chmod", "-R", "a+rX", here / "etc/postgresql", here / "etc/pgbackrest"], check=True)
        for name in ("run", "lib/pgbackrest", "lib/pgbackrest2", "lib/pgbackrest-lock", f"lib/postgresql/{VERSION}"):
            (here / name).mkdir(parents=True)
            os.chown(here / name, owner.pw_uid, owner.pw_gid)
        fields = {"python": sys.executable, "unit": UNIT, "bin": BIN, "version": VERSION}
        program(here / "bin", "systemctl", SYSTEMCTL.format(**fields))
        program(here / "bin", "journalctl", JOURNALCTL)
        return site

    def copy(self, here: Path) -> Site:
        """Return a copy of a site whose server is stopped."""
        subprocess.run(["cp", "--archive", f"{self.here}/.", str(here)], check=True)
        copied = Site.__new__(Site)
        copied.here, copied.started = here, False
        return copied

    def below(self, extra: str = "true") -> list[str]:
        """Return the command that runs another one in the namespace."""
        binds = 'mount --bind "$0/etc" /etc && mount --bind "$0/run" /run/postgresql && mount --bind "$0/lib" /var/lib'
        mounts = f'mkdir -p /run/postgresql && {binds} && {extra} && PATH="$0/bin:$PATH" && export PATH && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mounts, str(self.here)]

    def run(self, *argv: str, ok: bool = True) -> str:
        """Run a program there as postgres."""
        done = subprocess.run(
            self.as_postgres(*argv), capture_output=True, text=True, check=False, cwd="/", timeout=MOST_SECONDS
        )
        assert not ok or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def systemctl(self, verb: str) -> None:
        """Start or stop the server."""
        self.started = verb == "start"
        subprocess.run([*self.below(), "systemctl", verb, UNIT], check=True, timeout=MOST_SECONDS)
        deadline = time.monotonic() + 30
        while verb == "start" and self.run("psql", "-XAtqc", "SELECT NOT pg_is_in_recovery()", ok=False) != "t":
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.1)

    def crash(self) -> None:
        """Kill the server and all its processes at once."""
        pid = int((self.here / "lib/server.pid").read_text())
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            os.kill(each, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)

    def log(self) -> str:
        return (self.here / "lib/server.log").read_text()

    def sql(self, text: str, database: str = "nano") -> str:
        return self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", text)

    def module(self, state: str, *, check: bool = False, extra: str = "true", **options: Any) -> Result:
        """Run the module once."""
        args = {"version": VERSION, "state": state, "seconds": 40, "amcheck_seconds": 60, **options}
        return run_module_below(self.below(extra), "postgresql_restore", args, check=check)

    def killed(self, state: str, number: int, **options: Any) -> bool:
        """Run the module and kill it at its n-th rename; return whether it came that far."""
        args = {"version": VERSION, "state": state, "seconds": 40, **options, "_ansible_check_mode": False}
        done = subprocess.run(
            [*self.below(), sys.executable, "-m", "tests.unit.restore_killed", str(number)],
            input=json.dumps(args),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=MOST_SECONDS,
        )
        if done.returncode == -signal.SIGKILL:
            return True
        assert not read(done.stdout, done.stderr).failed, done.stdout
        return False

    def restore(self, **options: Any) -> Result:
        """Restore and recover to the end."""
        restored = self.module("restored", **options)
        assert not restored.failed, restored.message
        recovered = self.module("recovered", **options)
        if not recovered.failed:
            self.started = True
            assert recovered["is_done"], "recovery takes more than 40 s"
        return recovered

    def names(self) -> list[str]:
        """Return the data directories, without the files of the restore itself."""
        return [name for name in super().names() if not name.startswith(".")]

    def kept(self) -> list[str]:
        return [name for name in self.names() if name.startswith("main.before-restore-")]

    def cipher(self, passphrase: str) -> None:
        """Change the passphrase of repository 1 in the configuration."""
        path = self.here / "etc/pgbackrest/pgbackrest.conf"
        path.write_text(path.read_text().replace("the-passphrase-of-these-tests", passphrase))

    def segments(self, repository: str = "pgbackrest") -> list[Path]:
        """Return the files of archived segments, the oldest first."""
        return sorted((self.here / f"lib/{repository}/archive/nano").glob("*-1/*/*-*"))
