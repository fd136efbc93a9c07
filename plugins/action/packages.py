"""Controller's half of nano.ops.packages: asks what is missing, and calls apt for that alone."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase

# Lists older than a day, in seconds, are fetched anew before something is installed.
LISTS_VALID = 86400


class ActionModule(ActionBase):
    """Install what is missing."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        seen: dict[str, Any] = self._execute_module(
            module_name="nano.ops.packages", module_args=dict(self._task.args), task_vars=task_vars
        )
        if seen.get("failed") or not seen["missing"]:
            return seen
        args = {
            "name": seen["missing"],
            "install_recommends": False,
            "policy_rc_d": 101,
            "cache_valid_time": LISTS_VALID,
        }
        result: dict[str, Any] = self._execute_module(
            module_name="ansible.builtin.apt", module_args=args, task_vars=task_vars
        )
        return {**result, "missing": seen["missing"]}
