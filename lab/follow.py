"""`make follow`: playbooks/follow.yml, with its result alone on the screen."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from lab import hosts
from lab.common import ROOT, LabError


def outcome(output: str) -> dict[str, Any]:
    """Return the result of the playbook's first task from Ansible's JSON.

    Raises:
        LabError: it ended before.
    """
    begin = output.find("{\n")
    if begin < 0:
        raise LabError(output.strip()[-800:] or "the playbook said nothing")
    # Other callbacks print around it.
    told, _ = json.JSONDecoder().raw_decode(output[begin:])
    results = [result for play in told["plays"] for task in play["tasks"] for result in task["hosts"].values()]
    if not results:
        raise LabError("the playbook reached no host; is the lab up? make up")
    return dict(results[0])


def follow(wanted: str, mirror: Path) -> None:
    """Print a request's log lines, series and trace as a tree.

    Raises:
        LabError: nothing is known of it, or the lab can't be asked.
    """
    env = {**hosts.environment(mirror), "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json"}
    argv = ["ansible-playbook", "playbooks/follow.yml", "--extra-vars", json.dumps({"id": wanted})]
    done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    result = outcome(done.stdout or done.stderr)
    if done.returncode:
        raise LabError(str(result.get("msg", done.stderr))[-1500:])
    print(result["tree"], flush=True)
