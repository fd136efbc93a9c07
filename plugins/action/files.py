"""Controller's half of nano.ops.files: fills in the role's templates."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

SOURCES = {"template": "ansible.builtin.template", "copy": "ansible.builtin.file"}


class ActionModule(ActionBase):
    """Send the text of all files in one go."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = True

    def text(self, entry: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        """Return the module's entry of a file, with its text.

        Raises:
            AnsibleActionFail: it has no source, or two.
        """
        given = [name for name in (*SOURCES, "content", "link") if entry.get(name) is not None]
        if len(given) != 1:
            raise AnsibleActionFail(
                f"files: {entry.get('dest', 'an entry')} needs exactly one of template, copy, content and link"
            )
        if given[0] not in SOURCES:
            return entry
        lookup = lookup_loader.get(SOURCES[given[0]], loader=self._loader, templar=self._templar)
        options = {"rstrip": False} if given[0] == "copy" else {}
        (content,) = lookup.run([entry[given[0]]], variables=variables, **options)
        return {**{name: value for name, value in entry.items() if name not in SOURCES}, "content": content}

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        args = dict(self._task.args)
        args["files"] = [self.text(dict(entry), task_vars or {}) for entry in args.get("files", [])]
        # Else every module notes its options in the host's journal, and these hold secrets.
        quiet = {**(task_vars or {}), "ansible_no_target_syslog": True}
        result: dict[str, Any] = self._execute_module(module_name="nano.ops.files", module_args=args, task_vars=quiet)
        return result
