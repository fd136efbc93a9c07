"""Controller's half of nano.ops.run_unit: shows each line as it comes."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

COLOURS = {"error": "red", "warning": "purple"}


class ActionModule(ActionBase):
    """Start, look again and again, fail as the unit did."""

    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        display, host = Display(), (task_vars or {}).get("inventory_hostname", "")
        said: list[dict[str, str]] = []
        args = {"unit": self._task.args.get("unit")}
        while True:
            # What is asked every few seconds does not need a line each in the host's journal.
            state: dict[str, Any] = self._execute_module(
                module_name="nano.ops.run_unit",
                module_args=args,
                task_vars={**(task_vars or {}), "ansible_no_target_syslog": True},
            )
            if state.get("failed"):
                return state
            for line in state["lines"]:
                display.display(f"  {host} | {line['message']}", color=COLOURS.get(line["level"]))
            said += state["lines"]
            if state["ended"]:
                break
            args = {**args, "place": state["place"], "cursor": state["cursor"]}
        result = {"changed": True, "lines": said}
        if not state["code"]:
            return result
        errors = [line["message"] for line in said if line["level"] == "error"]
        text = errors[-1] if errors else f"look at journalctl --unit={args['unit']}"
        # They were shown.
        return {"changed": True, "failed": True, "msg": f"{args['unit']} failed: {text}"}
