"""Checks the whole inventory on the controller before any host is touched."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template
from ansible_collections.nano.ops.plugins.plugin_utils import inventory_check, role_checks
from ansible_collections.nano.ops.plugins.plugin_utils.inventory import SECRET, Inventory, Unresolved, relevant

ROLES = Path(__file__).resolve().parents[2] / "roles"


def read_specs(roles: Path) -> dict[str, Any]:
    """Return the options of each role that has an argument specification."""
    return {
        path.parents[1].name: yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
        for path in sorted(roles.glob("*/meta/argument_specs.yml"))
    }


class ActionModule(ActionBase):
    """Say everything that is wrong at once."""

    _supports_check_mode = True
    _supports_diff = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        if self._task.args:
            raise AnsibleActionFail("check_inventory takes no options; remove them from the task")
        variables = task_vars or {}
        specs = read_specs(ROLES)
        groups = {name: list(members) for name, members in variables["groups"].items()}
        hosts = {name: self._resolve(name, variables["hostvars"], specs) for name in groups["all"]}
        evaluate = partial(self._evaluate, variables["hostvars"])
        more = list(role_checks.problems(role_checks.rooms(ROLES), groups, evaluate))
        found = inventory_check.problems(Inventory(hosts, groups, specs), more)
        if found:
            count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
            lines = "\n".join(f"  {line}" for line in found)
            raise AnsibleActionFail(f"{count} in the inventory, nothing was changed:\n{lines}")
        checked = sum(relevant(name, specs) for host in hosts.values() for name in host)
        return {"changed": False, "hosts": len(hosts), "variables_checked": checked}

    def _resolve(self, host: str, hostvars: Any, specs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variables of a host; the values that no check looks at stay as they are."""
        raw = hostvars.raw_get(host)
        templar = self._templar.copy_with_new_env(available_variables={**raw, "hostvars": hostvars})
        resolved = {}
        for name, value in raw.items():
            if relevant(name, specs):
                try:
                    value = templar.template(value)
                except AnsibleError as error:
                    reason = str(error).splitlines()[0]
                    # An error may quote what it stumbled over: nothing of a secret's goes on.
                    told = "its template fails" if SECRET.search(name) else reason
                    value = Unresolved("" if "ansible_facts" in f"{value} {reason}" else told)
            resolved[name] = value
        return resolved

    def _evaluate(self, hostvars: Any, host: str, role: str, room: role_checks.Room) -> list[Mapping[str, Any]] | None:
        """Return the checks of a role on a host, None where one of its values cannot be computed."""
        own = {**trusted(room.defaults), **hostvars.raw_get(host), **trusted(room.internals), "hostvars": hostvars}
        templar = self._templar.copy_with_new_env(available_variables=own)
        try:
            found: list[Mapping[str, Any]] = templar.template(own[f"__{role}_checks"])
        except AnsibleError:
            # A variable that is missing or refers to nothing is told by the checks of the inventory itself.
            return None
        return found


def trusted(value: Any) -> Any:
    """Return data of the collection's own files with its texts marked as templates."""
    if isinstance(value, Mapping):
        return {key: trusted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [trusted(each) for each in value]
    return trust_as_template(value) if isinstance(value, str) else value
