"""Settings of a host, as the role has written them; and words for systemd and for the log."""

from __future__ import annotations

import json
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = Path("/etc/nano/primary-record.json")


class SettingsError(Exception):
    """What is wrong with the settings, and what to do."""


@dataclass(frozen=True)
class Settings:
    """What a host knows of the record.

    Attributes:
        host: its own name.
        address: where its keeper listens, if it has one.
        keepers: name to address and port of every keeper.
        databases: names of the hosts that may be the primary; they may change the record, as the keepers may.
        answer_seconds: how long one keeper may take to answer.
        watch_seconds: time between two looks of a database host that runs.
        isolated_stop_seconds: after how long without a majority of the keepers a primary stops itself; 0 is never.
        tls: folder of ca.crt, host.crt and host.key.
        state: folder of the keeper's register.
        data: pattern of the data directories of PostgreSQL.
        override: the operator's one-time word, see guard.py.
        metrics: file of metrics of a database host.
    """

    host: str
    address: str
    keepers: dict[str, tuple[str, int]]
    databases: tuple[str, ...]
    answer_seconds: float
    watch_seconds: float
    isolated_stop_seconds: float
    tls: Path
    state: Path
    data: str
    override: Path
    metrics: Path

    @property
    def writers(self) -> frozenset[str]:
        """Return the names on the certificates that may change the record."""
        return frozenset([*self.keepers, *self.databases])


def read(path: Path) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: the file is missing or is not what the role writes.
    """
    try:
        given: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Settings(
            host=given["host"],
            address=given["address"],
            keepers={name: (place[0], int(place[1])) for name, place in given["keepers"].items()},
            databases=tuple(given["databases"]),
            answer_seconds=float(given["answer_seconds"]),
            watch_seconds=float(given["watch_seconds"]),
            isolated_stop_seconds=float(given["isolated_stop_seconds"]),
            tls=Path(given.get("tls", "/etc/nano/tls")),
            state=Path(given.get("state", "/var/lib/nano-primary-record")),
            data=given.get("data", "/var/lib/postgresql/*/main"),
            override=Path(given.get("override", "/run/postgresql/nano-primary-record.override")),
            metrics=Path(given.get("metrics", "/var/lib/nano-primary-guard/metrics.prom")),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise SettingsError(f"{path}: {error!r}; site.yml --tags primary_record writes it") from None


def client_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS of a client: the platform's CA alone, and the host's own certificate."""
    context = ssl.create_default_context(cafile=settings.tls / "ca.crt")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(settings.tls / "host.crt", settings.tls / "host.key")
    return context


def server_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS of a server that turns away everybody without a certificate of the platform's CA."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=settings.tls / "ca.crt")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(settings.tls / "host.crt", settings.tls / "host.key")
    return context


def tell(service: str, action: str, level: str = "info", **fields: Any) -> None:
    """Write a line of JSON to the journal."""
    print(json.dumps({"level": level, "service": service, "action": action, **fields}), flush=True)


def notify(text: str) -> None:
    """Tell systemd something (READY=1, STATUS=..., WATCHDOG=1); without systemd nothing happens."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(text.encode(), address)
        except OSError:
            # Not worth an end: systemd only shows less.
            return


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file so that a cut of power leaves the old one or the new one.

    Raises:
        OSError: it could not be written to the disk; the old one is there.
    """
    fresh = path.with_name(f".{path.name}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        os.fchmod(handle.fileno(), mode)
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
