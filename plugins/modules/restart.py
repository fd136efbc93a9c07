"""Restart or reload a unit and wait until it serves; go back to the previous program when the new one doesn't."""

from __future__ import annotations

import http.client
import os
import shlex
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.nano.ops.plugins.module_utils import pending

DOCUMENTATION = r"""
module: restart
short_description: Restart or reload a unit and wait until it serves
version_added: 0.1.0
author: nano.ops contributors
description:
  - For handlers. Reads changed unit files, restarts (or reloads) the unit, and succeeds only when the unit is active
    and its readiness page answers.
  - When a program that was just upgraded does not get that far, its previous version is put back and started again. The
    task fails in either case and shows the unit's last log lines.
options:
  unit:
    description: Name of the unit, with its suffix.
    type: str
    required: true
  reload:
    description: Reloads a unit that runs instead of restarting it. A unit that does not run is started.
    type: bool
    default: false
  validate:
    description: >-
      Command that has to succeed before anything is done, such as a checker of all that the unit reads. It runs without
      a shell. When it fails, so does the task, and what runs goes on undisturbed.
    type: str
    default: ""
  url:
    description: >-
      Page that answers with 200 once the service is ready. Asked with the host's certificate. Empty asks nothing.
    type: str
    default: ""
  seconds:
    description: How long to wait for it, in seconds.
    type: int
    default: 60
  tls_directory:
    description: Folder of C(ca.crt), C(host.crt) and C(host.key).
    type: path
    default: /etc/nano/tls
  program:
    description: Folder of a program that M(nano.ops.program) installed.
    type: path
  rollback:
    description: Whether the program was changed in this run, so that its previous version may be the cure.
    type: bool
    default: false
attributes:
  check_mode:
    description: Tells that it would restart.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Restart Prometheus
  nano.ops.restart:
    unit: prometheus.service
    validate: /opt/nano/prometheus/current/promtool check config /etc/prometheus/prometheus.yml
    url: https://10.0.0.10:9090/-/ready
    program: /opt/nano/prometheus
    rollback: "{{ __prometheus_program is changed }}"
"""

RETURN = r"""
seconds:
  description: Time until it served, in seconds.
  returned: success
  type: float
"""

# A unit that crashes at once is "active" for a moment; it counts when it is active without a page to ask.
STEADY_SECONDS = 1.0
# With RestartSec=2 a program that ends at every start is found out after 8 s, not at the deadline.
MOST_RESTARTS = 4


def systemctl(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run systemctl and return what came of it."""
    return subprocess.run(["systemctl", *argv], capture_output=True, text=True, check=False)


def state(unit: str) -> tuple[str, int]:
    """Return the unit's active state and how often systemd has restarted it."""
    shown = systemctl("show", unit, "--property=ActiveState,NRestarts").stdout
    fields = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return fields.get("ActiveState", "unknown"), int(fields.get("NRestarts") or 0)


def answer(url: str, tls: Path) -> str:
    """Ask a page; return "" when it answers with 200, else why not."""
    try:
        context = None
        if url.startswith("https:"):
            context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
            context.load_cert_chain(tls / "host.crt", tls / "host.key")
        with urllib.request.urlopen(url, timeout=5, context=context) as page:
            return "" if page.status == 200 else f"{url} answers {page.status}"
    except urllib.error.HTTPError as error:
        return f"{url} answers {error.code}"
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {getattr(error, 'reason', '') or repr(error)}"


def objection(command: str) -> str:
    """Run the validation; return "" or what it says against the files as they are."""
    try:
        done = subprocess.run(
            shlex.split(command), capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        return f"`{command}` cannot be run: {error}"
    # What is printed beside an error is mostly about what is right.
    words = (done.stderr.strip() or done.stdout.strip())[-2000:]
    return f"`{command}` ended with code {done.returncode}: {words}" if done.returncode else ""


def bring_up(params: dict[str, Any]) -> str:
    """Restart or reload and wait; return "" or what went wrong."""
    unit = params["unit"]
    systemctl("daemon-reload")
    # A unit that failed too often in a row would refuse to start.
    systemctl("reset-failed", unit)
    verb = "reload-or-restart" if params["reload"] else "restart"
    started = time.monotonic()
    done = systemctl(verb, unit)
    if done.returncode:
        return done.stderr.strip() or f"`systemctl {verb} {unit}` ended with code {done.returncode} and no word"
    deadline = started + params["seconds"]
    restarts, steady = state(unit)[1], time.monotonic()
    most = restarts + MOST_RESTARTS
    reason = ""
    while time.monotonic() < deadline:
        active, now = state(unit)
        if now != restarts:
            restarts, steady = now, time.monotonic()
        if restarts >= most:
            return f"{unit} ends at every start"
        if active == "failed":
            return f"{unit} has failed"
        if active == "active":
            reason = answer(params["url"], Path(params["tls_directory"])) if params["url"] else ""
            if not reason and (params["url"] or time.monotonic() - steady >= STEADY_SECONDS):
                return ""
        else:
            reason = f"{unit} is {active}"
        time.sleep(0.2)
    return f"not ready after {params['seconds']} s: {reason or 'it restarts again and again'}"


def put_back(program: Path) -> str:
    """Switch a program back to its previous version and return that version, or "" if there is none."""
    previous = program / "previous"
    if not previous.is_symlink():
        return ""
    version = os.readlink(previous)
    fresh = program / ".current.back"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(version)
    fresh.replace(program / "current")
    return version


def last_words(unit: str) -> str:
    """Return the unit's last log lines."""
    argv = ["journalctl", "--unit", unit, "--lines", "12", "--no-pager", "--output", "cat"]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "reload": {"type": "bool", "default": False},
            "validate": {"type": "str", "default": ""},
            "url": {"type": "str", "default": ""},
            "seconds": {"type": "int", "default": 60},
            "tls_directory": {"type": "path", "default": "/etc/nano/tls"},
            "program": {"type": "path"},
            "rollback": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=True)
    if reason := params["validate"] and objection(params["validate"]):
        # What runs is in memory; a start of the host would take the new program, which may be what objects.
        back = params["rollback"] and params["program"] and put_back(Path(params["program"]))
        cure = f" The previous version {back} was put back." if back else ""
        was = "reloaded" if params["reload"] else "restarted"
        text = f"{params['unit']} was not {was}, and what runs goes on as before: {reason}\n"
        module.fail_json(msg=f"{text}Correct what it names and run again.{cure}")
    started = time.monotonic()
    reason = bring_up(params)
    if not reason:
        pending.clear(params["unit"])
        module.exit_json(changed=True, seconds=round(time.monotonic() - started, 2))
    words = last_words(params["unit"])
    cure = f"Look at `journalctl -u {params['unit']}` on the host."
    if params["rollback"] and params["program"]:
        version = put_back(Path(params["program"]))
        if version:
            again = bring_up({**params, "reload": False})
            cure = f"The previous version {version} was put back and {'does not serve either' if again else 'serves'}."
    module.fail_json(msg=f"{params['unit']} does not serve: {reason}. {cure} Its last words:\n{words}")


if __name__ == "__main__":
    main()
