"""Controller's half of nano.ops.program: looks the program up in the catalogue."""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

CATALOGUE = Path(__file__).resolve().parents[2] / "catalogue.yml"


@functools.cache
def catalogue(path: Path = CATALOGUE) -> dict[str, Any]:
    """Return the programs of the catalogue."""
    programs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["programs"]
    return programs


def look_up(args: dict[str, Any], programs: dict[str, Any]) -> dict[str, Any]:
    """Return the module's options with the program's entry and version filled in.

    Raises:
        AnsibleActionFail: no such program, or a version that is none.
    """
    name = str(args.get("name", ""))
    if name not in programs:
        close = difflib.get_close_matches(name, programs, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(programs))}"
        raise AnsibleActionFail(f"program: the catalogue has no {name!r}; {hint}")
    entry = programs[name]
    if entry["method"] == "package":
        raise AnsibleActionFail(f"program: {name} is not installed from a release; use Debian's {entry['package']}")
    version = str(args.get("version") or entry["version"])
    if not re.fullmatch(r"[0-9][0-9A-Za-z.+~-]*", version):
        raise AnsibleActionFail(f"program: {version!r} is not a version; write one such as {entry['version']}")
    return {**args, "name": name, "version": version, "entry": entry}


class ActionModule(ActionBase):
    """Hand the catalogue's entry to the host."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        args = look_up(dict(self._task.args), catalogue())
        result: dict[str, Any] = self._execute_module(
            module_name="nano.ops.program", module_args=args, task_vars=task_vars
        )
        return result
