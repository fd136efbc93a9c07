"""Controller's half of nano.ops.postgresql_restore: checks the options first, and shows how a long step gets on."""

from __future__ import annotations

import time
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.nano.ops.plugins.module_utils import restore_options
from ansible_collections.nano.ops.plugins.plugin_utils.progress import Pace

# How long the host may be out of reach in a step that goes on there without us, in seconds.
PATIENCE = 300
LONG = ("restored", "recovered")
display = Display()


class ActionModule(ActionBase):
    """Call the module until its step is done."""

    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        if args.get("state") in ("planned", "restored"):
            try:
                restore_options.wanted(args, time.time())
            except restore_options.RestoreError as error:
                raise AnsibleActionFail(str(error)) from error
        pace = Pace()
        host = (task_vars or {}).get("inventory_hostname", "")
        changed = False
        while True:
            result = self._call(args, task_vars)
            changed = changed or bool(result.get("changed"))
            if result.get("failed") or result.get("unreachable") or args.get("state") not in LONG or result["is_done"]:
                return {**result, "changed": changed}
            # What was begun goes on; it would begin once more.
            args["anew"] = False
            display.display(f"{host}: {words(str(args['state']), result, pace)}")

    def _call(self, args: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Call the module; a host that is away for a while is asked again."""
        lost = 0.0
        while True:
            try:
                done: dict[str, Any] = self._execute_module(
                    module_name="nano.ops.postgresql_restore", module_args=args, task_vars=task_vars
                )
                return done
            except AnsibleConnectionFailure:
                lost = lost or time.monotonic()
                if args.get("state") not in LONG or time.monotonic() - lost > PATIENCE:
                    raise
                display.display("connection lost; what was begun goes on, asking again in 5 s")
                time.sleep(5)


def words(state: str, result: dict[str, Any], pace: Pace) -> str:
    """Return how far a step is, as a line for people."""
    share = float(result.get("percent") or 0)
    left = pace.left(share)
    if state == "restored":
        return f"copied {share:.0f} %{left}"
    where = result.get("lsn") or result.get("segment") or "waiting for the first WAL"
    until = f", transactions until {result['time']}" if result.get("time") else ""
    return f"replayed {where}{until}" + (f", {share:.0f} %{left}" if share else "")
