"""The collector of every host: what goes into the journal arrives in Loki, and survives its death."""

from __future__ import annotations

import json
import secrets
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from tests.verify.controller import read_inventory
from tests.verify.lab import CURL, Lab

if "loki" not in read_inventory():
    pytest.skip("the inventory has no group loki", allow_module_level=True)


UNIT = "otel_collector"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
Wait = Callable[[Callable[[], Any], float, str], Any]


def lines(lab: Lab, query: str) -> list[tuple[dict[str, str], str]]:
    """Return what Loki finds of the last hour: labels with structured metadata, and the line."""
    loki = lab.group("loki")[0]
    words = urllib.parse.urlencode({"query": query, "limit": "5000", "since": "1h"})
    done = lab.host(loki).run(f"{CURL} --fail-with-body %s", f"https://{loki}:3100/loki/api/v1/query_range?{words}")
    assert done.rc == 0, f"Loki: {done.stderr} {done.stdout}"
    found = json.loads(done.stdout)["data"]["result"]
    return [(stream["stream"], value[1]) for stream in found for value in stream["values"]]


def say(lab: Lab, host: str, *texts: str) -> None:
    """Write lines to a host's journal, from one process."""
    done = lab.command(host, ["systemd-cat", "--identifier=verify"], input="".join(f"{text}\n" for text in texts))
    assert done["rc"] == 0, done["stderr"]


def test_every_host_reads_its_journal(lab: Lab, eventually: Wait) -> None:
    key = secrets.token_hex(8)
    for host in lab.names:
        line = {"level": "WARN", "service": "verify", "request_id": f"{key}-{host}", "trace_id": TRACE, "span_id": SPAN}
        say(lab, host, json.dumps(line))
    for host in lab.names:
        query = f'{{host="{host}"}} | request_id="{key}-{host}"'
        found = eventually(lambda query=query: lines(lab, query), 30, f"the line of {host} is not in Loki")
        wanted = {"service_name": "verify", "level": "warning", "site": lab.site(host), "trace_id": TRACE}
        assert wanted.items() <= found[0][0].items(), host


def test_stack_trace_of_the_journal_stays_whole(lab: Lab, eventually: Wait) -> None:
    key = secrets.token_hex(8)
    trace = [
        f"failed {key}",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "    1/0",
        "ZeroDivisionError: x",
    ]
    say(lab, "app1", *trace)
    found = eventually(lambda: lines(lab, f'{{host="app1"}} |= "{key}"'), 30, "the trace is not in Loki")
    assert [line for _, line in found] == ["\n".join(trace)]


def test_slow_statement_carries_its_trace(lab: Lab, eventually: Wait) -> None:
    key = secrets.token_hex(8)
    lab.admin("db1", f"SELECT pg_sleep(0.6)\n, '{key}' /*traceparent='00-{TRACE}-{SPAN}-01'*/")
    query = f'{{host="db1", service_name="postgresql"}} |= "{key}" | trace_id="{TRACE}"'
    labels, line = eventually(lambda: lines(lab, query), 30, "the statement is not in Loki with its trace")[0]
    assert "\n" in line and float(labels["duration_ms"]) >= 600


def test_own_lines_are_not_sent(lab: Lab) -> None:
    assert lines(lab, '{service_name="otel_collector"}') == []


@pytest.mark.disturbs
def test_killed_it_goes_on_where_it_was(lab: Lab, eventually: Wait) -> None:
    """SIGKILL while lines come in: each is in Loki, and once."""
    key = secrets.token_hex(8)
    for number in range(10):
        texts = [json.dumps({"level": "info", "request_id": f"{key}-{number * 50 + each}"}) for each in range(50)]
        say(lab, "app1", *texts)
        if number == 5:
            lab.host("app1").run_expect([0], f"systemctl kill --signal=SIGKILL {UNIT}.service")
    wanted = sorted(f"{key}-{number}" for number in range(500))

    def ids() -> list[str]:
        return sorted(json.loads(line)["request_id"] for _, line in lines(lab, f'{{host="app1"}} |= "{key}"'))

    eventually(lambda: set(ids()) == set(wanted), 60, "lines are missing")
    assert ids() == wanted, "a line is in Loki twice"
