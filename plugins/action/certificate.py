"""Controller's half of nano.ops.certificate: it holds the CA and signs; the key of a host never leaves the host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.nano.ops.plugins.plugin_utils import authority

ON_HOST = ("common_name", "names", "addresses", "days", "renew", "directory", "group")


class ActionModule(ActionBase):
    """Ask the host what it has, sign what it asks for."""

    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        missing = {"ca_directory", "ca_passphrase", "common_name"} - set(args)
        unknown = set(args) - {"ca_directory", "ca_passphrase", *ON_HOST}
        if missing or unknown:
            raise AnsibleActionFail(f"certificate: missing {sorted(missing)}, unknown {sorted(unknown)}")
        directory = Path(os.path.expanduser(str(args["ca_directory"])))
        passphrase = str(args["ca_passphrase"])
        on_host = {name: args[name] for name in ON_HOST if name in args}
        on_host["renew"] = boolean(on_host.get("renew", False))
        try:
            on_host["ca"] = authority.ensure(directory, passphrase, create=not self._task.check_mode)
            result: dict[str, Any] = self._execute_module(
                module_name="nano.ops.certificate", module_args=on_host, task_vars=task_vars
            )
            request = result.pop("request", "")
            if result.get("failed") or not request:
                return result
            on_host["certificate"] = authority.sign(
                directory,
                passphrase,
                request,
                str(args["common_name"]),
                [str(name) for name in args.get("names", [])],
                [str(address) for address in args.get("addresses", [])],
                int(args.get("days", 365)),
            )
        except (authority.AuthorityError, OSError, ValueError) as error:
            # Without the cause: Ansible would tell the same twice.
            raise AnsibleActionFail(str(error)) from None
        reason = result.get("reason", "")
        result = self._execute_module(module_name="nano.ops.certificate", module_args=on_host, task_vars=task_vars)
        return {**result, "reason": reason}
