"""Users of a MinIO store and what each may do, by the two calls that take and give all of it as one plain archive.

MinIO encrypts its calls for a single user once more, in a way that Python's standard library cannot; these two travel
in TLS alone.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.nano.ops.plugins.module_utils.minio_policy import OURS, User, canonical
from ansible_collections.nano.ops.plugins.module_utils.s3 import Answer, Store, StoreError, read_json

ADMIN = "/minio/admin/v3"
FOLDER = "iam-assets"


@dataclass
class Found:
    """Who a store knows. Policies by name; secret, status and policies of each user."""

    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    statuses: dict[str, str] = field(default_factory=dict)
    mappings: dict[str, str] = field(default_factory=dict)

    def ours(self) -> set[str]:
        """Return the users that were made by us: there is a policy of their name."""
        return {name.removeprefix(OURS) for name in self.policies if name.startswith(OURS)}


@dataclass
class Plan:
    """What has to be done to the users of a store."""

    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict, repr=False)
    mappings: dict[str, str] = field(default_factory=dict)
    # Their temporary keys end too.
    revoked: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def empty(self) -> bool:
        """Return whether there is nothing to do."""
        return not (self.policies or self.users or self.mappings or self.removed)


def plan(wanted: Iterable[User], found: Found) -> Plan:
    """Return what differs. A user who is not wanted goes only if it is one of ours."""
    todo = Plan()
    users = {user.access_key: user for user in wanted}
    for key, user in users.items():
        name = user.policy_name()
        if canonical(found.policies.get(name, {})) != canonical(user.policy()):
            todo.policies[name] = user.policy()
        if found.secrets.get(key) != user.secret or found.statuses.get(key) != "enabled":
            todo.users[key] = user.secret
            if key in found.secrets:
                todo.revoked.append(key)
        if found.mappings.get(key) != name:
            todo.mappings[key] = name
    todo.removed = sorted(found.ours() - set(users))
    return todo


def read(store: Store) -> Found:
    """Return who a store knows.

    Raises:
        StoreError: it does not tell.
    """
    answer = store.ask("GET", f"{ADMIN}/export-iam")
    try:
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:

            def part(name: str) -> dict[str, Any]:
                return json.loads(archive.read(f"{FOLDER}/{name}.json")) or {}

            users = part("users")
            return Found(
                policies=part("policies"),
                secrets={key: user.get("secretKey", "") for key, user in users.items()},
                statuses={key: user.get("status", "") for key, user in users.items()},
                mappings={key: mapping["policy"] for key, mapping in part("user_mappings").items()},
            )
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise StoreError(f"the store's users came back in a form that is not known here: {error}") from error


def pack(todo: Plan) -> bytes:
    """Return the archive that makes what is missing or different. What it does not name stays as it is."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        parts: dict[str, dict[str, Any]] = {
            "policies": todo.policies,
            "users": {key: {"secretKey": secret, "status": "enabled"} for key, secret in todo.users.items()},
            "user_mappings": {key: {"version": 1, "policy": name} for key, name in todo.mappings.items()},
        }
        for name, value in parts.items():
            if value:
                archive.writestr(f"{FOLDER}/{name}.json", json.dumps(value))
    return content.getvalue()


def complaints(answer: Answer) -> list[str]:
    """Return the names of what a store has not taken over."""
    failed = (read_json(answer) or {}).get("failed") or {}
    return sorted(f"{kind} {entry.get('name', '')}" for kind, entries in failed.items() for entry in entries or [])


def apply(store: Store, todo: Plan) -> None:
    """Do what a plan says. A user without a policy may do nothing, so that no step on the way gives too much.

    Raises:
        StoreError: the store has refused.
    """

    def revoke() -> None:
        for key in todo.revoked:
            store.ask("POST", f"{ADMIN}/revoke-tokens/builtin", {"user": key, "fullRevoke": "true"})

    # Before as well: a run that is cut off after the new secret would find nothing left to do.
    revoke()
    if todo.policies or todo.users or todo.mappings:
        wrong = complaints(store.ask("PUT", f"{ADMIN}/import-iam-v2", body=pack(todo)))
        if wrong:
            raise StoreError(f"the store has refused {', '.join(wrong)}; its journal says why")
    revoke()
    for key in todo.removed:
        # The policy last: it is what tells a run after one that was cut off whose user this is.
        store.ask("DELETE", f"{ADMIN}/remove-user", {"accessKey": key}, also=(404,))
        store.ask("DELETE", f"{ADMIN}/remove-canned-policy", {"name": f"{OURS}{key}"})
