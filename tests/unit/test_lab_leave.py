"""Leaving takes what the lab made, by name, and nothing beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import leave


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return what the engine was asked, with a lab that has been up."""
    calls: list[str] = []

    def docker(*argv: str) -> str:
        calls.append(" ".join(argv))
        listing = {"network": "bridge\nnano-lab\nshop", "images": "nano-lab:trixie\nshop:1\nnano-lab:other"}
        return listing.get(argv[0], "") if argv[-1].startswith("{{") else ""

    monkeypatch.setattr(leave.hosts, "docker", docker)
    monkeypatch.setattr(leave.hosts, "destroy", lambda env, scenario: calls.append(f"destroy {scenario}"))
    monkeypatch.setattr(leave, "STATE", tmp_path / "state")
    monkeypatch.setattr(leave, "VAULT", tmp_path / "vault.yml")
    monkeypatch.setenv("NANO_CACHE", str(tmp_path / "cache"))
    for name in ("state/ssh/known_hosts", "state/vault-password", "vault.yml", "cache/mirror/a/1/a.tar.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "cache/my thesis").mkdir()
    return calls


def test_down_takes_the_hosts_and_their_network(asked: list[str], tmp_path: Path) -> None:
    leave.down(tmp_path / "cache/mirror")
    assert [call for call in asked if not call.startswith("network ls")] == [
        "destroy default",
        "destroy all_in_one",
        "network rm nano-lab",
    ]
    assert (tmp_path / "state/vault-password").exists() and (tmp_path / "cache/mirror").exists()
    assert not (tmp_path / "state/ssh/known_hosts").exists()


def test_clean_takes_what_was_made_for_them_and_nothing_of_others(asked: list[str], tmp_path: Path) -> None:
    leave.clean(tmp_path / "cache/mirror")
    assert [call for call in asked if call.startswith("image rm")] == ["image rm nano-lab:trixie"]
    assert not (tmp_path / "state").exists() and not (tmp_path / "vault.yml").exists()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["my thesis"]
