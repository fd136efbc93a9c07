"""What can be wrong with the hosts that keep the record of who is the primary."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.nano.ops.plugins.plugin_utils.inventory import Inventory, Problem


def check_primary_record(inventory: Inventory) -> Iterator[Problem]:
    """Keepers of whom a majority survives the loss of the site that serves."""
    keepers = inventory.groups.get("primary_record", [])
    if not keepers:
        return
    where = "group primary_record"
    if len(keepers) not in (3, 5):
        yield Problem(
            where, f"members: there are {len(keepers)}, and a majority is clear with 3 or 5; add or remove hosts"
        )
    if not inventory.groups.get("postgresql"):
        yield Problem(where, "members: there is no group postgresql whose primary they could record; remove the group")
    for site in sorted(group for group in inventory.groups if group.startswith("site_")):
        inside = [host for host in keepers if host in inventory.groups[site]]
        begins = [
            host
            for host in inventory.groups.get("postgresql", [])
            if host in inventory.groups[site] and inventory.get(host, "postgresql_role") == "primary"
        ]
        if len(inside) == len(keepers):
            yield Problem(where, f"members: all are in {site}, whose loss takes the record along; spread them")
        elif begins and len(inside) > len(keepers) // 2:
            yield Problem(
                where,
                f"members: {' and '.join(inside)} are a majority and in {site}, as the primary {begins[0]} is; its "
                "loss would take the record along; move one to another site",
            )
