"""Nano.ops.platform_archive: folders of the controller, encrypted with the vault's password, on a host."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.parsing.vault import VaultLib
from ansible.plugins.action import ActionBase
from ansible_collections.nano.ops.plugins.plugin_utils import platform_archive

NEEDED = {"directories", "dest"}
OPTIONS = {*NEEDED, "owner", "group"}


class ActionModule(ActionBase):
    """Pack, look whether the host has it, and only then encrypt and send."""

    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = True

    def module(self, name: str, args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Run a module on the host. Raises AnsibleActionFail when it fails."""
        result: dict[str, Any] = self._execute_module(module_name=name, module_args=args, task_vars=task_vars)
        if result.get("failed"):
            raise AnsibleActionFail(str(result.get("msg", "failed")), result=result)
        return result

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        args, variables = dict(self._task.args), task_vars or {}
        if missing := NEEDED - set(args) or set(args) - OPTIONS:
            raise AnsibleActionFail(f"platform_archive: {sorted(missing)} missing or unknown")
        secrets = self._loader._vault.secrets if self._loader._vault else []
        if not secrets:
            raise AnsibleActionFail(
                "the platform's archive is encrypted with the vault's password, and none was given: name its file with "
                "ANSIBLE_VAULT_PASSWORD_FILE or --vault-password-file, or set backup_platform_archive: false"
            )
        folders = {name: Path(path) for name, path in args["directories"].items()}
        if self._task.check_mode and not all(path.is_dir() for path in folders.values()):
            # The first run makes the CA before this.
            return {"changed": True, "path": ""}
        try:
            content = platform_archive.pack(folders)
        except platform_archive.ArchiveError as error:
            raise AnsibleActionFail(str(error)) from None
        digest = platform_archive.digest(content)
        look = {"paths": [args["dest"]], "patterns": [f"*-{digest}.vault"]}
        there = self.module("ansible.builtin.find", look, variables)
        if there["matched"]:
            return {"changed": False, "path": max(each["path"] for each in there["files"])}
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        path = f"{args['dest']}/{stamp}-{digest}.vault"
        owner = {"owner": args.get("owner", "root"), "group": args.get("group", "root")}
        files = {
            "directories": [{"path": args["dest"], "mode": "0700", **owner}],
            "files": [
                {
                    "dest": path,
                    "content": VaultLib(secrets).encrypt(platform_archive.compress(content)).decode("ascii"),
                    "mode": "0600",
                    "private": True,
                    **owner,
                }
            ],
        }
        quiet = {**variables, "ansible_no_target_syslog": True}
        return {**self.module("nano.ops.files", files, quiet), "path": path}
