"""The names of who serves: asked as anybody does, moved as a failover does, and closed to everybody else."""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.verify.controller import read_inventory
from tests.verify.lab import TLS, Lab

if "dns" not in read_inventory():
    pytest.skip("the inventory has no group dns", allow_module_level=True)

ZONE = "nano.example"
SERVERS = pytest.mark.parametrize("server", ["ops1", "store1"])
KEY = "/etc/bind/nano.key"
A = 1
REFUSED = 5
# A server that was away looks every five seconds.
CATCHES_UP = 20


@dataclass(frozen=True)
class Answer:
    """What a name server says: its code, its flags, and address and TTL of each A record."""

    code: int
    authoritative: bool
    recursive: bool
    truncated: bool
    rows: tuple[tuple[str, int], ...]


def question(name: str, kind: int = A) -> bytes:
    """Return a query that asks for recursion, as every resolver's first one of a laptop does."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", secrets.randbits(16), 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def read(message: bytes) -> Answer:
    """Read an answer. Each record of it begins with a pointer of two bytes to the name."""
    _, flags, questions, answers, _, _ = struct.unpack("!6H", message[:12])
    at = 12
    for _ in range(questions):
        at = message.index(b"\0", at) + 5
    rows = []
    for _ in range(answers):
        kind, _, ttl, length = struct.unpack("!2HIH", message[at + 2 : at + 12])
        if kind == A:
            rows.append((socket.inet_ntoa(message[at + 12 : at + 12 + length]), ttl))
        at += 12 + length
    return Answer(flags & 15, bool(flags & 0x400), bool(flags & 0x80), bool(flags & 0x200), tuple(rows))


def ask(lab: Lab, server: str, name: str, kind: int = A) -> Answer:
    """Ask from this machine, which is nobody, over UDP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.settimeout(5)
        plain.connect((lab.address(server), 53))
        try:
            plain.send(question(name, kind))
            return read(plain.recv(4096))
        except OSError as error:
            raise AssertionError(f"{server} does not say what {name} is: {error}") from error


def leads(lab: Lab, server: str, name: str) -> list[str]:
    """Return the addresses that a name leads to."""
    return [address for address, _ in ask(lab, server, f"{name}.{ZONE}").rows]


def update(lab: Lab, server: str, *lines: str, key: str = "") -> str:
    """Send an update from store1, signed with the server's own key unless told; return why it was refused, or ""."""
    text = "\n".join([f"server {lab.address(server)}", f"zone {ZONE}.", *lines, "send", ""])
    signed = ["-k", KEY] if not key else ["-k", key] if key != "none" else []
    done = lab.command("store1", ["nsupdate", "-v", *signed], input=text)
    assert bool(done["rc"]) == bool(done["stderr"]), done
    return str(done["stderr"]).strip()


def primary(lab: Lab) -> str:
    """Return the host whose PostgreSQL takes writes."""
    (found,) = (host for host in lab.group("postgresql") if lab.admin(host, "SELECT pg_is_in_recovery()") == "f")
    return found


@SERVERS
def test_each_server_says_who_serves_and_for_how_long(lab: Lab, server: str) -> None:
    for name, host in (("api", "app1"), ("db", primary(lab))):
        answer = ask(lab, server, f"{name}.{ZONE}")
        assert answer.rows == ((lab.address(host), 30),)
        assert answer.authoritative and not answer.recursive


@SERVERS
def test_it_resolves_nothing_for_others(lab: Lab, server: str) -> None:
    for name in ("www.debian.org", "example", "10.77.30.172.in-addr.arpa"):
        answer = ask(lab, server, name)
        assert (answer.code, answer.rows) == (REFUSED, ()), name


@SERVERS
def test_it_hands_out_no_copy_and_no_version(lab: Lab, server: str) -> None:
    where = f"@{lab.address(server)}"
    for signed in ([], ["-k", KEY]):
        assert "Transfer failed" in lab.command("store1", ["dig", where, *signed, ZONE, "AXFR"])["stdout"]
    for name in ("version.bind", "hostname.bind", "id.server"):
        answer = lab.command("store1", ["dig", where, "CH", "TXT", name])["stdout"]
        assert "ANSWER: 0" in answer or "status: REFUSED" in answer, answer


@pytest.fixture
def stranger(lab: Lab) -> Iterator[str]:
    """A key of the right name with another secret, on store1."""
    path = f"/run/nano-verify-{secrets.token_hex(4)}.key"
    text = 'key "nano-dns" { algorithm hmac-sha256; secret "bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBwbGF0Zm9ybQ=="; };\n'
    done = lab.command("store1", ["install", "--mode=0600", "/dev/stdin", path], input=text)
    assert done["rc"] == 0, done["stderr"]
    yield path
    lab.command("store1", ["rm", path])


@SERVERS
def test_nobody_moves_a_name_without_the_key(lab: Lab, server: str, stranger: str) -> None:
    before = leads(lab, server, "api")
    lines = [f"update delete api.{ZONE}. A", f"update add api.{ZONE}. 30 A 192.0.2.66"]
    assert "REFUSED" in update(lab, server, *lines, key="none")
    assert "NOTAUTH" in update(lab, server, *lines, key=stranger)
    assert leads(lab, server, "api") == before


@pytest.mark.parametrize(
    "line",
    [
        f"update add www.{ZONE}. 30 A 192.0.2.66",
        f"update add {ZONE}. 30 NS elsewhere.example.",
        f"update delete {ZONE}. NS",
        f"update add ns-ops1.{ZONE}. 30 A 192.0.2.66",
        f"update add api.{ZONE}. 30 CNAME elsewhere.example.",
    ],
)
@SERVERS
def test_the_key_opens_two_names_and_no_more(lab: Lab, server: str, line: str) -> None:
    assert "REFUSED" in update(lab, server, line)


def test_the_key_is_for_root_and_the_server_alone(lab: Lab) -> None:
    for server in lab.group("dns"):
        file = lab.host(server).file(KEY)
        assert (file.user, file.group, oct(file.mode)) == ("root", "bind", "0o640")


def test_who_comes_by_the_name_finds_a_certificate_for_it(lab: Lab) -> None:
    """A client that checks names would take the host for somebody else otherwise."""
    for host in lab.group("nano_api"):
        where = f"api.{ZONE}:443:{lab.address(host)}"
        argv = ["curl", "--silent", "--cacert", f"{TLS}/ca.crt", "--resolve", where, f"https://api.{ZONE}/metrics"]
        done = lab.command("ops1", argv)
        assert done["rc"] == 0, f"{host}: {done['stderr']}"
    for host in lab.group("postgresql"):
        done = lab.psql("app2", f"db.{ZONE} hostaddr={lab.address(host)}", "SELECT 1")
        assert (done["rc"], done["stdout"].strip()) == (0, "1"), f"{host}: {done['stderr']}"


def test_figures_say_where_each_name_leads(lab: Lab, eventually: Callable[..., Any]) -> None:
    wanted = {
        (server, f"{name}.{ZONE}", lab.address(host))
        for server in lab.group("dns")
        for name, host in (("api", "app1"), ("db", primary(lab)))
    }

    def seen() -> bool:
        found = [series["metric"] for series in lab.promql("nano_dns_record_info == 1")]
        assert {(row["instance"], row["name"], row["address"]) for row in found} == wanted, found
        return True

    eventually(seen, 40, "nano_dns_record_info does not say what the servers say")
    assert {series["value"] for series in lab.promql("nano_dns_servers_disagree")} == {0.0}
    assert {series["value"] for series in lab.promql("nano_dns_server_answers")} == {1.0}


@pytest.fixture
def move(lab: Lab, playbook: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Move api as a failover does; afterwards it leads to app1 again, and both servers run."""

    def run(host: str, before: str, via: str) -> Any:
        record = {"name": "api", "value": lab.address(host), "expect": [lab.address(before)]}
        task = {
            "name": "Move",
            "ansible.builtin.include_role": {"name": "nano.ops.dns", "tasks_from": "move"},
            "vars": {"dns_move": [record], "dns_move_from": via},
        }
        path = tmp_path / "move.yml"
        path.write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
        return playbook(str(path))

    yield run
    for server in lab.group("dns"):
        lab.host(server).run_expect([0], "systemctl start named")
    done = run("app1", "app2", "store1")
    assert done.rc == 0, done.output
    assert [leads(lab, server, "api") for server in lab.group("dns")] == [[lab.address("app1")]] * 2


@pytest.mark.disturbs
def test_a_moved_name_stays_where_it_is(
    lab: Lab, move: Callable[..., Any], playbook: Callable[..., Any], eventually: Callable[..., Any]
) -> None:
    """Also through a run of site.yml, and through restarts of the servers, kind and unkind."""
    done = move("app2", "app1", "ops1")
    assert done.rc == 0, done.output
    moved = [[lab.address("app2")]] * 2
    assert [leads(lab, server, "api") for server in lab.group("dns")] == moved
    run = playbook("site.yml", "--tags", "dns")
    assert (run.rc, run.changed) == (0, []), run.output
    assert f"api.{ZONE} leads to {lab.address('app2')}" in " ".join(run.output.split())
    lab.host("ops1").run_expect([0], "systemctl restart named")
    lab.host("store1").run_expect([0], "systemctl kill --signal=KILL named")
    for server in ("ops1", "store1"):
        eventually(lambda server=server: leads(lab, server, "api") == moved[0], 30, f"{server} lost what was moved")


@pytest.mark.disturbs
def test_a_name_that_is_elsewhere_by_now_is_not_moved(lab: Lab, move: Callable[..., Any]) -> None:
    refused = move("app2", "db1", "store1")
    assert refused.rc != 0 and "is not where it was expected" in " ".join(refused.output.split())
    assert [leads(lab, server, "api") for server in lab.group("dns")] == [[lab.address("app1")]] * 2


@pytest.mark.disturbs
@pytest.mark.parametrize(("lost", "left"), [("ops1", "store1"), ("store1", "ops1")])
def test_a_lost_server_blocks_no_move_and_catches_up(
    lab: Lab, move: Callable[..., Any], eventually: Callable[..., Any], lost: str, left: str
) -> None:
    lab.host(lost).run_expect([0], "systemctl stop named")
    done = move("app2", "app1", left)
    assert done.rc == 0 and f"name server {lab.address(lost)} is silent" in " ".join(done.output.split()), done.output
    assert leads(lab, left, "api") == [lab.address("app2")]
    job = f'probe_success{{job="blackbox_dns_api",instance="{lost}"}} == 0'
    eventually(lambda: lab.promql(job), 60, "the probe does not see that a name server is away")
    lab.host(lost).run_expect([0], "systemctl start named")
    eventually(lambda: leads(lab, lost, "api") == [lab.address("app2")], CATCHES_UP, f"{lost} does not catch up")


@pytest.mark.disturbs
def test_one_address_can_not_use_it_to_flood_another(lab: Lab, eventually: Callable[..., Any]) -> None:
    """Its allowance is 50 answers per second; the others are dropped, or too short to be of use to a flood."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        plain.settimeout(2)
        for _ in range(1000):
            plain.sendto(question(f"api.{ZONE}"), (lab.address("store1"), 53))
        answers = []
        try:
            while True:
                answers.append(read(plain.recv(4096)))
        except TimeoutError:
            pass
    full = [answer for answer in answers if answer.rows]
    assert 0 < len(full) < 500 and all(answer.truncated for answer in answers if not answer.rows)
    # The platform's own hosts, its probes among them, are not counted.
    found = lab.command("ops1", ["dig", "+short", f"@{lab.address('store1')}", f"api.{ZONE}"])
    assert found["stdout"].strip() == lab.address("app1")
    eventually(lambda: leads(lab, "store1", "api"), 60, "this machine is served no more")
