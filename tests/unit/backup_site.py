"""What `nano-backup` works with, for real: PostgreSQL that archives with pgBackRest into two repositories, and an S3.

Servers run as nobody where the tests run as root, and so does the program: PostgreSQL refuses to be root.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import functools
import hashlib
import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils import sigv4

from workload.nano_api.tests import programs

from .conftest import ROOT

SOURCE = ROOT / "roles/backup/files"
NEEDED = ("initdb", "pgbackrest", "rclone")
POSTGRESQL = ("initdb", "postgres", "pg_ctl", "pg_dump", "pg_dumpall", "pg_restore", "psql")
POSTGRESQL += ("pg_amcheck", "pg_controldata", "pg_isready", "pg_basebackup")
PASSWORD, PASSPHRASE = "a-password-of-the-tests", "a passphrase of the tests"
ACCESS_KEY, S3_SECRET = "tests-access-key", "tests-secret-key"
BUCKET = "nano-backups"
DATABASE = "nano"
LOCKED = (
    b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    b"<Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)
TABLES = """
CREATE SCHEMA nano_ops;
CREATE TABLE nano_ops.heartbeat (id integer PRIMARY KEY, written_at timestamptz NOT NULL, host text NOT NULL);
CREATE TABLE nano_ops.heartbeat_wal (segment text PRIMARY KEY, written_at timestamptz NOT NULL);
CREATE TABLE people (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
CREATE INDEX ON people (name);
CREATE TABLE "Odd name" (note text);
CREATE TABLE orders (id integer PRIMARY KEY, person integer REFERENCES people, state text) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (1000);
CREATE UNLOGGED TABLE scratch (note text);
INSERT INTO people (name) SELECT md5(n::text) FROM generate_series(1, 2000) n;
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 500) n;
INSERT INTO "Odd name" VALUES ('one'), ('two');
INSERT INTO scratch VALUES ('gone with a crash');
"""
BEAT = """
INSERT INTO nano_ops.heartbeat VALUES (1, clock_timestamp(), 'here')
ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at;
INSERT INTO nano_ops.heartbeat_wal VALUES (pg_walfile_name(pg_current_wal_insert_lsn()), clock_timestamp())
ON CONFLICT (segment) DO UPDATE SET written_at = excluded.written_at;
"""


def unprivileged() -> list[str]:
    """Return the words that run a program as somebody whom PostgreSQL accepts."""
    if os.geteuid():
        return []
    owner = pwd.getpwnam("nobody")
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]


@functools.cache
def python() -> list[str]:
    """Return the words that run a Python with psycopg2; none where there is none."""
    folder = programs._unpacked() or Path("/nowhere")
    libraries = ":".join(str(path) for path in folder.glob("usr/lib/*-linux-*"))
    for program in (sys.executable, "/usr/bin/python3"):
        words = ["env", f"PYTHONPATH={folder}/usr/lib/python3/dist-packages", f"LD_LIBRARY_PATH={libraries}", program]
        argv = [*unprivileged(), *words, "-c", "import psycopg2"]
        if subprocess.run(argv, capture_output=True, check=False, cwd="/").returncode == 0:
            return words
    return []


def give(path: Path) -> Path:
    """Make a folder, open for the one who runs the programs."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    if not os.geteuid():
        owner = pwd.getpwnam("nobody")
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path


def lacks() -> str:
    """Return what is missing for these tests, if anything."""
    missing = [name for name in NEEDED if not programs.find(name)] + ([] if python() else ["psycopg2"])
    return f"{' and '.join(missing)} not there (make test fetches them)" if missing else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


class Cluster:
    """PostgreSQL with a database of some tables, archived into two repositories."""

    def __init__(self, here: Path) -> None:
        self.here = give(here)
        self.data, self.bin = here / "data", give(here / "bin")
        # Nobody may read the tree where it lies in somebody's home.
        self.program = shutil.copytree(SOURCE, here / "program", ignore=shutil.ignore_patterns("__pycache__"))
        self.repositories = [give(here / f"repository{number}") for number in (1, 2)]
        for name in (*POSTGRESQL, "rclone"):
            self.wrap(name)
        settings = here / "pgbackrest.conf"
        settings.write_text(self.pgbackrest_conf())
        settings.chmod(0o644)
        self.wrap("pgbackrest", f"--config={settings}")
        self.run("initdb", "-D", self.data, "-U", "postgres", "-N", "-k", "--auth=trust", "--locale=C.UTF-8")
        self.start()
        self.run("pgbackrest", "--stanza=nano", "stanza-create")
        self.sql(f"CREATE DATABASE {DATABASE}", "postgres")
        self.sql(f"CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; {TABLES}; {BEAT}")

    def wrap(self, name: str, *more: str) -> None:
        """Write a program that runs another one, wherever that is, and with the same words."""
        found = programs.find(name)
        path = self.bin / name
        words = " ".join([*(f"'{word}'" for word in found), *more])
        path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        path.chmod(0o755)

    def pgbackrest_conf(self) -> str:
        lines = ["[global]", "start-fast=y", "log-level-file=off", f"lock-path={self.here}/lock", "archive-timeout=20"]
        # So that a repository that fails does not keep WAL from the other one.
        lines += ["archive-async=y", f"spool-path={give(self.here / 'spool')}"]
        for number, folder in enumerate(self.repositories, 1):
            lines += [f"repo{number}-path={folder}", f"repo{number}-retention-full=5"]
            lines += [f"repo{number}-cipher-type=aes-256-cbc", f"repo{number}-cipher-pass={PASSPHRASE}"]
        return "\n".join(
            [*lines, "[nano]", f"pg1-path={self.data}", f"pg1-socket-path={self.here}", "pg1-user=postgres", ""]
        )

    def run(self, name: str, *words: str | Path) -> str:
        argv = [*unprivileged(), str(self.bin / name), *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", timeout=120)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        options = {
            "listen_addresses": "''",
            "unix_socket_directories": f"'{self.here}'",
            "archive_mode": "on",
            "archive_command": f"'{self.bin}/pgbackrest --stanza=nano archive-push %p'",
            "shared_buffers": "32MB",
        }
        text = "".join(f"{name} = {value}\n" for name, value in options.items())
        settings = self.here / "settings.conf"
        settings.write_text(text)
        settings.chmod(0o644)
        log = self.here / "postgresql.log"
        included = f"-c config_file={settings} -c hba_file={self.data}/pg_hba.conf -c data_directory={self.data}"
        included += f" -c ident_file={self.data}/pg_ident.conf"
        self.run("pg_ctl", "-D", self.data, "-l", log, "-w", "-o", included, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def sql(self, text: str, database: str = DATABASE) -> str:
        words = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.here), "-U", "postgres", "-d", database]
        return self.run("psql", *words, "-c", text).strip()


class Site:
    """One backup host: its folders, its configuration, and the program."""

    def __init__(self, cluster: Cluster, here: Path, s3: dict[str, str] | None = None) -> None:
        self.cluster, self.here = cluster, give(here)
        self.directory, self.state = give(here / "backups"), give(here / "state")
        self.verify, self.secrets = give(here / "verify"), give(here / "secrets")
        self.config: dict[str, Any] = {
            "directory": str(self.directory),
            "state_directory": str(self.state),
            "metrics_directory": str(self.state),
            "keeps_backups": True,
            "stanza": "nano",
            "repositories": [1, 2],
            "repository_path": str(cluster.repositories[0]),
            "full_interval_days": 7,
            "retention_days": 30,
            "s3_retention_days": 30,
            "servers": {"db1": str(cluster.here)},
            "connection": {"port": "5432"},
            "user": "postgres",
            "databases": [DATABASE],
            "application_database": DATABASE,
            "rpo_objective_seconds": 60,
            "postgresql_programs": str(cluster.bin),
            "pgbackrest": str(cluster.bin / "pgbackrest"),
            "rclone": str(cluster.bin / "rclone"),
            "s3": s3,
            "verify": {
                "directory": str(self.verify),
                "timeout_seconds": 120,
                "row_tolerance_percent": 10,
                "ignored_tables": [],
                "jobs": 1,
            },
        }
        self.secret("database_password", PASSWORD)
        self.secret("passphrase", PASSPHRASE)
        self.secret("s3_secret", S3_SECRET)

    def secret(self, name: str, value: str) -> None:
        path = self.secrets / name
        path.write_text(value + "\n")
        path.chmod(0o644)

    def argv(self, *words: str) -> list[str]:
        path = self.here / "backup.json"
        path.write_text(json.dumps(self.config))
        path.chmod(0o644)
        return [*unprivileged(), *python(), str(self.cluster.program / "nano_backup"), "--config", str(path), *words]

    def environment(self) -> dict[str, str]:
        # Without the tests' own libraries: the program's are named in its command line.
        return {"PATH": os.environ["PATH"], "HOME": str(self.here), "CREDENTIALS_DIRECTORY": str(self.secrets)}

    def run(self, *words: str, code: int = 0, journal: bool = False) -> str:
        """Run the program, demand how it ends, return all that it said."""
        env = self.environment() | ({"JOURNAL_STREAM": "1:2"} if journal else {})
        done = subprocess.run(
            self.argv(*words), env=env, capture_output=True, text=True, check=False, cwd="/", timeout=300
        )
        said = done.stdout + done.stderr
        assert done.returncode == code, said
        assert "Traceback" not in said, said
        for secret in (PASSWORD, PASSPHRASE, S3_SECRET):
            assert secret not in said
        return said

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words),
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )

    def kill_when(self, condition: Callable[[], object], what: str, *words: str) -> None:
        """Run the program and kill it without a warning as soon as something is seen."""
        process = self.start(*words)
        try:
            wait_for(lambda: condition() or process.poll() is not None, what, 60)
            assert process.poll() is None, f"it ended before {what}: {process.communicate()[0]}"
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()

    def dumps(self, database: str = DATABASE) -> list[Path]:
        return sorted(path for path in (self.directory / database).glob("2*") if path.is_dir())

    def manifest(self, folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
        return found

    def age(self, folder: Path, days: float) -> Path:
        """Make a dump older, as its name tells."""
        older = folder.with_name(time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - days * 86400)))
        folder.rename(older)
        return older

    def metrics(self, name: str = "nano_backup.prom") -> dict[str, float]:
        """Return series to value, labels as they are written."""
        lines = (self.state / name).read_text().splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {series.removeprefix("nano_backup_"): float(value) for series, value in pairs}


class Store:
    """MinIO, with a bucket whose objects are locked for a day, as those of a production one are."""

    def __init__(self, here: Path) -> None:
        self.here, self.port = give(here), free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, str]:
        return {
            "endpoint": f"http://{self.address}",
            "region": "us-east-1",
            "bucket": BUCKET,
            "access_key": ACCESS_KEY,
            "ca_file": "",
            "uri_style": "path",
        }

    def start(self) -> None:
        env = {**os.environ, "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": S3_SECRET, "MINIO_BROWSER": "off"}
        argv = [programs.minio() or "minio", "server", "--quiet", "--address", self.address, str(self.here / "objects")]
        with (self.here / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=env, stdout=log, stderr=log, cwd="/")
        wait_for(lambda: self.ask("GET", "/minio/health/ready") == 200, "the object store is ready")

    def stop(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def ask(self, method: str, path: str, query: str = "", body: bytes = b"", **extra: str) -> int:
        """Send a request as the administrator and return the status, 0 when nobody answers."""
        request = sigv4.Request(method, self.address, path, {query: ""} if query else {}, body)
        keys = sigv4.Keys(ACCESS_KEY, S3_SECRET)
        signed = sigv4.headers(request, keys, "us-east-1", datetime.datetime.now(datetime.UTC))
        connection = http.client.HTTPConnection(self.address, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            more = {name.replace("_", "-"): value for name, value in extra.items()}
            connection.request(method, path + (f"?{query}=" if query else ""), body or None, {**more, **signed})
            return connection.getresponse().status
        return 0

    def make_bucket(self) -> None:
        # It answers that it is ready before it makes buckets.
        lock = {"x_amz_bucket_object_lock_enabled": "true"}
        wait_for(lambda: self.ask("PUT", f"/{BUCKET}", **lock) == 200, "the bucket is made")
        md5 = base64.b64encode(hashlib.md5(LOCKED).digest()).decode()
        assert self.ask("PUT", f"/{BUCKET}", "object-lock", LOCKED, content_md5=md5) == 200
