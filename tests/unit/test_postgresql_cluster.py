"""The data directory module with PostgreSQL's own programs, in a mount namespace where /var/lib is a scratch folder.

The machine's own clusters are out of reach there. Needs root and a PostgreSQL of Debian's.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .modules import Result, run_module_below
from .scratch import BIN, VERSION, Scratch

SLOT = "db2"
SOCKET = "/var/lib/postgresql/socket"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not VERSION, reason="needs root, unshare(1) and Debian's package of PostgreSQL"
)


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path)


@pytest.fixture(scope="module")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scratch, Result]:
    """Return a cluster that the module made in an empty folder; the tests only look at it."""
    scratch = Scratch(tmp_path_factory.mktemp("initialised"))
    scratch.data.mkdir(parents=True)
    for path in (scratch.data.parent, scratch.data):
        os.chown(path, pwd.getpwnam("postgres").pw_uid, pwd.getpwnam("postgres").pw_gid)
    return scratch, scratch.cluster("initialised")


@pytest.fixture(scope="module")
def primary(initialised: tuple[Scratch, Result]) -> Iterator[str]:
    """Run the cluster as a primary with a slot; return the connection string of a standby."""
    scratch = initialised[0]
    socket = scratch.here / "lib/postgresql/socket"
    socket.mkdir()
    os.chown(socket, pwd.getpwnam("postgres").pw_uid, -1)
    settings = ["listen_addresses=", f"unix_socket_directories={SOCKET}", "fsync=off"]
    argv = [f"{BIN}/postgres", "-D", f"/var/lib/postgresql/{VERSION}/main"]
    argv += [word for setting in settings for word in ("-c", setting)]
    source = f"host={SOCKET} user=postgres dbname=postgres"
    query = ["psql", "-XAtqc", f"SELECT pg_create_physical_replication_slot('{SLOT}')", source]
    log = scratch.here / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(scratch.as_postgres(*argv), stdout=output, stderr=output, cwd="/")
    try:
        deadline = time.monotonic() + 30
        while subprocess.run(scratch.as_postgres(*query), capture_output=True, cwd="/", check=False).returncode:
            assert server.poll() is None and time.monotonic() < deadline, f"no primary: {log.read_text()}"
            time.sleep(0.1)
        yield source
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def beside(scratch: Scratch, initialised: tuple[Scratch, Result], primary: str) -> Callable[..., Result]:
    """Return a function that copies the primary into the scratch folder, its socket being reachable there."""
    socket = scratch.here / "lib/postgresql/socket"
    socket.mkdir()
    bind = f'mount --bind "{initialised[0].here}/lib/postgresql/socket" {SOCKET}'

    def clone(**options: str) -> Result:
        return scratch.cluster("cloned", extra=bind, **{"source": primary, "slot": SLOT, **options})

    return clone


def test_cluster_is_told_by_the_number_that_its_own_tools_tell(initialised: tuple[Scratch, Result]) -> None:
    scratch, result = initialised
    told = scratch.as_postgres(f"{BIN}/pg_controldata", "-D", f"/var/lib/postgresql/{VERSION}/main")
    shown = subprocess.run(told, capture_output=True, text=True, check=True, cwd="/").stdout
    assert f"Database system identifier:           {result['system_identifier']}\n" in shown
    assert result["version"] == str(VERSION)


def test_nothing_there_is_empty(scratch: Scratch) -> None:
    result = scratch.cluster()
    assert (result.failed, result.changed, result["holds"]) == (False, False, "empty")
    assert result["path"] == f"/var/lib/postgresql/{VERSION}/main"
    assert result["system_identifier"] == ""
    scratch.data.mkdir(parents=True)
    assert scratch.cluster()["holds"] == "empty"
    assert scratch.content() == {}


@pytest.mark.parametrize(("signal", "kind"), [("", "primary"), ("standby.signal", "standby")])
def test_a_cluster_is_told_apart_and_left_alone(scratch: Scratch, signal: str, kind: str) -> None:
    scratch.write("PG_VERSION", f"{VERSION}\n")
    if signal:
        scratch.write(signal, "")
    before = scratch.content()
    for state in ("initialised", "cloned"):
        result = scratch.cluster(state, source="host=/nowhere", slot=SLOT)
        assert (result.failed, result.changed, result["holds"]) == (False, False, kind), state
    assert scratch.content() == before


@pytest.mark.parametrize("state", ["seen", "initialised", "cloned"])
def test_cluster_of_another_version_is_refused(scratch: Scratch, state: str) -> None:
    scratch.write("PG_VERSION", "9\n")
    before = scratch.content()
    result = scratch.cluster(state, source="host=/nowhere", slot=SLOT)
    assert result.failed
    assert "was made by PostgreSQL 9" in result.message
    assert f"postgresql_version is {VERSION}" in result.message
    assert scratch.content() == before


@pytest.mark.parametrize("state", ["seen", "initialised", "cloned"])
def test_folder_with_anything_else_is_refused(scratch: Scratch, state: str) -> None:
    scratch.write("lost+found/invoice.txt", "of great worth")
    before = scratch.content()
    result = scratch.cluster(state, source="host=/nowhere", slot=SLOT)
    assert result.failed
    assert "is not empty and holds no PostgreSQL cluster, nothing was changed" in result.message
    assert (scratch.content(), scratch.names()) == (before, ["main"])


@pytest.mark.parametrize("state", ["initialised", "cloned"])
def test_check_mode_tells_and_changes_nothing(scratch: Scratch, state: str) -> None:
    result = scratch.cluster(state, check=True, source="host=/nowhere", slot=SLOT)
    assert (result.failed, result.changed, result["holds"]) == (False, True, "empty")
    assert list((scratch.here / "lib/postgresql").iterdir()) == []


def test_initialised_once(initialised: tuple[Scratch, Result]) -> None:
    scratch, first = initialised
    assert not first.failed, first.message
    assert (first.changed, first["holds"]) == (True, "primary")
    assert scratch.names() == ["main"]
    again = scratch.cluster("initialised")
    assert (again.changed, again["holds"]) == (False, "primary")


def test_initialised_as_the_platform_needs_it(initialised: tuple[Scratch, Result]) -> None:
    scratch, _ = initialised
    owner = pwd.getpwnam("postgres")
    state = scratch.data.stat()
    assert (state.st_uid, oct(state.st_mode & 0o777)) == (owner.pw_uid, "0o700")
    shown = subprocess.run(
        scratch.as_postgres(f"{BIN}/pg_controldata", f"/var/lib/postgresql/{VERSION}/main"),
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    ).stdout
    fields = {name: value.strip() for name, _, value in (line.partition(":") for line in shown.splitlines())}
    assert fields["Data page checksum version"] == "1", "rot on the disk would go unseen"
    rules = (scratch.data / "pg_hba.conf").read_text().split()
    assert "trust" not in [rule for rule in rules if not rule.startswith("#")]


def test_copy_of_a_running_primary(scratch: Scratch, beside: Callable[..., Result]) -> None:
    result = beside()
    assert not result.failed, result.message
    assert (result.changed, result["holds"]) == (True, "standby")
    assert (scratch.data / "standby.signal").stat().st_uid == pwd.getpwnam("postgres").pw_uid
    assert "primary_conninfo" not in (scratch.data / "postgresql.auto.conf").read_text(), (
        "it would win over the role's settings"
    )
    assert scratch.names() == ["main"]
    assert not beside().changed


def test_leftover_of_an_interrupted_copy_is_replaced(scratch: Scratch, beside: Callable[..., Result]) -> None:
    """The kill comes while pg_basebackup writes; what it left must neither stop nor enter the next copy."""
    scratch.data.parent.mkdir()
    half = scratch.data.with_name(".main.unfinished")
    half.mkdir()
    (half / "PG_VERSION").write_text(f"{VERSION}\n")
    (half / "half").write_text("x")
    assert scratch.cluster()["holds"] == "empty", "half a copy is no cluster"
    os.chown(scratch.data.parent, pwd.getpwnam("postgres").pw_uid, -1)
    result = beside()
    assert not result.failed, result.message
    assert (result["holds"], scratch.names()) == ("standby", ["main"])
    assert not (scratch.data / "half").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "host=/nowhere user=postgres"}, "/nowhere"),
        ({"slot": "no_such_slot"}, "no_such_slot"),
    ],
)
def test_copy_that_fails_leaves_nothing(
    scratch: Scratch, beside: Callable[..., Result], options: dict[str, str], words: str
) -> None:
    result = beside(**options)
    assert result.failed
    assert "pg_basebackup failed" in result.message
    assert words in result.message
    assert (scratch.cluster()["holds"], scratch.unfinished()) == ("empty", [])


def test_full_disk_leaves_nothing_half_made(scratch: Scratch) -> None:
    """A new cluster takes some 40 MB; here it has 8."""
    owner, group = pwd.getpwnam("postgres").pw_uid, grp.getgrnam("postgres").gr_gid
    small = f"mount -t tmpfs -o size=8m,uid={owner},gid={group} none /var/lib/postgresql"
    # What is left is listed from inside: the small disk ends with its namespace.
    listed = ["sh", "-c", '"$@"; find /var/lib/postgresql -mindepth 2 > /var/lib/left', "sh"]
    args = {"version": VERSION, "state": "initialised"}
    result = run_module_below([*scratch.below(small), *listed], "postgresql_cluster", args)
    assert result.failed
    assert "initdb failed" in result.message
    assert "No space left on device" in result.message
    assert (scratch.here / "lib/left").read_text() == ""


@pytest.mark.parametrize("given", [{"source": "host=/nowhere"}, {"slot": SLOT}])
def test_copy_needs_to_know_from_where(scratch: Scratch, given: dict[str, str]) -> None:
    """A check run finds it out, not the copy."""
    result = scratch.cluster("cloned", check=True, **given)
    assert result.failed
    assert "missing" in result.message
