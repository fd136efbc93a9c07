"""Records of the platform's zone at name servers that each hold a copy of their own."""

from __future__ import annotations

import ipaddress
import re
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import dns_record, dns_update

DOCUMENTATION = r"""
module: dns_record
short_description: Make, move and show address records at name servers that each hold a copy of their own
version_added: 0.2.0
author: nano.ops contributors
description:
  - Changes each server by an update that is signed with a key (TSIG), over TCP, and asks each of them afterwards.
    Servers are asked at once and changed in the order given.
  - >-
    A change goes through only if the server still holds what it held when it was looked at. Of two who move the same
    record at the same moment, the one who comes second at the first server that answers fails and changes nothing.
  - >-
    Beside each address lies a text (TXT) with the number of times that it was moved. It tells a server that was away
    from one that is right.
  - Needs dig and nsupdate (package bind9-dnsutils) on the host that it runs on. The key never leaves its file.
options:
  zone:
    description: Name of the zone.
    type: str
    required: true
  servers:
    description: >-
      IPv4 addresses of the servers, each with a colon and its port if that is not 53, in the order in which they are
      changed. The same order everywhere.
    type: list
    elements: str
    required: true
  key_file:
    description: File with the key, in BIND's words.
    type: path
    default: /etc/bind/nano.key
  seconds:
    description: How long each server has for an answer, in seconds. One that is lost costs this much once.
    type: int
    default: 2
  state:
    description:
      - C(present) makes records that no server has, and lets a server catch up that is behind the others. It moves
        none, and fails when a server does not answer, because that one may know better.
      - C(moved) gives records the address that is wanted. Servers that do not answer are reported and do not stop it;
        one has to answer.
      - C(seen) only looks.
    type: str
    choices: [present, moved, seen]
    default: present
  records:
    description: The records.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name within the zone.
        type: str
        required: true
      value:
        description: The IPv4 address. Needed unless the state is C(seen).
        type: str
        default: ""
      ttl:
        description: How long others may keep it, in seconds.
        type: int
        default: 30
      expect:
        description: >-
          Addresses that it may have before it is moved, beside the one that is wanted. With any other, nothing is
          changed. Empty allows any.
        type: list
        elements: str
        default: []
attributes:
  check_mode:
    description: Asks the servers and tells what would change. On a host without dig, all of it would.
    support: full
  diff_mode:
    description: Shows what each server holds, before and after.
    support: full
"""

EXAMPLES = r"""
- name: Make the records that are missing
  nano.ops.dns_record:
    zone: nano.example
    servers: [192.0.2.10, 203.0.113.33]
    records: [{name: api, value: 198.51.100.21}]

- name: Lead customers to the other site
  nano.ops.dns_record:
    zone: nano.example
    servers: [192.0.2.10, 203.0.113.33]
    state: moved
    records: [{name: api, value: 203.0.113.31, expect: [198.51.100.21]}]
"""

RETURN = r"""
records:
  description: >-
    For each name within the zone, C(values) that each server holds now, by its address, C(versions), the number of
    times that it was moved there, and C(changed), the servers that were changed.
  returned: success
  type: dict
silent:
  description: Servers that gave no answer to start from or at the end, each with the reason.
  returned: success
  type: dict
"""

RECORD = {
    "name": {"type": "str", "required": True},
    "value": {"type": "str", "default": ""},
    "ttl": {"type": "int", "default": 30},
    "expect": {"type": "list", "elements": "str", "default": []},
}
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


def wrong(params: dict[str, Any]) -> str:
    """Return what is wrong with the options, "" if nothing is: what they say becomes lines for nsupdate."""
    for name in (params["zone"], *(record["name"] for record in params["records"])):
        if not NAME.fullmatch(name):
            return f"{name} is no name of a zone or record: lower-case letters, digits, hyphens and inner dots"
    addresses = [server.partition(":")[0] for server in params["servers"]]
    if strange := [server for server in params["servers"] if not re.fullmatch(r"[^:]*(:\d{1,5})?", server)]:
        return f"{strange[0]} is no address, nor one with a port"
    for record in params["records"]:
        addresses += record["expect"] + ([record["value"]] if params["state"] != "seen" else [])
    for address in addresses:
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            return f"{address or 'an empty value'} is no IPv4 address"
    if not params["servers"] or not params["records"]:
        return "servers and records must not be empty"
    return "" if 1 <= params["seconds"] <= 60 else "seconds must be between 1 and 60"


def text(seen: dns_update.Survey) -> str:
    """Return what the servers hold as text that can be compared line by line."""
    rows = [
        f"{name} at {address}: {' '.join(held.values) or 'none'}, {held.ttl} s, moved {held.version} times"
        for address, names in seen.held.items()
        for name, held in names.items()
    ]
    return "\n".join([*sorted(rows), *sorted(f"{address} is silent" for address in seen.silent), ""])


def answer(params: dict[str, Any], outcome: dns_record.Outcome) -> dict[str, Any]:
    """Return the module's result."""
    records = {}
    for record in params["records"]:
        full = f"{record['name']}.{params['zone']}"
        held = outcome.after.of(full)
        records[record["name"]] = {
            "values": {address: list(each.values) for address, each in held.items()},
            "versions": {address: each.version for address, each in held.items()},
            "changed": outcome.changed.get(full, []),
        }
    return {
        "changed": any(outcome.changed.values()),
        "records": records,
        "silent": {**outcome.before.silent, **outcome.after.silent},
        "diff": {"before": text(outcome.before), "after": text(outcome.after)},
    }


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "zone": {"type": "str", "required": True},
            "servers": {"type": "list", "elements": "str", "required": True},
            "key_file": {"type": "path", "default": "/etc/bind/nano.key", "no_log": False},
            "seconds": {"type": "int", "default": 2},
            "state": {"type": "str", "choices": ["present", "moved", "seen"], "default": "present"},
            "records": {"type": "list", "elements": "dict", "required": True, "options": RECORD},
        },
        supports_check_mode=True,
    )
    params, zone = module.params, module.params["zone"]
    if problem := wrong(params):
        module.fail_json(msg=problem)
    lacks = [name for name in ("dig", "nsupdate") if not shutil.which(name)]
    lacks += [] if Path(params["key_file"]).is_file() else [params["key_file"]]
    if lacks and module.check_mode:
        # A run on a bare host, where role dns would bring all of it.
        module.exit_json(changed=params["state"] != "seen", records={}, silent={})
    if lacks:
        module.fail_json(msg=f"this host lacks {' and '.join(lacks)}: role dns brings them to the members of group dns")
    servers = [dns_update.Server(address, params["key_file"], params["seconds"]) for address in params["servers"]]
    records = [
        dns_record.Record(f"{each['name']}.{zone}", each["value"], each["ttl"], tuple(each["expect"]))
        for each in params["records"]
    ]
    try:
        if params["state"] == "seen":
            found = dns_update.survey(servers, [record.name for record in records])
            outcome = dns_record.Outcome(found, found)
        else:
            work = dns_record.move if params["state"] == "moved" else dns_record.ensure
            outcome = work(zone, servers, records, module.check_mode)
    except dns_update.DnsError as error:
        module.fail_json(msg=str(error))
    result = answer(params, outcome)
    for address, why in result["silent"].items():
        module.warn(f"name server {address} is silent: {why}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
