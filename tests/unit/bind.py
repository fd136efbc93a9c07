"""Name servers of BIND on loopback, configured by role dns itself, each in a folder of its own."""

from __future__ import annotations

import base64
import contextlib
import os
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import debs
from lab.common import LabError, cache_dir, lock

from .conftest import ROOT
from .modules import Result, run_module

ROLE = ROOT / "roles/dns"
ZONE = "nano.example"
PROGRAMS = ("named", "named-checkconf", "named-compilezone", "dig", "nsupdate")
PACKAGES = ("bind9", "bind9-dnsutils", "bind9-utils")
SECRET = "Jh3kQ9vTz2LmXw8RbN5yCg7DpS4aVf6U"
# What role host's and node_exporter's hosts would be.
GROUPS = {"all": ["app1", "app2", "db1", "db2"], "nano_api": ["app1", "app2"], "postgresql": ["db1", "db2"]}
PLAYBOOK = [
    {
        "hosts": "dns",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")],
        "tasks": [
            {
                "ansible.builtin.template": {
                    "src": f"{ROLE}/templates/{{{{ item }}}}.j2",
                    "dest": "{{ folder }}/{{ item }}",
                    "mode": "0600",
                },
                "loop": ["nano.key", "nano.zone", "nano.conf"],
            }
        ],
    }
]


def programs() -> dict[str, str]:
    """Return the environment in which BIND's programs are found: the machine's, or Debian's without installing them."""
    search = f"{os.environ['PATH']}:/usr/sbin"
    if all(shutil.which(name, path=search) for name in PROGRAMS):
        return {"PATH": search}
    place = cache_dir() / f"bind-{platform.machine()}"
    with lock(cache_dir() / "bind.lock"):
        if not place.exists():
            work = Path(tempfile.mkdtemp(prefix=".bind-", dir=cache_dir()))
            try:
                debs.unpack(PACKAGES, work)
                work.chmod(0o755)
                work.replace(place)
            except LabError as error:
                shutil.rmtree(work, ignore_errors=True)
                pytest.skip(f"BIND is not there: {error}")
    libraries = sorted({str(path.parent) for path in place.glob("usr/lib/*/**/*.so*")})
    return {"PATH": f"{place}/usr/bin:{place}/usr/sbin:{search}", "LD_LIBRARY_PATH": ":".join(libraries)}


def configured(folder: Path, names: tuple[str, ...], **variables: Any) -> None:
    """Write what role dns writes for each name server, below a folder of its name."""
    hosts = {name: {"ansible_host": "127.0.0.1", "folder": str(folder / name)} for name in names}
    own = {
        "app1": {"ansible_host": "10.0.1.21"},
        "app2": {"ansible_host": "10.0.2.31", "nano_api_role": "cold"},
        "db1": {"ansible_host": "10.0.1.22", "postgresql_role": "primary"},
        "db2": {"ansible_host": "10.0.2.32", "postgresql_role": "standby"},
    }
    (folder / "given.yml").write_text(yaml.safe_dump({"dns_zone": ZONE, "dns_tsig_secret": SECRET, **variables}))
    children = {name: {"hosts": dict.fromkeys(members)} for name, members in GROUPS.items() if name != "all"}
    children["dns"] = {"hosts": dict.fromkeys(names)}
    for name in names:
        (folder / name).mkdir()
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts | own, "children": children}}))
    (folder / "play.yml").write_text(yaml.safe_dump(PLAYBOOK))
    argv = ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")]
    argv += ["-e", f"@{folder / 'given.yml'}"]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_CACHE_PLUGIN": "memory"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def free_port() -> int:
    """Return a port below those of clients: a client that knocks at one of theirs may meet itself."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class NameServer:
    """One of them. It has the role's configuration but for its folders and its port."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.env = {**os.environ, **env}
        self.process: subprocess.Popen[bytes] | None = None
        text = (folder / "nano.conf").read_text()
        for old, new in (
            (r"/etc/bind/nano.key", f"{folder}/nano.key"),
            (r"/var/cache/bind", str(folder)),
            (r"/var/lib/bind/", f"{folder}/"),
            (r"listen-on port 53 ", f"listen-on port {self.port} "),
        ):
            assert old in text, f"nano.conf has no {old} any more"
            text = text.replace(old, new)
        (folder / "nano.conf").write_text(text)

    @property
    def file(self) -> Path:
        return self.folder / f"{ZONE}.zone"

    def bring(self) -> subprocess.CompletedProcess[str]:
        """Do what the unit does before the server starts."""
        argv = [ROLE / "files/nano-dns-zone", "--zone", ZONE, "--seed", self.folder / "nano.zone", "--file", self.file]
        argv += ["--keep", "api", "db"]
        return subprocess.run(
            ["/usr/bin/python3", *map(str, argv)], env=self.env, capture_output=True, text=True, check=False, timeout=60
        )

    def start(self) -> NameServer:
        done = self.bring()
        assert done.returncode == 0, done.stderr
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["named", "-f", "-c", str(self.folder / "nano.conf")], env=self.env, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 30
        while "status: NOERROR" not in self.dig("+tcp", ZONE, "SOA"):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return self

    def end(self, sign: int = signal.SIGTERM) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(sign)
            self.process.wait(20)

    def pause(self) -> None:
        """Let it take connections and answer nothing, as a host that hangs."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def dig(self, *words: str) -> str:
        argv = ["dig", "-r", "@127.0.0.1", "-p", str(self.port), "+tries=1", "+time=2", *words]
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, check=False, timeout=30)
        return done.stdout + done.stderr

    def holds(self, name: str = "api") -> tuple[str, int]:
        """Return the address of a name and how often it was moved, as anybody would be told."""
        address = self.dig("+short", f"{name}.{ZONE}.", "A").strip()
        found = re.search(r"nano-version=(\d+)", self.dig("+short", f"{name}.{ZONE}.", "TXT"))
        return address, int(found.group(1)) if found else 0

    def update(self, *lines: str, key: str | None = None) -> str:
        """Send lines to nsupdate; return its errors. A key of "" sends them unsigned."""
        file = self.folder / "nano.key" if key is None else self.folder / "other.key"
        if key:
            secret = base64.b64encode(key.encode()).decode()
            file.write_text(f'key "nano-dns" {{ algorithm hmac-sha256; secret "{secret}"; }};\n')
        text = "\n".join([f"server 127.0.0.1 {self.port}", f"zone {ZONE}.", *lines, "send", ""])
        signed = ["-k", str(file)] if key != "" else []
        done = subprocess.run(
            ["nsupdate", *signed], env=self.env, input=text, capture_output=True, text=True, check=False, timeout=30
        )
        return done.stderr


class Pair:
    """Two name servers of one zone."""

    def __init__(self, folder: Path) -> None:
        env = programs()
        self.path = env["PATH"]
        self.libraries = env.get("LD_LIBRARY_PATH", "")
        configured(folder, ("ops1", "store1"))
        self.ops1, self.store1 = NameServer(folder / "ops1", env), NameServer(folder / "store1", env)
        self.both = (self.ops1, self.store1)

    def options(self, *records: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Return the options of the module for records, of which the name is api unless it is told."""
        return {
            "zone": ZONE,
            "servers": [server.address for server in self.both],
            "key_file": str(self.ops1.folder / "nano.key"),
            # Two busy cores are slower than a network.
            "seconds": 10,
            "records": [{"name": "api", **record} for record in records],
            **options,
        }

    def record(self, *records: dict[str, Any], check: bool = False, **options: Any) -> Result:
        """Run the module."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", self.path)
            patch.setenv("LD_LIBRARY_PATH", self.libraries)
            return run_module("dns_record", self.options(*records, **options), check=check)

    def present(self, value: str, **more: Any) -> Result:
        return self.record({"value": value}, **more)

    def move(self, value: str, *expect: str, **more: Any) -> Result:
        return self.record({"value": value, "expect": list(expect)}, state="moved", **more)
