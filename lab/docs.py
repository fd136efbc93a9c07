"""Write what can be derived: each role's README and docs/variables.md, from the roles' argument specifications."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Written by python -m lab.docs from meta/argument_specs.yml; edit that. -->"


def plain(text: Any) -> str:
    """Turn Ansible's markup, such as C(x), into Markdown on one line that a table can hold."""
    paragraphs = text if isinstance(text, list) else [text]
    joined = " ".join(" ".join(str(paragraph).split()) for paragraph in paragraphs)
    return re.sub(r"\b[CIOV]\(([^)]*)\)", r"`\1`", joined).replace("|", "\\|")


def kind(option: dict[str, Any]) -> str:
    """Name the type of an option with its elements and choices."""
    name = str(option.get("type", "str"))
    if "elements" in option:
        name += f" of {option['elements']}"
    if choices := option.get("choices"):
        name += ": " + ", ".join(f"`{choice}`" for choice in choices)
    return name


def default(option: dict[str, Any]) -> str:
    """Show the default of an option as one would write it."""
    if option.get("required"):
        return "**required**"
    value = option.get("default")
    if value is None:
        return ""
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`"


def table(options: dict[str, Any]) -> list[str]:
    """List the variables of a role."""
    rows = [
        f"| `{name}` | {kind(option)} | {default(option)} | {plain(option.get('description', ''))} |"
        for name, option in options.items()
    ]
    return ["| Variable | Type | Default | Meaning |", "| --- | --- | --- | --- |", *rows] if rows else ["None."]


def load(path: Path) -> Any:
    """Read a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def example(role: str, options: dict[str, Any]) -> list[str]:
    """Write a play that uses the role."""
    host = [] if role == "host" else ["    - role: nano.ops.host"]
    group = "all" if role in ("host", "node_exporter") else role
    group = {"postgres_exporter": "postgresql", "redis_exporter": "redis"}.get(role, group)
    needed = [name for name, option in options.items() if option.get("required")]
    lines = ["```yaml", f"- hosts: {group}", "  become: true", "  gather_facts: false", "  roles:"]
    lines += [*host, f"    - role: nano.ops.{role}"]
    if needed:
        lines += ["      vars:", *(f'        {name}: "{{{{ vault_{name} }}}}"' for name in needed)]
    return [*lines, "```"]


def role_page(role: Path) -> str:
    """Return the README of a role."""
    spec = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]
    options = spec.get("options") or {}
    info = load(role / "meta" / "main.yml")["galaxy_info"]
    systems = [f"{system['name']} {', '.join(map(str, system['versions']))}" for system in info["platforms"]]
    description = spec.get("description", [])
    paragraphs = description if isinstance(description, list) else [description]
    lines = [NOTE, f"# nano.ops.{role.name}", "", f"{plain(spec['short_description'])}.", ""]
    for paragraph in paragraphs:
        lines += [plain(paragraph), ""]
    lines += [f"Runs on {'; '.join(systems)}, with Ansible {info['min_ansible_version']} or newer.", ""]
    lines += ["## Example", "", *example(role.name, options), "", "## Variables", "", *table(options)]
    return "\n".join(lines) + "\n"


def pages(root: Path) -> dict[Path, str]:
    """Return every page with its text."""
    roles = sorted(path.parents[1] for path in (root / "roles").glob("*/meta/argument_specs.yml"))
    found = {role / "README.md": role_page(role) for role in roles}
    lines = [NOTE, "# Variables", "", "Every public variable of every role."]
    for role in roles:
        spec = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]
        lines += ["", f"## {role.name}", "", f"{plain(spec['short_description'])}.", "", *table(spec["options"] or {})]
    found[root / "docs" / "variables.md"] = "\n".join(lines) + "\n"
    return found


def stale(root: Path) -> list[Path]:
    """Return the pages whose file is missing or differs."""
    return [
        path for path, text in pages(root).items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with --check only say which are stale; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab.docs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if a page is stale")
    check = parser.parse_args(arguments).check
    old = stale(ROOT)
    texts = pages(ROOT)
    for path in old:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path], encoding="utf-8")
        print(f"{'stale' if check else 'wrote'} {path.relative_to(ROOT)}")
    if check and old:
        print("run: python -m lab.docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
