"""Who in a site is to become a standby again, and then the primary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.nano.ops.plugins.filter.switchover_plan import follower, members_of, primaries_of

DOCUMENTATION = r"""
name: failback_plan
short_description: Who in a site is to become a standby again, and then the primary
version_added: 0.3.0
author: nano.ops contributors
description:
  - Reads what was registered on the members of group C(postgresql) as C(switchover_seen). Nothing is done here.
positional: _input, hostvars, site
options:
  _input:
    description: The variable C(groups).
    type: dict
    required: true
  hostvars:
    description: The variable of that name.
    type: dict
    required: true
  site:
    description: The group of the site that is to serve again.
    type: str
    required: true
"""

EXAMPLES = r"""
# {{ groups | nano.ops.failback_plan(hostvars, 'site_a') }}
"""

RETURN = r"""
_value:
  description: >-
    Dict of C(host) (who is to become the primary), C(primary) (who is it), C(rebuild) (who does not follow it),
    C(groups), C(lines) and C(problems).
  type: dict
"""


def failback_plan(groups: Mapping[str, list[str]], hostvars: Mapping[str, Any], site: str) -> dict[str, Any]:
    """Make the plan."""
    members = members_of(list(groups.get("postgresql", [])), hostvars)
    here = [host for host in members if host in groups.get(site, [])]
    primaries, problems, lines = primaries_of(members), [], []
    # A switchover that was cut off has none for a while; it goes on by itself.
    begun = [seen["note"]["target"] for seen in members.values() if seen["note"].get("stage") == "stopped"]
    primary = next(iter(primaries), "")
    if len(primaries) > 1:
        problems.append(
            f"{' and '.join(primaries)} are both primaries: find out which one the application writes to, and stop the "
            "other (systemctl stop on its host)."
        )
    elif not primaries and not (begun and begun[0] in here):
        problems.append("No member is a primary: start it, or see playbooks/failover.yml.")
    if not here:
        problems.append(f"{site} has no member of group postgresql.")
    rebuild = [host for host in here if primary and host != primary and not follower(members[primary], host)]
    for host in rebuild:
        if members[host]["holds"] == "empty" and not members[host]["rejoin"]:
            problems.append(f"{host} is empty: site.yml copies the primary to it, then run this again.")
        lines.append(f"  {host}: {members[host]['holds']}, does not follow {primary}: it is made its standby.")
    first = [host for host in here if host in primaries or host in begun] or here
    if primary in here:
        lines.append(f"  {primary} is the primary already.")
    elif first and not problems:
        lines.append(
            f"  {first[0]}: {'then ' if rebuild else 'follows; it '}becomes the primary in place of "
            f"{primary or 'nobody'}."
        )
    return {
        "host": next(iter(first), ""),
        "primary": primary,
        "rebuild": rebuild,
        "groups": [{"host": host, "group": "failback_rebuild"} for host in rebuild],
        "lines": lines,
        "problems": problems,
    }


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Any]:
        """Return name to function."""
        return {"failback_plan": failback_plan}
