"""Host's half of nano.ops.run_unit: start a unit that ends by itself, and tell what it says."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: run_unit
short_description: Run a unit that ends by itself, and show its lines while it runs
version_added: 0.1.0
author: nano.ops contributors
description:
  - Starts a unit of C(Type=oneshot), shows each line of its journal as it comes, and fails with its errors when it
    failed. A unit that is at work already is followed to its end.
  - The unit belongs to systemd; it goes on when Ansible is interrupted.
options:
  unit:
    description: Name of the unit, with its suffix.
    type: str
    required: true
  place:
    description: Internal. File in which the end of the unit is noted; empty starts it.
    type: path
    default: ""
  cursor:
    description: Internal. Place in the journal from which lines are read.
    type: str
    default: ""
attributes:
  check_mode:
    description: Starts nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Back up now
  nano.ops.run_unit:
    unit: nano-backup.service
"""

RETURN = r"""
lines:
  description: What the unit said, C(level) and C(message) of each line.
  returned: success
  type: list
  elements: dict
"""

# Seconds that one look waits for something new: a round trip per line would be slower than the lines.
LOOK_S = 4.0
PAUSE_S = 0.3


def journal(*words: str) -> str:
    """Return what journalctl prints."""
    argv = ["journalctl", "--quiet", "--no-pager", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def start(unit: str) -> dict[str, Any]:
    """Start a unit without waiting; its end is noted in a file."""
    cursor = journal("--lines=0", "--show-cursor").strip().removeprefix("-- cursor: ")
    place = Path(tempfile.mkdtemp(prefix="nano-run-unit-", dir="/run")) / "end"
    script = 'systemctl start "$1"; echo $? > "$2.new"; mv "$2.new" "$2"'
    subprocess.Popen(
        ["sh", "-c", script, "sh", unit, str(place)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return {"place": str(place), "cursor": cursor, "lines": [], "ended": False}


def lines(unit: str, cursor: str) -> tuple[list[dict[str, str]], str]:
    """Return what the unit's processes said since then, and where the journal is now."""
    after = [f"--after-cursor={cursor}"] if cursor else []
    found = []
    for text in journal(f"--unit={unit}", "--output=json", *after).splitlines():
        entry = json.loads(text)
        cursor = entry["__CURSOR"]
        if entry.get("_SYSTEMD_UNIT") != unit or not isinstance(entry.get("MESSAGE"), str):
            continue
        try:
            said = json.loads(entry["MESSAGE"])
            found.append({"level": said["level"], "message": said["message"]})
        except (ValueError, KeyError, TypeError):
            found.append({"level": "info", "message": entry["MESSAGE"]})
    return found, cursor


def look(unit: str, place: Path, cursor: str) -> dict[str, Any]:
    """Wait a moment for something new."""
    deadline = time.monotonic() + LOOK_S
    while True:
        # First the end, then the lines: else the last ones would be missed.
        ended = place.exists()
        found, cursor = lines(unit, cursor)
        if ended or found or time.monotonic() > deadline:
            break
        time.sleep(PAUSE_S)
    result = {"place": str(place), "cursor": cursor, "lines": found, "ended": ended, "code": 0}
    if ended:
        result["code"] = int(place.read_text(encoding="ascii"))
        place.unlink()
        place.parent.rmdir()
    return result


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "place": {"type": "path", "default": ""},
            "cursor": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    unit, place = module.params["unit"], module.params["place"]
    if module.check_mode:
        module.exit_json(changed=True, lines=[], ended=True, code=0)
    state = look(unit, Path(place), module.params["cursor"]) if place else start(unit)
    module.exit_json(changed=True, **state)


if __name__ == "__main__":
    main()
