"""What happens to a server's own copy of the zone before it starts, with BIND's own programs."""

from __future__ import annotations

import contextlib
import shutil
import signal
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from .bind import ROLE, ZONE, NameServer, configured, programs

A, B = "10.0.1.21", "10.0.2.31"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zone")
    configured(folder, ("ops1", "store1"), dns_public_addresses={"store1": "198.51.100.33"})
    return folder


@pytest.fixture
def server(written: Path, tmp_path: Path) -> Iterator[NameServer]:
    env = programs()
    shutil.copytree(written / "ops1", tmp_path / "ops1")
    found = NameServer(tmp_path / "ops1", env)
    yield found
    found.end()


def moved(server: NameServer, value: str = B) -> None:
    """Move api by an update, of which BIND keeps a journal beside its copy."""
    lines = [f"update delete api.{ZONE}. A", f"update add api.{ZONE}. 30 A {value}"]
    assert server.update(*lines, f'update add api.{ZONE}. 30 TXT "nano-version=2"') == ""


def reseed(server: NameServer, old: str, new: str) -> None:
    seed = server.folder / "nano.zone"
    assert old in seed.read_text()
    seed.write_text(seed.read_text().replace(old, new))


def serial(server: NameServer) -> int:
    return int(server.dig("+short", ZONE, "SOA").split()[2])


def test_it_begins_with_the_name_servers_and_no_name_that_moves(server: NameServer) -> None:
    server.start()
    assert sorted(server.dig("+short", ZONE, "NS").split()) == [f"ns-ops1.{ZONE}.", f"ns-store1.{ZONE}."]
    assert server.dig("+short", f"ns-store1.{ZONE}.", "A").strip() == "198.51.100.33"
    assert server.holds() == ("", 0)
    # Negative answers are kept no longer than a name that moves.
    assert server.dig("+short", ZONE, "SOA").split()[-1] == "30"


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_moved_survives_a_restart_and_a_crash(server: NameServer, sign: int) -> None:
    server.start()
    moved(server)
    server.end(sign)
    again = server.bring()
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    server.start()
    assert server.holds() == (B, 2)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_new_inventory_changes_all_but_the_names_that_move(server: NameServer, sign: int) -> None:
    server.start()
    moved(server)
    before = serial(server)
    server.end(sign)
    reseed(server, "198.51.100.33", "198.51.100.44")
    server.start()
    assert server.dig("+short", f"ns-store1.{ZONE}.", "A").strip() == "198.51.100.44"
    assert server.holds() == (B, 2) and serial(server) > before
    moved(server, A)
    assert server.holds() == (A, 2), "its journal no longer fits its copy"


def test_the_seed_never_moves_a_name(server: NameServer) -> None:
    server.start()
    moved(server)
    server.end()
    seed = server.folder / "nano.zone"
    seed.write_text(seed.read_text() + f"api IN A {A}\n")
    server.start()
    assert server.holds() == (B, 2)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_cut_off_after_any_step_it_loses_nothing(
    server: NameServer, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Steps are to write the copy as it is, to take its journal away, and to write the new copy."""
    server.start()
    moved(server)
    server.end(signal.SIGKILL)
    reseed(server, "198.51.100.33", "198.51.100.44")
    loader = SourceFileLoader("nano_dns_zone", str(ROLE / "files/nano-dns-zone"))
    program = module_from_spec(spec_from_loader(loader.name, loader))
    loader.exec_module(program)
    taken: list[str] = []

    def step(name: str, work: Callable[..., Any]) -> Callable[..., None]:
        def run(*words: Any) -> None:
            if len(taken) == steps:
                raise KeyboardInterrupt
            taken.append(name)
            work(*words)

        return run

    monkeypatch.setattr(program, "write", step("write", program.write))
    monkeypatch.setattr(Path, "unlink", step("unlink", Path.unlink))
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    with contextlib.suppress(KeyboardInterrupt):
        program.bring(ZONE, server.folder / "nano.zone", server.file, ["api", "db"])
    assert taken == ["write", "unlink", "write"][:steps]
    monkeypatch.undo()
    server.start()
    assert server.holds() == (B, 2)
    assert server.dig("+short", f"ns-store1.{ZONE}.", "A").strip() == "198.51.100.44"
    moved(server, A)
    assert server.holds() == (A, 2)


def test_a_copy_that_can_not_be_read_is_told_and_kept(server: NameServer) -> None:
    server.file.write_text("this is no zone\n")
    done = server.bring()
    assert done.returncode != 0
    assert f"{server.file} cannot be read" in done.stderr and "Nothing was deleted" in done.stderr
    assert server.file.read_text() == "this is no zone\n"


def test_a_journal_without_its_copy_is_told_and_kept(server: NameServer) -> None:
    server.start()
    moved(server)
    server.end(signal.SIGKILL)
    server.file.unlink()
    done = server.bring()
    assert done.returncode != 0 and "is there without nano.example.zone" in done.stderr
    assert Path(f"{server.file}.jnl").exists()
