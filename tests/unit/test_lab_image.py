"""The base image's decisions and what a failed build leaves; and where its packages come from. No image is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab import image, sources
from lab.common import LabError

from .modules import program


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of programs that are found first; the cache is the test's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("NANO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(image.os, "geteuid", lambda: 0)
    monkeypatch.setattr(image, "check_disk", lambda path, least_gb: None)
    monkeypatch.setattr(image.shutil, "which", lambda name, path=None: f"/usr/bin/{name}")
    return folder


def labelled(path: Path, label: str) -> None:
    """Put a client there whose engine holds an image with this label."""
    program(path, "docker", f"#!/bin/sh\necho '{label}'\n")


def without_image(path: Path, tmp_path: Path, imported: str = "exit 1") -> None:
    """Put a client there whose engine holds no image; it notes what it is asked."""
    text = (
        f'#!/bin/sh\necho "$1 $2 $3" >> {tmp_path}/asked\n[ "$1" = import ] && {{ cat > {tmp_path}/sent; {imported}; }}'
    )
    program(path, "docker", f'{text}\n[ "$1 $2" != "image inspect" ]\n')


def temporary(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache").glob("*.tmp")]


def fill(text: str) -> Callable[[Path, str, Path], None]:
    """Return a stand-in for debootstrap's minutes."""

    def write(root: Path, suite: str, log: Path) -> None:
        (root / "marker").write_text(text)

    return write


def test_image_of_this_file_is_kept(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled(path, image.content_hash("trixie"))
    image.ensure("trixie")
    assert "nano-lab:trixie is there" in capsys.readouterr().out


def test_image_of_an_older_file_is_made_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled(path, "0" * 64)
    made: list[str] = []
    monkeypatch.setattr(image, "_fill", fill("x"))
    monkeypatch.setattr(image, "_import", lambda root, suite: made.append((root / "marker").read_text() + suite))
    image.ensure("trixie")
    assert made == ["xtrixie"]


def test_each_suite_has_a_label_of_its_own() -> None:
    assert len({image.content_hash(suite) for suite in image.SUITES}) == len(image.SUITES)


def test_unknown_suite() -> None:
    with pytest.raises(LabError, match="suite 'sid' is not one of trixie, bookworm"):
        image.ensure("sid")


def test_no_root(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_image(path, tmp_path)
    monkeypatch.setattr(image.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"needs root.*run this once as root"):
        image.ensure("trixie")


def test_missing_tool_is_named_with_its_packages(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_image(path, tmp_path)
    monkeypatch.setattr(image.shutil, "which", lambda name, path=None: None if name == "debootstrap" else name)
    with pytest.raises(LabError, match="debootstrap is missing: apt-get install debootstrap"):
        image.ensure("trixie")


def test_failed_build_leaves_no_tree_and_no_image(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_image(path, tmp_path)

    def broken(root: Path, suite: str, log: Path) -> None:
        (root / "half").write_text("x")
        raise LabError("could not debootstrap trixie")

    monkeypatch.setattr(image, "_fill", broken)
    with pytest.raises(LabError, match="could not debootstrap"):
        image.ensure("trixie")
    assert temporary(tmp_path) == []
    assert "tag" not in (tmp_path / "asked").read_text()


def test_what_a_killed_build_left_is_removed_but_not_another_suites(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_image(path, tmp_path)
    for name in ("image-trixie-dead.tmp", "image-bookworm-live.tmp"):
        (tmp_path / "cache" / name).mkdir(parents=True)
    monkeypatch.setattr(image, "_fill", fill("x"))
    monkeypatch.setattr(image, "_import", lambda root, suite: None)
    image.ensure("trixie")
    assert temporary(tmp_path) == ["image-bookworm-live.tmp"]


def test_image_is_named_when_all_of_it_arrived(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_image(path, tmp_path, "echo sha256:abc; exit 0")
    monkeypatch.setattr(image, "_fill", fill("x"))
    image.ensure("trixie")
    assert (tmp_path / "asked").read_text().splitlines()[-1] == "tag sha256:abc nano-lab:trixie"
    assert b"./marker" in (tmp_path / "sent").read_bytes()


@pytest.mark.parametrize("culprit", ["docker", "tar"])
def test_import_that_fails_names_no_image(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, culprit: str
) -> None:
    without_image(
        path, tmp_path, "echo 'no space left' >&2; exit 1" if culprit == "docker" else "echo sha256:half; exit 0"
    )
    if culprit == "tar":
        program(path, "tar", "#!/bin/sh\necho part of a tree\nexit 2\n")
    monkeypatch.setattr(image, "_fill", fill("x"))
    with pytest.raises(LabError, match="no space left" if culprit == "docker" else "tar's code 2"):
        image.ensure("trixie")
    asked = (tmp_path / "asked").read_text()
    assert "tag" not in asked
    assert ("image rm sha256:half" in asked) is (culprit == "tar"), "half an image is not kept"
    assert temporary(tmp_path) == []


def apt(tmp_path: Path, one_line: str = "", stanzas: str = "") -> tuple[str, str]:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(one_line)
    (tmp_path / "sources.list.d/debian.sources").write_text(stanzas)
    return sources.machine_mirrors(tmp_path)


def test_mirrors_of_one_line_sources(tmp_path: Path) -> None:
    text = """\
# deb https://old.example.com/debian trixie main
deb [signed-by=/usr/share/keyrings/debian.gpg] https://mirror.example.com/debian/ trixie main
deb https://mirror.example.com/debian trixie-updates main
deb https://security.example.com/debian-security trixie-security main
"""
    expected = ("https://mirror.example.com/debian", "https://security.example.com/debian-security")
    assert apt(tmp_path, text) == expected


def test_mirrors_of_deb822_sources(tmp_path: Path) -> None:
    text = """\
Enabled: no
Types: deb
URIs: https://off.example.com/debian
Suites: trixie

Types: deb-src
URIs: https://sources.example.com/debian
Suites: trixie

Types: deb
# the nearest one
URIs: https://near.example.com/debian
Suites: trixie trixie-updates
Components: main

Types: deb
URIs: https://near.example.com/security
Suites: trixie-security
"""
    assert apt(tmp_path, "", text) == ("https://near.example.com/debian", "https://near.example.com/security")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "deb http://archive.ubuntu.com/ubuntu noble main",
        "deb cdrom:[Debian 13]/ trixie main",
        "deb file:/srv/debian trixie main",
    ],
)
def test_machine_without_a_debian_mirror_is_told_what_is_missing(tmp_path: Path, line: str) -> None:
    with pytest.raises(LabError, match=r"sources\.list .*name no Debian mirror .*needs a Debian machine"):
        apt(tmp_path, f"{line}\n")


def test_security_mirror_lies_beside_the_other_unless_it_is_named(tmp_path: Path) -> None:
    text = "deb https://mirror.example.com/debian trixie main\n"
    assert apt(tmp_path, text)[1] == "https://mirror.example.com/debian-security"


def test_proxy_of_the_machine_is_passed_on(path: Path) -> None:
    dump = 'Acquire::http::Proxy "http://proxy:3128";\nAcquire::Languages "none";\nAcquire::https::Proxy "DIRECT";'
    program(path, "apt-config", f"#!/bin/sh\ncat <<'END'\n{dump}\nEND\n")
    assert sources.proxy_settings() == ('Acquire::http::Proxy "http://proxy:3128";\nAcquire::https::Proxy "DIRECT";\n')
