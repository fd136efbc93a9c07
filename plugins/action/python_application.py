"""Controller's half of nano.ops.python_application: builds the wheelhouse and sends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.nano.ops.plugins.plugin_utils import wheelhouse

OWN = ("sources", "requirements", "wheelhouse")
MODULE = "nano.ops.python_application"


class ActionModule(ActionBase):
    """Look at the host, build what it lacks, install it."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        sources = [Path(source) for source in args.get("sources", [])]
        requirements = Path(str(args.get("requirements", "")))
        try:
            version = wheelhouse.version(sources, requirements)
            handed = {name: value for name, value in args.items() if name not in OWN} | {"version": version}
            handed.setdefault("state", "present")
            seen = self._execute_module(MODULE, {**handed, "state": "look"}, task_vars=task_vars)
            if seen.get("failed"):
                return dict(seen)
            if not seen["there"] and not self._task.check_mode:
                archive = wheelhouse.ensure(
                    Path(args.get("wheelhouse") or wheelhouse.cache()),
                    f"{args['name']}-{version}",
                    sources,
                    requirements,
                    seen["python"],
                    seen["machine"],
                )
                handed["archive"] = self._send(archive)
        except wheelhouse.WheelhouseError as error:
            raise AnsibleActionFail(f"python_application: {args.get('name')}: {error}") from error
        if seen["there"] and (handed["state"] == "staged" or seen["current"] == version):
            return {"changed": False, "version": version, "current": seen["current"]}
        result: dict[str, Any] = self._execute_module(MODULE, handed, task_vars=task_vars)
        self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _send(self, archive: Path) -> str:
        """Copy the archive to the host and return its path there."""
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        remote: str = self._connection._shell.join_path(self._connection._shell.tmpdir, archive.name)
        self._transfer_file(str(archive), remote)
        self._fixup_perms2([self._connection._shell.tmpdir, remote])
        return remote
