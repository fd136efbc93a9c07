"""The count at the end of `make test`: what failed or was never run must show."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import proof
from lab.hosts import LabError
from lab.proof import Tally, changes

CASE = '<testcase classname="t" name="{name}">{inside}</testcase>'
RECAP = """\
TASK [nano.ops.host : Write it] ****
changed: [db1]

PLAY RECAP *****
ops1                       : ok=41   changed=0    unreachable=0    failed=0    skipped=3    rescued=0    ignored=0
db1                        : ok=38   changed={db1}    unreachable=0    failed=0    skipped=5    rescued=0    ignored=0
"""


def junit(path: Path, **cases: str) -> Path:
    body = "".join(CASE.format(name=name, inside=inside) for name, inside in cases.items())
    path.write_text(f'<?xml version="1.0"?><testsuites><testsuite name="pytest">{body}</testsuite></testsuites>')
    return path


def test_line_counts_by_part() -> None:
    tally = Tally()
    tally.add("lint", "ruff check", True)
    tally.add("lint", "mypy", False)
    tally.add("unit", "test_a", True)
    tally.add("unit", "test_b", True)
    pattern = r"tests: 3 passed \(lint 1, unit 2\), 1 failed, in 0\.0 min"
    assert re.fullmatch(pattern, tally.line())
    assert tally.failed == ["lint: mypy"]


def test_line_when_nothing_ran() -> None:
    assert "0 passed" in Tally().line()


def test_junit_failures_and_errors_are_named(tmp_path: Path) -> None:
    tally = Tally()
    cases = {"good": "", "bad": '<failure message="no"/>', "broken": '<error message="setup"/>', "left": "<skipped/>"}
    tally.add_junit("verify", junit(tmp_path / "report.xml", **cases))
    assert tally.passed == {"verify": 1}, "a skipped test proves nothing"
    assert tally.failed == ["verify: bad", "verify: broken"]


def test_missing_report_is_a_failure(tmp_path: Path) -> None:
    tally = Tally()
    tally.add_junit("unit", tmp_path / "none.xml")
    assert tally.failed == ["unit: no report was written"]


def test_changes_names_the_hosts_of_the_recap() -> None:
    assert changes(RECAP.format(db1=0)) == []
    assert [line.split()[0] for line in changes(RECAP.format(db1=12))] == ["db1"]


def test_changes_sees_through_colours() -> None:
    line = "\x1b[0;33mdb1\x1b[0m : \x1b[0;32mok=38  \x1b[0m \x1b[0;33mchanged=2   \x1b[0m unreachable=0"
    assert changes(line) == ["db1 : ok=38   changed=2    unreachable=0"]


@pytest.fixture
def no_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keep the proof away from the lab."""
    monkeypatch.setattr(proof, "STATE", tmp_path)
    monkeypatch.setattr(proof.hosts, "STATE", tmp_path)
    monkeypatch.setenv("NANO_TEST_ONLY", "static")
    monkeypatch.setattr(proof.hosts, "environment", lambda mirror: {})
    monkeypatch.setattr(proof.hosts, "prepare_state", lambda env: None)
    monkeypatch.setattr(proof, "application", lambda tally, env, mirror: tally.add("application", "its tests", True))
    return monkeypatch


def test_failing_linter_fails_the_proof(
    no_hosts: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(argv: list[str], *_: object) -> str:
        if "mypy" in argv:
            raise LabError("mypy: 1 error")
        if "pytest" in argv:
            junit(tmp_path / "unit.xml", one="", two="<failure/>")
        return ""

    no_hosts.setattr(proof.hosts, "run", run)
    with pytest.raises(LabError, match=r"failed:\n  lint: mypy\n  unit: two"):
        proof.test(tmp_path)
    count = len(proof.LINTERS) - 1
    assert f"tests: {count + 2} passed (lint {count}, unit 1, application 1), 2 failed" in capsys.readouterr().out


def test_old_report_is_not_counted_again(no_hosts: pytest.MonkeyPatch, tmp_path: Path) -> None:
    junit(tmp_path / "unit.xml", of_yesterday="")
    no_hosts.setattr(proof.hosts, "run", lambda *_: "")
    with pytest.raises(LabError, match="unit: no report was written"):
        proof.test(tmp_path)


def second_run(monkeypatch: pytest.MonkeyPatch, output: str, before: dict[str, str], after: dict[str, str]) -> Tally:
    """Prove a site whose second run gives this output and whose processes had these ids before and after."""
    pids = iter([before, after])
    monkeypatch.setattr(proof.hosts, "destroy", lambda *_: None)
    monkeypatch.setattr(proof.hosts, "create", lambda *_: None)
    monkeypatch.setattr(proof.hosts, "run", lambda *_: output)
    monkeypatch.setattr(proof, "main_pids", lambda scenario: next(pids))
    tally = Tally()
    proof.site(tally, {}, "default")
    return tally


def test_second_run_that_changes_or_restarts_something_fails(no_hosts: pytest.MonkeyPatch) -> None:
    calm = second_run(no_hosts, RECAP.format(db1=0), {"db1 redis": "7"}, {"db1 redis": "7"})
    assert [name for name in calm.failed if "second run" in name] == []
    changed = second_run(no_hosts, RECAP.format(db1=1), {"db1 redis": "7"}, {"db1 redis": "7"})
    assert any("changes nothing" in name and "db1" in name for name in changed.failed)
    restarted = second_run(no_hosts, RECAP.format(db1=0), {"db1 redis": "7"}, {"db1 redis": "8"})
    assert any("restarts nothing ['db1 redis']" in name for name in restarted.failed)
    blind = second_run(no_hosts, RECAP.format(db1=0), {}, {})
    assert any("restarts nothing" in name for name in blind.failed), "no process was seen, so nothing was proved"
