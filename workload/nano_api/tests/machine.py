"""PostgreSQL, Redis, an object store and the service itself, as processes on free ports of loopback."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import botocore.session
import httpx

from . import programs

PASSWORD = "a-password-of-the-tests"
ACCESS_KEY, SECRET_KEY = "tests-access-key", "tests-secret-key"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], object], what: str, seconds: float = 30, log: Callable[[], str] = str) -> None:
    """Wait; `log` returns what explains why it took too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{log()}"
        time.sleep(0.05)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A program with its output in a file, that can be ended and started again."""

    # All that were started, so that none outlives the tests whatever goes wrong in between.
    started: ClassVar[list[Process]] = []

    def __init__(self, here: Path, name: str, argv: list[str], env: Mapping[str, str] | None = None) -> None:
        self.argv, self.env = argv, dict(env) if env is not None else None
        self.log = here / f"{name}.log"
        self.running: subprocess.Popen[bytes] | None = None

    def start(self, **options: object) -> None:
        self.started.append(self)
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(
                self.argv,
                stdout=output,
                stderr=output,
                env=self.env,
                cwd="/",
                **options,  # type: ignore[call-overload]
            )

    def alive(self) -> bool:
        return self.running is not None and self.running.poll() is None

    def stop(self, sig: int = signal.SIGTERM, seconds: float = 30) -> int:
        assert self.running is not None
        if self.alive():
            self.running.send_signal(sig)
        return self.running.wait(seconds)

    def text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Postgres:
    """A cluster; run as nobody where the tests run as root, because the server refuses to be root."""

    def __init__(self, here: Path, *settings: str) -> None:
        self.here, self.port = here, free_port()
        self.prefix: list[str] = []
        if os.geteuid() == 0:
            owner = pwd.getpwnam("nobody")
            os.chown(here, owner.pw_uid, owner.pw_gid)
            self.prefix = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        secret = here / "password"
        secret.write_text(PASSWORD)
        initdb = [*programs.find("initdb"), "-D", str(here / "data"), "-U", "nano", "--auth=scram-sha-256", "-N"]
        initdb += ["--encoding=UTF8", "--locale=C.UTF-8", f"--pwfile={secret}"]
        made = subprocess.run([*self.prefix, *initdb], check=False, capture_output=True, text=True, cwd="/")
        assert made.returncode == 0, f"initdb: {made.stdout}{made.stderr}"
        options = ["listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={here}", "fsync=off"]
        argv = [*self.prefix, *programs.find("postgres"), "-D", str(here / "data")]
        argv += [word for option in (*options, *settings) for word in ("-c", option)]
        self.server = Process(here, "postgres", argv)

    def start(self) -> None:
        self.server.start()
        ready = [*programs.find("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0, "PostgreSQL answers", log=self.server.text)

    def stop(self, sig: int = signal.SIGINT) -> None:
        self.server.stop(sig)

    def psql(self, database: str) -> list[str]:
        options = ["-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", "nano"]
        return [*programs.find("psql"), *options, "-d", database]

    @contextlib.contextmanager
    def holding(self, statement: str, database: str) -> Iterator[None]:
        """Keep a session open that has run a statement, for the length of a block."""
        env = {**os.environ, "PGPASSWORD": PASSWORD}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(self.psql(database), env=env, **pipes) as session:  # type: ignore[call-overload]
            session.stdin.write(f"{statement};\n\\echo done\n")
            session.stdin.flush()
            while session.stdout.readline() != "done\n":
                assert session.poll() is None, "psql ended"
            yield
            session.stdin.close()

    def sql(self, statement: str, database: str = "postgres") -> str:
        done = subprocess.run(
            [*self.psql(database), "-c", statement],
            check=False, capture_output=True, text=True, env={**os.environ, "PGPASSWORD": PASSWORD},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Redis:
    """A server without persistence."""

    def __init__(self, here: Path) -> None:
        self.port = free_port()
        argv = [
            *programs.find("redis-server"),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(here),
        ]
        self.server = Process(here, "redis", argv)

    def start(self) -> None:
        self.server.start()
        wait_for(lambda: answers(self.port), "Redis answers", log=self.server.text)

    def stop(self) -> None:
        self.server.stop()


class Store:
    """MinIO where it is installed, else moto: a stand-in for the protocol, not for its durability."""

    def __init__(self, here: Path) -> None:
        self.port = free_port()
        self.bucket = "nano-files"
        address = f"127.0.0.1:{self.port}"
        self.endpoint = f"http://{address}"
        env = {**os.environ, "MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY, "MINIO_BROWSER": "off"}
        if minio := programs.minio():
            argv = [minio, "server", "--quiet", "--address", address, str(here / "minio")]
        else:
            argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self.server = Process(here, "store", argv, env)

    def start(self) -> None:
        self.server.start()
        wait_for(lambda: answers(self.port), "the object store answers", 60, self.server.text)
        client = botocore.session.Session().create_client(
            "s3", "us-east-1", endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
        )  # fmt: skip
        client.create_bucket(Bucket=self.bucket)

    def stop(self) -> None:
        self.server.stop()


def environment(postgres: Postgres, redis: Redis, store: Store, database: str) -> dict[str, str]:
    """Return the service's settings, without those of the caller's own environment."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OTEL_SDK_DISABLED": "true",
        "NANO_DATABASE_HOSTS": f"127.0.0.1:{postgres.port}",
        "NANO_DATABASE_NAME": database,
        "NANO_DATABASE_PASSWORD": PASSWORD,
        "NANO_REDIS_PORT": str(redis.port),
        "NANO_S3_ENDPOINT": store.endpoint,
        "NANO_S3_BUCKET": store.bucket,
        "NANO_S3_ACCESS_KEY": ACCESS_KEY,
        "NANO_S3_SECRET_KEY": SECRET_KEY,
        "NANO_UPLOAD_MAX_BYTES": str(2**20),
        "NANO_GAUGES_INTERVAL_SECONDS": "0.5",
        "NANO_DRAIN_SECONDS": "1",
    }


def command(env: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the service."""
    argv = [sys.executable, "-m", "nano_api", *words]
    return subprocess.run(argv, env=dict(env), capture_output=True, text=True, timeout=120, cwd="/", check=False)


class Service(Process):
    """The service, as it runs in production."""

    def __init__(self, here: Path, env: Mapping[str, str], name: str = "service") -> None:
        self.port = free_port()
        env = {**env, "NANO_LISTEN_PORT": str(self.port)}
        super().__init__(here, name, [sys.executable, "-m", "nano_api", "serve"], env)
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, **options: object) -> None:
        super().start(**options)
        wait_for(lambda: not self.alive() or answers(self.port), "the service listens")
        assert self.alive(), self.text()

    def ready(self) -> int:
        return httpx.get(f"{self.url}/health/ready", timeout=10).status_code
