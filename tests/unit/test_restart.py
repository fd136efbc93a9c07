"""Restart a unit and wait until it serves: the module itself, with a stand-in for systemd and a real readiness page."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .machine import Machine
from .modules import Result, program, run_module
from .ready_page import Page, identity, serve

UNIT = "web.service"
# Far beyond what a good answer takes, so that waiting it out is seen.
PATIENCE = 30


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return identity(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def page(tls: Path) -> Iterator[Page]:
    with serve(tls) as found:
        yield found


@pytest.fixture
def restart(machine: Machine, tls: Path) -> Callable[..., Result]:
    def call(*, check: bool = False, **options: Any) -> Result:
        args = {"unit": UNIT, "tls_directory": str(tls), "seconds": PATIENCE, **options}
        return run_module("restart", args, check=check, path=machine.path)

    return call


def test_ready_at_once(machine: Machine, page: Page, restart: Callable[..., Result]) -> None:
    result = restart(url=page.url)
    assert (result.failed, result.changed) == (False, True), result.message
    assert machine.get("starts") == "1"
    assert page.asked > 0, "the page was not asked"
    assert 0 <= result["seconds"] < PATIENCE
    assert any(order.startswith("daemon-reload") for order in machine.orders), "a changed unit file was not read"


def test_ready_after_a_while(machine: Machine, page: Page, restart: Callable[..., Result]) -> None:
    page.status = lambda asked: 503 if asked < 4 else 200
    result = restart(url=page.url)
    assert not result.failed, result.message
    assert page.asked >= 5
    assert machine.get("starts") == "1", "it was started again while it was starting"


def test_never_ready_names_page_and_seconds(page: Page, restart: Callable[..., Result]) -> None:
    page.status = lambda asked: 503
    result = restart(url=page.url, seconds=1)
    assert result.failed
    assert page.url in result.message
    assert "503" in result.message
    assert "1 s" in result.message
    assert UNIT in result.message
    assert "port 9090 is taken" in result.message, "the unit's last log lines are missing"


def test_answer_that_is_no_http_is_not_ready(page: Page, restart: Callable[..., Result]) -> None:
    page.status = lambda asked: 0 if asked < 1 else 200
    assert not restart(url=page.url).failed


def test_page_that_nobody_serves(restart: Callable[..., Result]) -> None:
    result = restart(url="https://127.0.0.1:1/-/ready", seconds=1)
    assert result.failed
    assert "https://127.0.0.1:1/-/ready" in result.message
    assert "refused" in result.message


def test_page_with_a_certificate_of_somebody_else(tmp_path: Path, page: Page, restart: Callable[..., Result]) -> None:
    result = restart(url=page.url, seconds=1, tls_directory=str(identity(tmp_path / "tls")))
    assert result.failed
    assert "certificate" in result.message.lower()
    assert page.asked == 0


def test_unit_without_a_page_must_stay_active(machine: Machine, restart: Callable[..., Result]) -> None:
    result = restart()
    assert not result.failed, result.message
    assert machine.get("active") == "active"


@pytest.mark.parametrize("has_page", [False, True])
def test_crash_loop_is_found_out_early(
    machine: Machine, page: Page, restart: Callable[..., Result], has_page: bool
) -> None:
    machine.doom(only="crashes")
    page.status = lambda asked: 503
    started = time.monotonic()
    result = restart(url=page.url if has_page else "")
    assert result.failed
    assert "ends at every start" in result.message
    assert time.monotonic() - started < PATIENCE / 2, "it waited for the deadline"


def test_failed_unit_is_not_waited_for(machine: Machine, restart: Callable[..., Result]) -> None:
    machine.doom(only="fails")
    started = time.monotonic()
    result = restart()
    assert result.failed
    assert f"{UNIT} has failed" in result.message
    assert "journalctl" in result.message, "the user is not told where to look"
    assert time.monotonic() - started < PATIENCE / 2


def test_systemctls_own_words_are_passed_on(machine: Machine, restart: Callable[..., Result]) -> None:
    machine.doom(only="refuses")
    result = restart()
    assert result.failed
    assert "bad setting" in result.message


def test_systemctl_that_fails_without_a_word(machine: Machine, restart: Callable[..., Result]) -> None:
    machine.doom(only="dies")
    result = restart()
    assert result.failed, "nothing was restarted, and nobody is told"


def test_unit_that_hangs_while_starting(machine: Machine, restart: Callable[..., Result]) -> None:
    machine.doom(only="hangs")
    result = restart(seconds=1)
    assert result.failed
    assert "activating" in result.message
    assert "1 s" in result.message


@pytest.mark.parametrize("fate", ["fails", "crashes", "refuses"])
def test_bad_upgrade_is_rolled_back(machine: Machine, page: Page, restart: Callable[..., Result], fate: str) -> None:
    machine.install("1.0.0", "2.0.0")
    machine.doom(v2_0_0=fate)
    page.status = lambda asked: 200 if machine.get("version") == "1.0.0" else 500
    result = restart(url=page.url, program=str(machine.program), rollback=True)
    assert result.failed, "the user must learn that the upgrade failed"
    assert machine.installed() == "1.0.0"
    assert (machine.get("version"), machine.get("active")) == ("1.0.0", "active")
    assert "previous version 1.0.0 was put back and serves" in result.message


def test_upgrade_whose_page_never_answers_is_rolled_back(
    machine: Machine, page: Page, restart: Callable[..., Result]
) -> None:
    machine.install("1.0.0", "2.0.0")
    page.status = lambda asked: 200 if machine.get("version") == "1.0.0" else 500
    result = restart(url=page.url, seconds=1, program=str(machine.program), rollback=True)
    assert result.failed
    assert f"{page.url} answers 500" in result.message
    assert "1.0.0 was put back and serves" in result.message
    assert machine.installed() == "1.0.0"


def test_previous_version_that_fails_too_is_told(machine: Machine, restart: Callable[..., Result]) -> None:
    machine.install("1.0.0", "2.0.0")
    machine.doom(v1_0_0="fails", v2_0_0="fails")
    result = restart(program=str(machine.program), rollback=True)
    assert result.failed
    assert "1.0.0 was put back and does not serve either" in result.message


def test_first_version_has_no_way_back(machine: Machine, restart: Callable[..., Result]) -> None:
    machine.install("", "1.0.0")
    machine.doom(v1_0_0="fails")
    result = restart(program=str(machine.program), rollback=True)
    assert result.failed
    assert "put back" not in result.message
    assert machine.installed() == "1.0.0"
    assert machine.get("starts") == "1"


def test_program_that_was_not_changed_is_not_rolled_back(machine: Machine, restart: Callable[..., Result]) -> None:
    """A broken configuration is not cured by an older program."""
    machine.install("1.0.0", "2.0.0")
    machine.doom(v2_0_0="fails")
    assert restart(program=str(machine.program), rollback=False).failed
    assert machine.installed() == "2.0.0"


def test_good_upgrade_is_kept(machine: Machine, page: Page, restart: Callable[..., Result]) -> None:
    machine.install("1.0.0", "2.0.0")
    result = restart(url=page.url, program=str(machine.program), rollback=True)
    assert not result.failed, result.message
    assert (machine.installed(), machine.get("version")) == ("2.0.0", "2.0.0")


def test_check_mode_changes_nothing(machine: Machine, page: Page, restart: Callable[..., Result]) -> None:
    machine.install("1.0.0", "2.0.0")
    result = restart(check=True, url=page.url, program=str(machine.program), rollback=True)
    assert (result.failed, result.changed) == (False, True)
    assert (machine.orders, machine.get("starts"), machine.installed()) == ([], "0", "2.0.0")


def test_reload_keeps_the_process(machine: Machine, page: Page, restart: Callable[..., Result]) -> None:
    machine.set(active="active", starts=1)
    result = restart(reload=True, url=page.url)
    assert not result.failed, result.message
    assert (machine.get("reloads"), machine.get("starts")) == ("1", "1")
    assert page.asked > 0


def test_reload_starts_a_unit_that_does_not_run(machine: Machine, page: Page, restart: Callable[..., Result]) -> None:
    result = restart(reload=True, url=page.url)
    assert not result.failed, result.message
    assert (machine.get("reloads"), machine.get("starts")) == ("0", "1")


def test_reload_that_breaks_the_service_is_told(machine: Machine, page: Page, restart: Callable[..., Result]) -> None:
    machine.set(active="active", starts=1)
    # Ready is 200 and nothing else, not even another answer of success.
    page.status = lambda asked: 204
    result = restart(reload=True, url=page.url, seconds=1)
    assert result.failed
    assert f"{page.url} answers 204" in result.message


@pytest.mark.parametrize(("reload", "word"), [(True, "reloaded"), (False, "restarted")])
def test_what_is_not_valid_is_not_loaded(
    tmp_path: Path, machine: Machine, page: Page, restart: Callable[..., Result], reload: bool, word: str
) -> None:
    machine.set(active="active", starts=1)
    checker = program(tmp_path, "checker", '#!/bin/sh\necho checking; echo "$1: line 7 is odd" >&2; exit 3\n')
    result = restart(reload=reload, url=page.url, validate=f"{checker} '/etc/a file'")
    assert result.failed
    assert f"{UNIT} was not {word}, and what runs goes on as before" in result.message
    assert "ended with code 3" in result.message
    assert "/etc/a file: line 7 is odd" in result.message and "checking" not in result.message
    assert "run again" in result.message
    assert (machine.orders, machine.get("starts"), machine.get("reloads"), page.asked) == ([], "1", "0", 0)


def test_validation_that_succeeds_changes_nothing(machine: Machine, page: Page, restart: Callable[..., Result]) -> None:
    machine.set(active="active", starts=1)
    result = restart(reload=True, url=page.url, validate="/bin/true")
    assert not result.failed, result.message
    assert machine.get("reloads") == "1"


def test_validation_that_is_not_there_is_told(machine: Machine, restart: Callable[..., Result]) -> None:
    machine.set(active="active", starts=1)
    result = restart(validate="/not/installed check")
    assert result.failed
    assert "`/not/installed check` cannot be run" in result.message
    assert machine.orders == []


def test_upgrade_that_its_own_validation_refuses_is_taken_back(
    machine: Machine, restart: Callable[..., Result]
) -> None:
    """Else the next start of the host would begin what was just refused."""
    machine.install("1.0.0", "2.0.0")
    machine.set(active="active", starts=1)
    result = restart(validate="/bin/false", program=str(machine.program), rollback=True)
    assert result.failed
    assert "The previous version 1.0.0 was put back" in result.message
    assert (machine.installed(), machine.get("starts")) == ("1.0.0", "1")
