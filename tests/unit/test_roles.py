"""Every role: its specification, its defaults and its README say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from lab import docs

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.parents[1] for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))


def options(role: Path) -> dict:
    return yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"] or {}


@pytest.fixture(params=ROLES, ids=lambda role: role.name)
def role(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_defaults_are_those_of_the_specification_in_its_order(role: Path) -> None:
    specified = [(name, option["default"]) for name, option in options(role).items() if "default" in option]
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text()) or {}
    assert list(defaults.items()) == specified


def test_required_options_have_no_default(role: Path) -> None:
    assert [name for name, option in options(role).items() if option.get("required") and "default" in option] == []


def test_every_option_has_type_and_description_and_the_prefix(role: Path) -> None:
    for name, option in options(role).items():
        assert name.startswith(f"{role.name}_")
        assert option.get("type") and option.get("description"), name


def test_readme_is_up_to_date(role: Path) -> None:
    assert (role / "README.md").read_text() == docs.role_page(role), "run: python -m lab.docs"


def test_page_of_variables_is_up_to_date() -> None:
    assert docs.stale(ROOT) == [], "run: python -m lab.docs"


def test_markup_becomes_markdown() -> None:
    assert docs.plain(["Set C(a) to", "I(b) or\n O(c) | x."]) == "Set `a` to `b` or `c` \\| x."


# Ansible's filters on sets give another order at each run: files would change, and the first of them be anybody.
UNORDERED = re.compile(
    r"\|\s*(?:intersect|union|symmetric_difference|difference)\((?:[^()]|\([^()]*\))*\)(?!\s*\|\s*(?:sort|length)\b)"
)


def test_no_order_is_left_to_chance(role: Path) -> None:
    files = [path for path in role.rglob("*") if path.suffix in (".yml", ".j2") and path.parent.name != "meta"]
    found = {str(path.relative_to(role)): UNORDERED.findall(path.read_text()) for path in files}
    assert {name: texts for name, texts in found.items() if texts} == {}, "add | sort, or use select('in', ...)"
