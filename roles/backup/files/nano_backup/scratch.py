"""A PostgreSQL of its own for the time of a verification: a socket for its user alone, little memory, no network.

It ends with the process that started it, however that ends; what a killed run left is cleared by the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from . import command
from .config import Config
from .database import Server
from .errors import BackupError

LOG = "postgresql.log"
# On the command line they win over what the restored cluster has in postgresql.auto.conf.
SETTINGS = {
    "listen_addresses": "",
    "shared_preload_libraries": "",
    "archive_mode": "off",
    "archive_command": "",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    # A cluster that only recovers may have less of everything than the one that wrote the WAL.
    "hot_standby": "off",
    "ssl": "off",
    "jit": "off",
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "maintenance_work_mem": "64MB",
    "max_connections": "20",
    "max_wal_senders": "0",
    "huge_pages": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_min_messages": "warning",
    "cluster_name": "nano-verify",
    # A language of the first host that this one may lack.
    "lc_messages": "C",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
}
# Must be as large as where the WAL was written, whether hot_standby is on or not.
FROM_CONTROL = {"max_prepared_xacts setting": "max_prepared_transactions"}


def clear(folder: Path) -> None:
    """Make a folder empty, ending what still works in it. Raises OSError."""
    deadline = time.monotonic() + 30
    # The children of a server that was killed see it after a moment, and rename files until then.
    while (left := _working(folder)) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)


def _working(folder: Path) -> list[int]:
    """Return the processes that run in a folder or name a file of it, as far as they may be looked at."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (place / "cmdline").read_bytes().split(b"\0")
            inside = any(bytes(folder) + b"/" in word for word in words)
            if inside or (place / "cwd").resolve().is_relative_to(folder):
                found.append(int(place.name))
    return [pid for pid in found if pid != os.getpid()]


class Scratch:
    """The folder of one verification: data, socket, log."""

    def __init__(self, config: Config, folder: Path) -> None:
        """Nothing is made yet."""
        self.config, self.folder = config, folder
        self.data = folder / "data"
        self.server = Server({"host": str(folder), "port": "5432", "user": "postgres", "connect_timeout": "5"})

    def program(self, name: str) -> Path:
        """Return a program of PostgreSQL."""
        return self.config.postgresql_programs / name

    def initialise(self) -> None:
        """Make an empty cluster. Raises CommandError."""
        words = ["--username=postgres", "--auth=peer", "--no-sync", "--locale=C.UTF-8", "--encoding=UTF8"]
        command.run([self.program("initdb"), f"--pgdata={self.data}", *words])

    def settings(self) -> dict[str, str]:
        """Return what it runs with."""
        control = command.run([self.program("pg_controldata"), self.data])
        found = {
            setting: match[1]
            for text, setting in FROM_CONTROL.items()
            if (match := re.search(rf"^{re.escape(text)}:\s+(\d+)$", control, re.MULTILINE))
        }
        return {
            **SETTINGS,
            **found,
            "hba_file": str(self.folder / "pg_hba.conf"),
            "ident_file": str(self.folder / "pg_ident.conf"),
            "unix_socket_directories": str(self.folder),
            "data_directory": str(self.data),
        }

    @contextlib.contextmanager
    def running(self, seconds: float) -> Iterator[Server]:
        """Run it until it takes writes, and end it afterwards.

        Args:
            seconds: how long recovery may take.

        Raises:
            BackupError: it doesn't start, or recovery fails; the text has what it said last.
        """
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        (self.folder / "pg_hba.conf").write_text("local all postgres peer map=own\n", encoding="utf-8")
        (self.folder / "pg_ident.conf").write_text(f"own {user} postgres\n", encoding="utf-8")
        # Debian keeps it elsewhere than in the data.
        (self.folder / "postgresql.conf").write_text("", encoding="utf-8")
        words = [f"{name}={value}" for name, value in self.settings().items()]
        argv: list[str | Path] = [self.program("postgres"), "-c", f"config_file={self.folder / 'postgresql.conf'}"]
        with (self.folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                command.line([*argv, *(each for word in words for each in ("-c", word))]),
                env=command.environment({}),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait(process, seconds)
            yield self.server
        finally:
            process.send_signal(signal.SIGQUIT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            if process.poll() is not None:
                raise BackupError(f"the scratch instance ended during recovery: {self.said()}")
            with contextlib.suppress(BackupError):
                if self.server.ask("postgres", "SELECT pg_is_in_recovery()", 5) == [(False,)]:
                    return
            if time.monotonic() > deadline:
                raise BackupError(
                    f"recovery was not done within {seconds:.0f} s (backup_verify_timeout_seconds): {self.said()}"
                )
            time.sleep(0.2)

    def said(self) -> str:
        """Return the end of its log."""
        with contextlib.suppress(OSError):
            return command.words_of((self.folder / LOG).read_text(encoding="utf-8", errors="replace"))
        return ""


@contextlib.contextmanager
def folder(config: Config, name: str) -> Iterator[Scratch]:
    """Give an empty scratch folder, and take it away in every case."""
    place = config.verify.directory / name
    clear(place)
    try:
        yield Scratch(config, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
