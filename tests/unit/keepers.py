"""Keepers as real processes on loopback addresses, with certificates of their own CA, and the program beside them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.nano.ops.plugins.plugin_utils import authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from .primary_record import FILES

PASSPHRASE = "a passphrase of this test alone"
START = "import sys; from nano_primary_record.cli import main; sys.exit(main())"
DATABASES = ("db1", "db2")
IDENTIFIER = "7000000000000000001"


@dataclass
class Done:
    """How the program ended: its code, its JSON, its words for people, and how long it took."""

    rc: int
    result: dict[str, Any]
    error: str
    seconds: float


def certificate(ca: Path, folder: Path, name: str) -> None:
    """Make a host's certificate as role host does."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    (folder / "ca.crt").write_text((ca / "ca.crt").read_text())
    (folder / "host.crt").write_text(authority.sign(ca, PASSPHRASE, pem, name, [name, "localhost"], ["127.0.0.1"], 9))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "host.key").write_bytes(private)


def eventually(check: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for something true and return it."""
    deadline = time.monotonic() + seconds
    while not (seen := check()):
        assert time.monotonic() < deadline, f"{check} has not come true within {seconds} s"
        time.sleep(0.05)
    return seen


class Platform:
    """Three keepers, two database hosts and a host that is neither, all on this machine."""

    def __init__(self, here: Path, count: int = 3) -> None:
        self.here = here
        self.names = [f"keeper{number}" for number in range(1, count + 1)]
        self.ca = here / "ca"
        authority.ensure(self.ca, PASSPHRASE, create=True)
        # A copy, for users who cannot read the tree.
        self.files = here / "files"
        shutil.copytree(FILES, self.files, ignore=shutil.ignore_patterns("__pycache__"))
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.places = {name: [f"127.0.0.{number + 10}", free_port()] for number, name in enumerate(self.names)}
        for name in (*self.names, *DATABASES, "app1"):
            certificate(self.ca, here / name / "tls", name)
            (here / name / "state").mkdir()
            self.configure(name)

    def configure(self, name: str, **changes: Any) -> None:
        """Write the settings of a host."""
        folder = self.here / name
        settings = {
            "host": name,
            "address": self.places.get(name, [""])[0],
            "keepers": self.places,
            "databases": DATABASES,
            "answer_seconds": 1,
            "watch_seconds": 0.5,
            "isolated_stop_seconds": 0,
            "tls": str(folder / "tls"),
            "state": str(folder / "state"),
            "data": str(folder / "postgresql/*/main"),
            "override": str(folder / "run/override"),
            "metrics": str(folder / "state/metrics.prom"),
        }
        (folder / "settings.json").write_text(json.dumps(settings | changes))

    def argv(self, host: str, *arguments: str) -> list[str]:
        """Return the command line of the program on a host."""
        return [sys.executable, "-B", "-c", START, "--config", str(self.here / host / "settings.json"), *arguments]

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.files)}

    def spawn(self, host: str, *arguments: str, prefix: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:
        """Start the program on a host."""
        return subprocess.Popen(
            [*prefix, *self.argv(host, *arguments)],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def call(self, host: str, *arguments: str) -> Done:
        """Run the program on a host to its end."""
        started = time.monotonic()
        with self.spawn(host, *arguments) as process:
            out, err = process.communicate(timeout=60)
        return Done(process.returncode, json.loads(out or "{}"), err.strip(), time.monotonic() - started)

    def claim(self, host: str, epoch: int, *more: str, by: str = "db2", timeline: int = 1) -> Done:
        """Claim the record for a host."""
        return self.call(by, *self.claim_argv(host, epoch, timeline), *more)

    def claim_argv(self, host: str, epoch: int, timeline: int = 1, identifier: str = IDENTIFIER) -> list[str]:
        """Return the arguments of a claim."""
        argv = ["claim", "--host", host, "--expect-epoch", str(epoch), "--timeline", str(timeline)]
        return [*argv, "--system-identifier", identifier]

    def start(self, *names: str) -> None:
        """Start keepers and wait until they listen."""
        for name in names or self.names:
            log = (self.here / name / "log").open("a")
            self.running[name] = subprocess.Popen(self.argv(name, "keep"), env=self.env, stdout=log, stderr=log)
            eventually(lambda name=name: self.listens(name))

    def listens(self, name: str) -> bool:
        """Whether a keeper takes connections; a stopped one does too."""
        assert self.running[name].poll() is None, (self.here / name / "log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(tuple(self.places[name]), timeout=1):
            return True
        return False

    def kill(self, *names: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to keepers; who was killed is gone afterwards."""
        for name in names:
            self.running[name].send_signal(number)
            if number == signal.SIGKILL:
                self.running.pop(name).wait(timeout=10)

    def found(self) -> None:
        """Make the first record: db1 is the primary."""
        # As `create` does with what pg_controldata says of a data directory.
        program = "import sys; from pathlib import Path; from nano_primary_record import record, rounds, settings\n"
        program += "from nano_primary_record.transport import Keepers\n"
        program += "keepers = Keepers(settings.read(Path(sys.argv[1])))\nkeepers.run(rounds.found(keepers.names))\n"
        program += f"keepers.change(record.first(record.Claim('db1', '{IDENTIFIER}', 1, 'first')), 5)"
        argv = [sys.executable, "-B", "-c", program, str(self.here / "db1/settings.json")]
        subprocess.run(argv, env=self.env, check=True, timeout=30)

    def states(self, host: str = "db1") -> dict[str, str]:
        """Return what each keeper is."""
        return {row["keeper"]: row["state"] for row in self.call(host, "show").result["keepers"]}

    def register(self, name: str) -> dict[str, Any]:
        """Return what a keeper has on its disk."""
        return json.loads((self.here / name / "state/register.json").read_text())

    def close(self) -> None:
        """End all keepers."""
        for process in self.running.values():
            process.kill()
            process.wait(timeout=10)


def free_port() -> int:
    """Return a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def platform(count: int = 3) -> Iterator[Platform]:
    """Make a platform in a folder that every user may enter, and take all of it away."""
    with tempfile.TemporaryDirectory(prefix="nano-keepers-") as folder:
        Path(folder).chmod(0o755)
        made = Platform(Path(folder), count)
        try:
            yield made
        finally:
            made.close()
