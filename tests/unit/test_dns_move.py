"""A record that is kept elsewhere is moved by a command of one's own: the example of docs/dns.md, run by the role."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import ROOT

TOKEN = "v8ZtQ2mL4xRw7KpN"
PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Move
      ansible.builtin.include_role: {name: nano.ops.dns, tasks_from: move}
      vars:
        dns_move:
          - {name: api, value: 203.0.113.31, expect: [198.51.100.21]}
          - {name: db, value: 203.0.113.32}
"""


class Provider(http.server.ThreadingHTTPServer):
    """A provider's interface that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.told: list[tuple[str, dict[str, Any]]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    server: Provider

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.headers["Authorization"] == f"Bearer {TOKEN}"
        if known:
            self.server.told.append((self.path, body))
        self.send_response(200 if known else 403)
        self.end_headers()
        self.wfile.write(b"" if known else b"this token opens nothing")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def move(folder: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
    """Move both records as a failover does, from a playbook that has the role."""
    (folder / "play.yml").write_text(PLAYBOOK)
    (folder / "given.yml").write_text(yaml.safe_dump({"dns_zone": "ops.example.com", **variables}))
    argv = ["ansible-playbook", "-v", "-i", "localhost,", "-e", f"@{folder / 'given.yml'}", str(folder / "play.yml")]
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_CACHE_PLUGIN": "memory"}
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120)
    # Ansible breaks long lines wherever it likes.
    done.stdout = " ".join(done.stdout.split())
    return done


def command(folder: Path, provider: Provider, token: str = TOKEN) -> dict[str, Any]:
    """Return the variables that lead to a provider."""
    (folder / "token").write_text(f"{token}\n")
    url = f"http://127.0.0.1:{provider.server_address[1]}/records"
    words = [str(ROOT / "docs/examples/dns-update"), url, str(folder / "token")]
    return {"dns_provider": "command", "dns_update_command": words}


def test_the_provider_is_told_name_type_ttl_and_address(tmp_path: Path, provider: Provider) -> None:
    done = move(tmp_path, **command(tmp_path, provider))
    assert done.returncode == 0, done.stdout
    assert provider.told == [
        (
            f"/records/{name}.ops.example.com/A",
            {"name": f"{name}.ops.example.com", "type": "A", "ttl": 30, "values": [value]},
        )
        for name, value in (("api", "203.0.113.31"), ("db", "203.0.113.32"))
    ]
    assert TOKEN not in done.stdout + done.stderr


def test_a_provider_that_refuses_stops_the_play_with_its_reason(tmp_path: Path, provider: Provider) -> None:
    done = move(tmp_path, **command(tmp_path, provider, token="another"))
    assert done.returncode != 0 and "answers 403: this token opens nothing" in done.stdout, done.stdout
    assert provider.told == []


def test_a_provider_that_is_away_stops_the_play_with_its_reason(tmp_path: Path, provider: Provider) -> None:
    variables = command(tmp_path, provider)
    provider.server_close()
    done = move(tmp_path, **variables)
    assert done.returncode != 0 and "cannot be told" in done.stdout and "Connection refused" in done.stdout, done.stdout


def test_without_a_provider_a_person_is_told_what_to_do(tmp_path: Path) -> None:
    done = move(tmp_path, dns_provider="none")
    assert done.returncode == 0, done.stdout
    assert "give db.ops.example.com the address 203.0.113.32" in done.stdout


def test_a_command_that_is_not_named_moves_nothing_in_silence(tmp_path: Path) -> None:
    done = move(tmp_path, dns_provider="command")
    assert done.returncode != 0 and "dns_update_command is empty" in done.stdout, done.stdout
