"""The application on its hosts: updates that nobody feels, a cold host that waits, and mistakes that change nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab import traffic
from tests.verify.controller import ROOT
from tests.verify.lab import Lab
from tests.verify.shop import Crowd

pytestmark = pytest.mark.disturbs
NANO_API = ("site.yml", "--tags", "nano_api")


def failed(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the answers that tell of a failure of ours."""
    return [answer for answer in answers if answer["status"] >= 500 or answer["status"] == 429]


def test_cold_host_has_it_installed_and_does_not_run_it(lab: Lab) -> None:
    host = lab.host("app2")
    assert not host.service("nano_api").is_running and not host.service("nano_api.socket").is_running
    assert host.run("sudo nano-api settings").rc == 0, "it is not installed"


def test_new_setting_is_rolled_out_without_a_failed_request(
    lab: Lab, playbook: Callable[..., Any], tmp_path: Path
) -> None:
    host = traffic.entrance()[0]
    before = lab.main_pids(host)["nano_api"]
    crowd = Crowd(tmp_path, rate=25, seconds=40, seed=6)
    changed = playbook(*NANO_API, extra_vars={"nano_api_settings": {"NANO_DATABASE_POOL_SIZE": "19"}})
    again = playbook(*NANO_API)
    answers = crowd.end()
    assert changed.rc == 0 and again.rc == 0, changed.output + again.output
    assert lab.main_pids(host)["nano_api"] != before, "it was not restarted, so nothing was proved"
    assert failed(answers) == [] and len(answers) > 800


def test_version_that_does_not_start_is_taken_back(
    lab: Lab, playbook: Callable[..., Any], tmp_path: Path, eventually: Callable[..., Any]
) -> None:
    """The next version has a mistake that shows when it starts: the one before serves on."""
    clone = tmp_path / "clone"
    keep = shutil.ignore_patterns(
        ".git", ".venv*", ".lab", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"
    )
    shutil.copytree(ROOT, clone, symlinks=True, ignore=keep)
    (clone / ".lab").symlink_to(ROOT / ".lab")
    server = clone / "workload/nano_api/src/nano_api/server.py"
    server.write_text(
        "raise RuntimeError('a mistake of this version')\n"
        + server.read_text().replace("from __future__ import annotations\n", "")
    )
    host = traffic.entrance()[0]
    current = lab.host(host).check_output("readlink /opt/nano/nano_api/current")
    run = playbook(*NANO_API, cwd=clone, inventory=clone / "inventories/lab")
    assert run.rc != 0 and "a mistake of this version" in run.output, run.output
    assert lab.host(host).check_output("readlink /opt/nano/nano_api/current") == current
    eventually(lambda: lab.says("nano_api", host).startswith("HTTP/1.1 200"), 30, "the version before does not serve")
    assert playbook(*NANO_API).rc == 0
