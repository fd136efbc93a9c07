"""The generated pages: written, found stale, and safe from what a description may hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab import docs

OPTIONS: dict[str, Any] = {
    "cache_port": {"type": "int", "default": 6379, "description": "Port, see C(redis.conf)."},
    "cache_mode": {"type": "str", "choices": ["a", "b"], "default": "a", "description": ["One | of", "two."]},
    "cache_password": {"type": "str", "required": True, "description": "Password."},
    "cache_tags": {"type": "list", "elements": "str", "default": [], "description": "Tags."},
    "cache_note": {"type": "str", "default": "", "description": "Note."},
    "cache_limit": {"type": "int", "description": "No default."},
}


@pytest.fixture
def role(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    role = tmp_path / "roles/cache"
    (role / "meta").mkdir(parents=True)
    specify(role, OPTIONS)
    info = {"platforms": [{"name": "Debian", "versions": ["bookworm", "trixie"]}], "min_ansible_version": "2.19"}
    (role / "meta/main.yml").write_text(json.dumps({"galaxy_info": info}))
    return role


def specify(role: Path, options: dict[str, Any]) -> None:
    main = {"short_description": "A cache", "description": ["First.", "Second."], "options": options}
    (role / "meta/argument_specs.yml").write_text(json.dumps({"argument_specs": {"main": main}}))


def rows(page: str) -> dict[str, list[str]]:
    """Return variable to the cells of its line."""
    lines = [line.replace("\\|", "¦").strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_every_variable_has_a_line_of_four_cells(role: Path) -> None:
    assert rows(docs.role_page(role)) == {
        "cache_port": ["int", "`6379`", "Port, see `redis.conf`."],
        "cache_mode": ["str: `a`, `b`", "`a`", "One ¦ of two."],
        "cache_password": ["str", "**required**", "Password."],
        "cache_tags": ["list of str", "`[]`", "Tags."],
        "cache_note": ["str", '`""`', "Note."],
        "cache_limit": ["int", "", "No default."],
    }


def test_page_shows_how_to_use_the_role(role: Path) -> None:
    page = docs.role_page(role)
    assert "# nano.ops.cache\n\nA cache.\n\nFirst.\n\nSecond.\n" in page
    assert "Debian bookworm, trixie" in page
    assert "- hosts: cache\n" in page
    assert '        cache_password: "{{ vault_cache_password }}"\n' in page
    assert "vault_cache_port" not in page, "only what must be set is in the example"


def test_pages_are_written_and_then_left_alone(role: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(["--check"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["stale roles/cache/README.md", "stale docs/variables.md"]
    assert captured.err == "run: python -m lab.docs\n"
    assert not (role / "README.md").exists(), "a check writes nothing"
    assert docs.main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["wrote roles/cache/README.md", "wrote docs/variables.md"]
    assert docs.main(["--check"]) == 0
    assert docs.main([]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("change", ["specification", "page"])
def test_what_was_changed_by_hand_is_found(role: Path, change: str) -> None:
    docs.main([])
    if change == "page":
        (role / "README.md").write_text("better words")
        assert docs.stale(docs.ROOT) == [role / "README.md"]
    else:
        specify(role, {**OPTIONS, "cache_new": {"type": "int", "description": "New."}})
        assert docs.stale(docs.ROOT) == [role / "README.md", docs.ROOT / "docs/variables.md"]
    docs.main([])
    assert docs.stale(docs.ROOT) == []


def test_role_without_options(role: Path) -> None:
    specify(role, {})
    assert docs.role_page(role).endswith("## Variables\n\nNone.\n")
