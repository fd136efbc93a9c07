"""The report of a procedure, kept on the controller."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.nano.ops.plugins.plugin_utils import report, report_page, report_text

LISTS = ("phases", "notes", "tables", "next")
OPTIONS = {
    "begun": {"procedure", "subject", "phases", "directory", "rto_from", "rto_until", "again"},
    "phase": {"path", "name"},
    "noted": {"path", "facts", "measures", "objectives", "notes", "tables"},
    "ended": {"path", "outcome", "error", "next", "facts", "measures", "objectives", "notes", "tables"},
}


class ActionModule(ActionBase):
    """Keep a report."""

    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        state = str(args.pop("state", ""))
        if state not in OPTIONS:
            raise AnsibleActionFail(f"state: {state!r} is none of {', '.join(OPTIONS)}")
        if unknown := sorted(set(args) - OPTIONS[state]):
            raise AnsibleActionFail(
                f"{unknown[0]}: no option of state {state}; there are {', '.join(sorted(OPTIONS[state]))}"
            )
        for name in LISTS:
            if name in args and not isinstance(args[name], list):
                raise AnsibleActionFail(f"{name}: is no list")
        try:
            # A check run leaves no report of what it has not done.
            return self._begin(args, task_vars or {}) if state == "begun" else self._go_on(state, args)
        except (report.ReportError, KeyError, OSError) as error:
            missing = f"{error.args[0]}: missing, state {state} needs it" if isinstance(error, KeyError) else str(error)
            raise AnsibleActionFail(missing) from error

    def _begin(self, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Begin a report."""
        folder = Path(args.get("directory") or f"{task_vars.get('inventory_dir') or '.'}.reports").absolute()
        clock = (str(args.get("rto_from", "")), str(args.get("rto_until", "")))
        now = datetime.now(UTC)
        made = report.begin(
            str(args["procedure"]),
            str(args["subject"]),
            args["phases"],
            now,
            clock=clock,
            again=str(args.get("again", "")),
        )
        path = folder / f"{made['id']}.json"
        if self._task.check_mode:
            return {"changed": False, "path": "", "id": made["id"]}
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        number = 2
        while path.exists():
            path = folder / f"{made['id']}-{number}.json"
            number += 1
        made["id"] = path.stem
        return self._keep(path, made)

    def _go_on(self, state: str, args: dict[str, Any]) -> dict[str, Any]:
        """Add to a report, or end it."""
        if self._task.check_mode or not args.get("path"):
            return {"changed": False, "path": "", "metrics": "", "summary": []}
        path, now = Path(str(args["path"])), datetime.now(UTC)
        made = report.load(path)
        if state == "phase":
            report.phase(made, str(args["name"]), now)
        else:
            report.note(made, args)
        if state == "ended":
            outcome = str(args["outcome"])
            if outcome not in report.OUTCOMES:
                raise AnsibleActionFail(f"outcome: {outcome!r} is none of {', '.join(report.OUTCOMES)}")
            report.end(made, outcome, now, error=str(args.get("error") or "").strip(), following=args.get("next"))
        return self._keep(path, made)

    def _keep(self, path: Path, made: dict[str, Any]) -> dict[str, Any]:
        """Write a report in all its forms."""
        earlier = report.earlier(path, made)
        report.save(path, json.dumps(made, indent=1) + "\n")
        report.save(path.with_suffix(".md"), report_text.markdown(made, earlier))
        report.save(path.with_suffix(".html"), report_page.page(made, earlier))
        return {
            # On the controller; no host was changed.
            "changed": False,
            "path": str(path),
            "id": made["id"],
            "outcome": made["outcome"],
            "metrics": report.metrics(made),
            "summary": [*report_text.summary(made), f"report: {path.with_suffix('.html')}"],
        }
