"""Two MinIO stores on loopback, as role minio runs them, and what one may ask them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.nano.ops.plugins.module_utils import s3
from ansible_collections.nano.ops.plugins.module_utils.sigv4 import Keys, Request

from .collector import free_port
from .conftest import ROOT
from .modules import Result, run_module

CATALOGUE = yaml.safe_load((ROOT / "catalogue.yml").read_text())["programs"]["minio"]
ROOT_USER, ROOT_PASSWORD = "nano-admin", "the-password-of-the-administrator"
REPLICATION, REPLICATION_SECRET = "nano-replication", "the-secret-of-the-replication"


def binary(folder: Path) -> Path:
    """Return the program of the lab's mirror, unpacked, or the one of NANO_TEST_MINIO; skips without."""
    if named := os.environ.get("NANO_TEST_MINIO") or shutil.which("minio"):
        return Path(named)
    cache = Path(os.environ.get("NANO_CACHE", "~/.cache/nano.ops")).expanduser()
    archives = sorted(cache.glob(f"mirror/minio/{CATALOGUE['version']}/minio-*.tar.gz"))
    if not archives:
        pytest.skip("MinIO is not in the mirror: python -m lab mirror --program minio makes it")
    with tarfile.open(archives[-1]) as unpacked:
        unpacked.extractall(folder, filter="data")
    return next(folder.glob("*/minio"))


def wait(check: Callable[[], Any], seconds: float, message: str) -> Any:
    """Wait until a check returns something true and return it."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found or time.monotonic() > deadline:
            assert found, f"{message}, after {seconds:.0f} s"
            return found
        time.sleep(0.1)


@dataclass
class Client:
    """Somebody who asks a store; every answer is taken, refusals too."""

    store: s3.Store

    def ask(
        self, method: str, path: str, query: dict[str, str] | None = None, body: bytes = b"", **extra: str
    ) -> s3.Answer:
        """Send a request; names of headers are written with underscores."""
        headers = {name.replace("_", "-"): value for name, value in extra.items()}
        return self.store.once(Request(method, self.store.netloc, path, query or {}, body), headers)

    def versions(self, bucket: str, key: str) -> list[tuple[str, str]]:
        """Return kind and version of all that a store has of a key, the newest first."""
        body = self.ask("GET", f"/{bucket}", {"versions": "", "prefix": key}).body.decode()
        return re.findall("<(Version|DeleteMarker)>.*?<VersionId>([^<]+)<", body, re.DOTALL)


@dataclass
class Minio:
    """A store in a folder."""

    name: str
    program: Path
    folder: Path
    tls: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return its address."""
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        certs = self.folder / "certs/CAs"
        certs.mkdir(parents=True, exist_ok=True)
        for name, source in {"public.crt": "host.crt", "private.key": "host.key", "CAs/ca.crt": "ca.crt"}.items():
            shutil.copy(self.tls / source, self.folder / "certs" / name)
        for name, text in {"user": ROOT_USER, "password": ROOT_PASSWORD}.items():
            (self.folder / name).write_text(text)
        environment = {
            "PATH": os.environ["PATH"],
            "MINIO_ROOT_USER_FILE": str(self.folder / "user"),
            "MINIO_ROOT_PASSWORD_FILE": str(self.folder / "password"),
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
        }
        argv = [str(self.program), "server", "--quiet", "--anonymous", "--certs-dir", str(self.folder / "certs")]
        argv += ["--address", f"127.0.0.1:{self.port}", str(self.folder / "data")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
        self.client().store.ask("GET", "/")

    def stop(self) -> None:
        """Stop it as systemd does."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=30)
            self.process = None

    def wipe(self) -> None:
        """Take away all that it has, as a lost disk does."""
        shutil.rmtree(self.folder / "data")

    def client(self, access: str = ROOT_USER, secret: str = ROOT_PASSWORD) -> Client:
        """Return a client of it; the administrator unless another name is given."""
        return Client(s3.Store(self.url, Keys(access, secret), str(self.tls / "ca.crt"), "us-east-1", 30))

    def _options(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "ca_file": str(self.tls / "ca.crt"),
            "access_key_file": str(self.folder / "user"),
            "secret_file": str(self.folder / "password"),
            "seconds": 20,
        }

    def fill(
        self, buckets: list[dict[str, Any]], users: list[dict[str, Any]] | None = None, *, check: bool = False
    ) -> Result:
        """Run module minio_store."""
        return run_module("minio_store", {**self._options(), "buckets": buckets, "users": users or []}, check=check)

    def replicate(
        self,
        buckets: list[str],
        peers: list[Minio],
        *,
        check: bool = False,
        secret: str = REPLICATION_SECRET,
        again: bool = False,
    ) -> Result:
        """Run module minio_replication."""
        options = {
            **self._options(),
            "buckets": buckets,
            "replicated": buckets if peers else [],
            "peers": [{"name": peer.name, "url": peer.url} for peer in peers],
            "user": REPLICATION,
            "user_secret": secret,
            "send_again": again,
        }
        return run_module("minio_replication", options, check=check)
