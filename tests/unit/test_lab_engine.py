"""The container engine: what a user is told when there is none, and that one is started where it can be.

Only the programs in a folder of the test are found, so no engine of the machine is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path

import pytest

from lab import engine
from lab.common import LabError

from .modules import program

SILENT = "#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder where programs are found; root, no systemd, room on the disk."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("NANO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(engine.os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine, "has_systemd", lambda: False)
    monkeypatch.setattr(engine, "PID_FILE", tmp_path / "docker.pid")
    monkeypatch.setattr(engine, "LEAST_DISK_GB", 0.0)
    monkeypatch.setattr(engine, "START_SECONDS", 20.0)
    return folder


def docker(path: Path, up: Path) -> None:
    """Put a client there that reports an engine as soon as a file exists."""
    text = f'#!/bin/sh\n[ -e "{up}" ] || {{ echo "Cannot connect to the Docker daemon" >&2; exit 1; }}\necho 29.1\n'
    program(path, "docker", text)


def test_engine_that_answers_is_left_alone(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up = tmp_path / "up"
    up.touch()
    docker(path, up)
    program(path, "dockerd", f"#!/bin/sh\n: > {tmp_path}/started\n")
    engine.ensure()
    assert "engine 29.1 answers" in capsys.readouterr().out
    assert not (tmp_path / "started").exists()


def test_client_that_ends_well_without_a_server_is_no_engine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some clients print an empty version and end with 0."""
    program(path, "docker", "#!/bin/sh\necho\necho 'no daemon here' >&2\n")
    monkeypatch.setattr(engine.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"no engine answers.*no daemon here"):
        engine.ensure()


@pytest.mark.parametrize("client", [False, True])
def test_no_engine_and_no_root(path: Path, monkeypatch: pytest.MonkeyPatch, client: bool) -> None:
    if client:
        program(path, "docker", SILENT)
    monkeypatch.setattr(engine.os, "geteuid", lambda: 1000)
    reason = "Cannot connect" if client else "client is not installed"
    with pytest.raises(LabError, match=rf"{reason}.*needs root: run this as root, or start Docker Engine first"):
        engine.ensure()


def test_engine_that_refuses_the_user(path: Path) -> None:
    program(path, "docker", "#!/bin/sh\necho 'permission denied while trying to connect' >&2\nexit 1\n")
    with pytest.raises(LabError, match=r"(?s)refuses this user.*Use root or join its group"):
        engine.ensure()


def test_engine_elsewhere_is_never_replaced(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path, "docker", SILENT)
    program(path, "dockerd", f"#!/bin/sh\n: > {tmp_path}/started\n")
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example.com:2376")
    with pytest.raises(LabError, match=r"named by DOCKER_HOST doesn't answer.*Cannot connect"):
        engine.ensure()
    assert not (tmp_path / "started").exists()


def test_no_network(path: Path) -> None:
    program(path, "apt-get", "#!/bin/sh\necho \"Could not resolve 'mirror.example.com'\" >&2\nexit 100\n")
    with pytest.raises(LabError) as error:
        engine.ensure()
    text = str(error.value)
    assert "`apt-get -qq update` failed with code 100; is there a network" in text
    assert "Could not resolve 'mirror.example.com'" in text


def test_no_engine_and_no_way_to_install_one(path: Path) -> None:
    with pytest.raises(LabError, match="no apt-get to install one with: install Docker Engine first"):
        engine.ensure()


def test_full_disk_is_found_out_before_anything_is_installed(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10e9, 9e9, 1e9))
    monkeypatch.setattr(engine, "LEAST_DISK_GB", 8.0)
    program(path, "apt-get", f"#!/bin/sh\n: > {tmp_path}/asked\n")
    with pytest.raises(LabError, match=r"1\.0 GB free, the lab needs 8"):
        engine.ensure()
    assert not (tmp_path / "asked").exists()


def test_missing_engine_is_installed_and_started(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    up = tmp_path / "up"
    docker(path, up)
    (path / "docker").rename(path / "later")
    text = f'#!/bin/sh\necho "$@" >> {tmp_path}/apt\n[ "$2" = -y ] || exit 0\n'
    text += f'/bin/mv {path}/later {path}/docker\nprintf "#!/bin/sh\\n: > {up}\\n" > {path}/dockerd\n'
    program(path, "apt-get", f"{text}/bin/chmod +x {path}/dockerd\n")
    engine.ensure()
    assert "engine 29.1 answers" in capsys.readouterr().out
    assert (tmp_path / "apt").read_text().splitlines()[0] == "-qq update"
    assert " install docker.io " in (tmp_path / "apt").read_text()


def test_engine_that_ends_at_once_shows_its_last_words(path: Path, tmp_path: Path) -> None:
    docker(path, tmp_path / "never")
    program(path, "dockerd", "#!/bin/sh\necho 'failed to start daemon: iptables not found' >&2\nexit 1\n")
    started = time.monotonic()
    with pytest.raises(LabError, match=r"(?s)dockerd ended at once; see .*dockerd\.log\n.*iptables not found"):
        engine.ensure()
    assert time.monotonic() - started < engine.START_SECONDS / 2


def test_engine_that_never_answers(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(path, tmp_path / "never")
    note = tmp_path / "pid"
    program(path, "dockerd", f"#!/bin/sh\necho $$ > {note}.new && /bin/mv {note}.new {note}\nexec /bin/sleep 60\n")
    monkeypatch.setattr(engine, "START_SECONDS", 0.5)
    try:
        with pytest.raises(LabError, match=r"gave no answer in 0 s|gave no answer in 1 s"):
            engine.ensure()
    finally:
        deadline = time.monotonic() + 10
        while not note.exists():
            assert time.monotonic() < deadline, "the stand-in of dockerd was never started"
            time.sleep(0.02)
        os.kill(int(note.read_text()), signal.SIGKILL)


def test_pid_file_of_an_engine_that_is_gone_is_removed(path: Path, tmp_path: Path) -> None:
    """The number belongs to another process now; dockerd would refuse to start."""
    up = tmp_path / "up"
    docker(path, up)
    engine.PID_FILE.write_text(str(os.getpid()))
    program(path, "dockerd", f"#!/bin/sh\n[ -e {engine.PID_FILE} ] && exit 1\n: > {up}\n")
    engine.ensure()
    assert not engine.PID_FILE.exists()


@pytest.mark.parametrize(
    ("content", "comm", "stale"),
    [("77", "dockerd", False), ("77", "bash", True), ("77", None, True), ("", None, True), (None, None, False)],
)
def test_stale_pid_file(tmp_path: Path, content: str | None, comm: str | None, stale: bool) -> None:
    if content is not None:
        (tmp_path / "docker.pid").write_text(content)
    if comm:
        (tmp_path / "77").mkdir()
        (tmp_path / "77/comm").write_text(f"{comm}\n")
    assert engine.is_stale(tmp_path / "docker.pid", tmp_path) is stale


def test_systemds_engine_that_does_not_start(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(path, "docker", SILENT)
    program(path, "dockerd", "#!/bin/sh\nexit 1\n")
    program(path, "systemctl", "#!/bin/sh\necho 'Job for docker.service failed.' >&2\nexit 1\n")
    monkeypatch.setattr(engine, "has_systemd", lambda: True)
    with pytest.raises(LabError, match=r"(?s)Job for docker\.service failed.*journalctl -u docker"):
        engine.ensure()
