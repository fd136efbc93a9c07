"""Two database hosts, a primary and its standby, each in a mount namespace of its own, with a real repository."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from .conftest import ROOT
from .modules import MOST_SECONDS, Result, program, read
from .restore_site import SERVER, SYSTEMCTL, UNIT, Site
from .scratch import BIN, VERSION

# As tests.unit.modules, without pytest and what it brings: these tests run many modules.
LAUNCH = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
with patch_module_args(json.load(sys.stdin)):
    importlib.import_module(f"ansible_collections.nano.ops.plugins.modules.{sys.argv[1]}").main()
"""
# Nobody else listens on them: neither a server of the machine nor another run of these tests.
NET = f"{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
ADDRESSES = {"db1": f"127.91.{NET}", "db2": f"127.92.{NET}"}
# What the role gives, in the words of its task: there a colon stands between the types of a function's arguments.
TASK = yaml.safe_load((ROOT / "roles/postgresql/tasks/rewind.yml").read_text())[0][
    "community.postgresql.postgresql_privs"
]
GRANTS = "; ".join(
    f"GRANT {TASK['privs']} ON FUNCTION {TASK['schema']}.{name.replace(':', ', ')} TO replicator"
    for name in TASK["objs"].split(",")
)
STANDBY = """hot_standby = on
fsync = off
wal_log_hints = on
shared_buffers = 16MB
wal_retrieve_retry_interval = 200ms
primary_conninfo = 'host={peer} user=replicator application_name={name} target_session_attrs=read-write'
primary_slot_name = '{name}'
restore_command = 'pgbackrest --stanza=nano archive-get "%f" "%p"'
"""
REPOSITORY = """[global]
repo1-path=/var/lib/pgbackrest
repo1-retention-full=9
lock-path=/var/lib/pgbackrest-lock
log-level-file=off
log-level-console=off
log-level-stderr=warn
start-fast=y
[nano]
pg1-path=/var/lib/postgresql/{version}/main
pg1-socket-path=/run/postgresql
"""
# As systemd: it knows other units, starts nothing twice, and remembers what starts with the host.
UNITS = """#!{python}
import os, pathlib, sys
here = pathlib.Path("/var/lib")
verb, words = sys.argv[1], [word for word in sys.argv[2:] if not word.startswith("-")]
def alive():
    try:
        pid = int((here / "server.pid").read_text())
        return pathlib.Path(f"/proc/{{pid}}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, ValueError):
        return False
if verb in ("enable", "disable") and "{unit}" in words:
    (here / "enabled").write_text(verb)
elif "{unit}" in words and not (verb == "start" and alive()):
    os.execv(os.path.join(os.path.dirname(sys.argv[0]), "systemctl-server"), sys.argv)
"""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.2)


class Member(Site):
    """A database host."""

    name: str
    repository: Path

    @classmethod
    def named(cls, here: Path, name: str, repository: Path) -> Member:
        """Make a host without data."""
        made = cls.made(here)
        assert isinstance(made, Member)
        made.name, made.repository = name, repository
        peer = next(each for each in ADDRESSES if each != name)
        text = SERVER.format(version=VERSION, address=ADDRESSES[name])
        configuration = here / f"etc/postgresql/{VERSION}/main"
        (configuration / "postgresql.conf").write_text(text + STANDBY.format(peer=ADDRESSES[peer], name=name))
        (configuration / "pg_hba.conf").write_text(
            "local all all trust\nhost replication replicator 127.0.0.0/8 trust\n"
            "host postgres replicator 127.0.0.0/8 trust\n"
        )
        (here / "etc/pgbackrest/pgbackrest.conf").write_text(REPOSITORY.format(version=VERSION))
        fields = {"python": sys.executable, "unit": UNIT, "bin": BIN, "version": VERSION}
        program(here / "bin", "systemctl-server", SYSTEMCTL.format(**fields))
        program(here / "bin", "systemctl", UNITS.format(**fields))
        return made

    def copied(self, here: Path, repository: Path) -> Member:
        """Return a copy of a host whose server is stopped."""
        subprocess.run(["cp", "--archive", f"{self.here}/.", str(here)], check=True)
        copy = Member.__new__(Member)
        copy.here, copy.started, copy.name, copy.repository = here, False, self.name, repository
        return copy

    def below(self, extra: str = "true") -> list[str]:
        return super().below(f'mount --bind "{self.repository}" /var/lib/pgbackrest && {extra}')

    def start(self) -> None:
        """Start the server and wait until it answers."""
        subprocess.run([*self.below(), "systemctl", "start", UNIT], check=True, timeout=MOST_SECONDS)
        wait_for(lambda: self.run("psql", "-XAtqc", "SELECT 1", ok=False) == "1", f"{self.name} answers: {self.log()}")

    def stop(self) -> None:
        subprocess.run([*self.below(), "systemctl", "stop", UNIT], check=True, timeout=MOST_SECONDS)

    def command(self, module: str, extra: str = "true") -> dict[str, Any]:
        """Return how subprocess runs a module of the collection on this host."""
        env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'collections'}"}
        return {
            "args": [*self.below(extra), sys.executable, "-c", LAUNCH, f"postgresql_{module}"],
            "cwd": ROOT,
            "env": env,
        }

    def does(self, module: str, state: str, *, check: bool = False, **options: Any) -> Result:
        """Run postgresql_switchover, postgresql_rejoin or postgresql_failover."""
        given = json.dumps({"state": state, **options, "_ansible_check_mode": check})
        done = subprocess.run(
            **self.command(module), input=given, capture_output=True, text=True, check=False, timeout=MOST_SECONDS
        )
        return read(done.stdout, done.stderr)

    def done(self, module: str, state: str, **options: Any) -> Result:
        """Do the same, and demand that it worked."""
        result = self.does(module, state, **options)
        assert not result.failed, f"{self.name} {state}: {result.message}"
        return result

    def is_standby(self) -> bool:
        return self.sql("SELECT pg_is_in_recovery()", "postgres") == "t"

    def words(self) -> list[str]:
        """Return what customers have written, as this host has it."""
        return self.sql("SELECT word FROM words ORDER BY id").splitlines()

    def write(self, word: str) -> None:  # type: ignore[override]
        self.sql(f"INSERT INTO words (word) VALUES ('{word}')")

    def is_enabled(self) -> bool:
        path = self.here / "lib/enabled"
        return not path.exists() or path.read_text() == "enable"

    def kept(self) -> list[Path]:
        return sorted(self.data.parent.glob("main.diverged-*"))

    def cut_off_rewind(self, **options: Any) -> None:
        """Rejoin and end it without a warning in the middle of pg_rewind, which has removed the WAL that it reads."""
        wal = f"/var/lib/postgresql/{VERSION}/main/pg_wal"
        stand_in = program(
            self.here / "bin", "pg_rewind-cut", f"#!/bin/sh\nrm {wal}/0*\ntouch /run/postgresql/cut\nsleep 60\n"
        )
        process = subprocess.Popen(
            **self.command("rejoin", f'mount --bind "{stand_in}" {BIN}/pg_rewind'),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin
        process.stdin.write(json.dumps({"state": "rejoined", **options, "_ansible_check_mode": False}).encode())
        process.stdin.close()
        wait_for(lambda: (self.here / "run/cut").exists() or process.poll() is not None, "pg_rewind runs")
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def made(here: Path) -> dict[str, Member]:
    """Return a primary db1 that was backed up, and its standby db2; both are stopped."""
    repository = here / "repository"
    repository.mkdir(parents=True)
    os.chown(repository, pwd.getpwnam("postgres").pw_uid, pwd.getpwnam("postgres").pw_gid)
    pair = {name: Member.named(here / name, name, repository) for name in ADDRESSES}
    one, two = pair["db1"], pair["db2"]
    data = f"/var/lib/postgresql/{VERSION}/main"
    one.run(f"{BIN}/initdb", "-D", data, "-E", "UTF8", "--locale=C.UTF-8", "-k")
    one.start()
    one.sql(f"CREATE ROLE replicator LOGIN REPLICATION; {GRANTS}", "postgres")
    one.sql("SELECT pg_create_physical_replication_slot('db2', true)", "postgres")
    one.sql("CREATE DATABASE nano", "postgres")
    one.sql("CREATE SCHEMA nano_ops; CREATE TABLE nano_ops.heartbeat (id int, written_at timestamptz, host text)")
    one.sql("INSERT INTO nano_ops.heartbeat VALUES (1, now(), 'db1')")
    one.sql("CREATE TABLE words (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, word text)")
    one.run("pgbackrest", "--stanza=nano", "stanza-create")
    one.run("pgbackrest", "--stanza=nano", "--type=full", "backup")
    two.run(f"{BIN}/pg_basebackup", "-D", data, "-h", ADDRESSES["db1"], "-U", "replicator", "-c", "fast", "-S", "db2")
    two.run("touch", f"{data}/standby.signal")
    two.start()
    one.write("first")
    wait_for(lambda: two.words() == ["first"], "db2 follows")
    one.stop()
    two.stop()
    return pair
