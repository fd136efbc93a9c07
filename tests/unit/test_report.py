"""A report tells what was done and what was not, at any moment, and takes nothing in that a browser would run."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.nano.ops.plugins.action.report import ActionModule
from ansible_collections.nano.ops.plugins.plugin_utils import report, report_page, report_text

BEGAN = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)
EVIL = '<script>alert("x")</script> & | `rm`'


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def begun(**more: Any) -> dict[str, Any]:
    phases = ["Stop", "Copy", "Open", "Protect"]
    return report.begin("restore", "db1", phases, BEGAN, clock=("Stop", "Open"), again="ansible-playbook again", **more)


def done() -> dict[str, Any]:
    made = begun()
    for number, name in enumerate(("Stop", "Copy", "Open", "Protect")):
        report.phase(made, name, at(10 + 20 * number))
    report.note(made, {"measures": {"rpo_seconds": 30.5}, "objectives": {"rpo_seconds": 900, "rto_seconds": 45}})
    report.end(made, "succeeded", at(100))
    return made


def test_time_to_recover_is_from_one_phase_to_the_end_of_another() -> None:
    made = done()
    assert made["measures"] == {"rto_seconds": 60.0, "rpo_seconds": 30.5}
    assert [each["seconds"] for each in made["phases"]] == [20.0, 20.0, 20.0, 30.0]
    assert made["next"] == [], "there is nothing to type after a success"


def test_measures_are_judged_by_their_objectives() -> None:
    assert [(each["name"], each["value"], each["verdict"]) for each in report.verdicts(done())] == [
        ("rto_seconds", "1 min", "missed"),
        ("rpo_seconds", "30.5 s", "met"),
    ]


def test_failure_says_what_was_done_what_was_not_and_what_to_type() -> None:
    made = begun()
    report.phase(made, "Stop", at(1))
    report.phase(made, "Copy", at(5))
    report.end(made, "failed", at(9), error="the disk is full")
    lines = report_text.summary(made)
    assert "done: Stop" in lines and "not done: Copy, Open, Protect" in lines
    assert "error: the disk is full" in lines and "next: ansible-playbook again" in lines
    assert "rto_seconds" not in made["measures"], "nobody was let in"
    text = report_text.markdown(made)
    assert "    the disk is full" in text and "| Copy | 03:00:05 | 4.0 s | failed |" in text
    assert "| Open | - | - | not done |" in text


def test_report_of_a_run_that_died_says_so() -> None:
    made = begun()
    report.phase(made, "Stop", at(1))
    text = report_text.markdown(made)
    assert "# Restore of db1 is not ended" in text and "| Stop | 03:00:01 | - | begun, not ended |" in text
    assert "not ended" in report_page.page(made) and "ansible-playbook again" in report_page.page(made)


def test_ended_report_stays_as_it_is() -> None:
    made = done()
    report.end(made, "failed", at(200), error="too late")
    assert (made["outcome"], made["error"]) == ("succeeded", "")


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]


def evil() -> dict[str, Any]:
    made = report.begin("restore", EVIL, [EVIL], BEGAN, again=EVIL)
    report.phase(made, EVIL, at(1))
    table = {"title": EVIL, "head": [EVIL], "rows": [[EVIL]]}
    report.note(made, {"facts": {EVIL: EVIL}, "notes": [EVIL], "tables": [table], "measures": {"rpo_seconds": 1}})
    report.end(made, "failed", at(2), error=EVIL)
    return made


def test_page_is_whole_in_itself_and_escaped() -> None:
    text = report_page.page(evil(), [evil()])
    page = Page(text)
    assert "script" not in page.tags and page.links == []
    assert "svg" in page.tags and "@media print" in text
    assert not re.search(r"(url\(|@import|https?:)", text), "the page fetches something from elsewhere"
    assert text.count("&lt;script&gt;") > 6


def test_markdown_is_escaped() -> None:
    text = report_text.markdown(evil(), [evil()])
    outside = [line for line in text.splitlines() if not line.startswith("    ")]
    assert not [line for line in outside if re.search(r"(?<!\\)<script", line)]
    assert {line.replace("\\|", "").count("|") for line in outside if "script" in line and line.startswith("|")} <= {
        2,
        3,
        5,
        6,
    }


def test_bars_lie_where_the_time_says() -> None:
    drawn = re.findall(r'<rect class="bar (\w+)" x="([\d.]+)" y="\d+" width="([\d.]+)"', report_page.timeline(done()))
    assert [each[0] for each in drawn] == ["succeeded"] * 4
    places = [(float(x), float(width)) for _, x, width in drawn]
    # They follow each other without a gap, and the last is half as long again as each of the others.
    for (x, width), (following, _) in itertools.pairwise(places):
        assert following == pytest.approx(x + width, abs=0.2)
    assert places[3][1] == pytest.approx(1.5 * places[0][1], abs=0.2)


def test_metrics_are_what_prometheus_reads() -> None:
    lines = report.metrics(done()).splitlines()
    assert 'nano_recovery_last_run_success{procedure="restore",host="db1"} 1' in lines
    assert 'nano_recovery_last_run_timestamp_seconds{procedure="restore",host="db1"} 1772334100.000' in lines
    assert 'nano_recovery_rto_seconds{procedure="restore",host="db1",phase="total"} 60.0' in lines
    assert 'nano_recovery_rto_seconds{procedure="restore",host="db1",phase="Copy"} 20.0' in lines
    assert 'nano_recovery_rpo_seconds{procedure="restore",host="db1"} 30.5' in lines
    failed = begun()
    report.end(failed, "failed", at(3))
    assert 'nano_recovery_last_run_success{procedure="restore",host="db1"} 0' in report.metrics(failed)
    assert '\\"' in report.metrics(evil()), "a quote ends the label"


def act(check: bool = False, inventory: str = "", **args: Any) -> dict[str, Any]:
    task = mock.Mock(args=args, check_mode=check, async_val=0)
    module = ActionModule(task, mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock())
    with mock.patch("ansible.plugins.action.ActionBase.run", return_value={}):
        return module.run(None, {"inventory_dir": inventory})


def test_report_is_kept_beside_the_inventory_and_compared_with_earlier_ones(tmp_path: Path) -> None:
    inventory = str(tmp_path / "mine")
    paths = []
    for _ in range(2):
        first = act(state="begun", procedure="restore", subject="db1", phases=["Copy"], inventory=inventory)
        act(state="phase", path=first["path"], name="Copy")
        act(state="noted", path=first["path"], facts={"Backup": "a"}, measures={"rpo_seconds": 2})
        last = act(state="ended", path=first["path"], outcome="succeeded")
        assert last["outcome"] == "succeeded" and last["metrics"].startswith("# HELP") and last["summary"]
        paths.append(Path(last["path"]))
    assert paths[0].parent == tmp_path / "mine.reports" and paths[0] != paths[1]
    for suffix in (".json", ".md", ".html"):
        assert paths[1].with_suffix(suffix).stat().st_mode & 0o777 == 0o640
    assert json.loads(paths[1].read_text())["facts"] == {"Backup": "a"}
    assert "Earlier runs" in paths[1].with_suffix(".md").read_text()
    assert "Earlier runs" not in paths[0].with_suffix(".md").read_text()


def test_check_run_leaves_no_report(tmp_path: Path) -> None:
    made = act(check=True, state="begun", procedure="restore", subject="db1", phases=[], inventory=str(tmp_path / "x"))
    assert made["path"] == "" and list(tmp_path.iterdir()) == []
    assert act(state="ended", path="", outcome="failed")["summary"] == []


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"state": "over"}, "state: 'over' is none of"),
        ({"state": "phase", "path": "x", "phase": "y"}, "phase: no option of state phase"),
        ({"state": "begun", "procedure": "restore", "phases": []}, "subject: missing, state begun needs it"),
        ({"state": "begun", "procedure": "../x", "subject": "y", "phases": []}, "is no name for a file"),
        ({"state": "begun", "procedure": "x", "subject": "y", "phases": "z"}, "phases: is no list"),
        ({"state": "ended", "path": "/nowhere/x.json", "outcome": "failed"}, "is no report"),
    ],
)
def test_mistake_in_a_task_is_named(args: dict[str, Any], words: str) -> None:
    with pytest.raises(AnsibleActionFail) as error:
        act(**args)
    assert words in str(error.value)
