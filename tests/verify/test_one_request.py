"""One request, followed by its id from the metric to the log line to the trace."""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from lab import traffic
from tests.verify import shop
from tests.verify.controller import ROOT, environment
from tests.verify.lab import Lab
from tests.verify.test_collector import lines
from tests.verify.test_jaeger import page

WITHIN_S = 30
Wait = Callable[[Callable[[], Any], float, str], Any]


@pytest.fixture(scope="module")
def posted() -> tuple[str, str, float]:
    """A nano that a customer has created: the id that the request had, its trace, and when."""
    customer = shop.join()
    wanted = f"verify-{secrets.token_hex(8)}"
    answer = customer.ask("POST", "/v1/nanos", json=shop.DRAFT, headers={"X-Request-ID": wanted})
    assert answer.status_code == 201, answer.text
    assert answer.headers["X-Request-ID"] == wanted
    return wanted, answer.headers["traceresponse"].split("-")[1], time.monotonic()


def left(posted: tuple[str, str, float]) -> float:
    """Return how many of the seconds since the request are left."""
    return max(1.0, posted[2] + WITHIN_S - time.monotonic())


@pytest.mark.parametrize("service", ["nano_api", "nginx"])
def test_its_log_lines_carry_its_id_and_its_trace(
    lab: Lab, posted: tuple[str, str, float], eventually: Wait, service: str
) -> None:
    wanted, trace, _ = posted
    query = f'{{service_name="{service}"}} | request_id="{wanted}"'
    found = eventually(lambda: lines(lab, query), left(posted), f"no line of {service}")
    assert [labels["trace_id"] for labels, _ in found] == [trace]
    labels = found[0][0]
    host = traffic.entrance()[0]
    seen = {name: labels[name] for name in ("host", "site", "level", "http_method", "http_status")}
    assert seen == {"host": host, "site": lab.site(host), "level": "info", "http_method": "POST", "http_status": "201"}
    assert float(labels["duration_ms"]) > 0


def test_its_trace_has_http_postgresql_and_redis(lab: Lab, posted: tuple[str, str, float], eventually: Wait) -> None:
    (trace,) = eventually(lambda: page(lab, f"traces/{posted[1]}"), left(posted), "the trace is not in Jaeger")
    spans = [({tag["key"]: tag["value"] for tag in span["tags"]}, span) for span in trace["spans"]]
    assert {tags.get("db.system", tags.get("db.system.name")) for tags, _ in spans} >= {"postgresql", "redis"}
    (root,) = [(tags, span) for tags, span in spans if not span["references"]]
    assert root[1]["operationName"] == "POST /v1/nanos"
    assert root[0]["request_id"] == posted[0]


def test_its_series_holds_it_as_an_exemplar(lab: Lab, posted: tuple[str, str, float], eventually: Wait) -> None:
    now = time.time()

    def held() -> list[dict[str, str]]:
        found = lab.api(
            "query_exemplars",
            query='http_request_duration_seconds_bucket{route="/v1/nanos",method="POST",status="201"}',
            start=f"{now - 120:.0f}",
            end=f"{now + 120:.0f}",
        )
        return [
            each["seriesLabels"]
            for each in found
            for exemplar in each["exemplars"]
            if exemplar["labels"]["trace_id"] == posted[1]
        ]

    labels = eventually(held, left(posted), "no series holds the trace")[0]
    assert (labels["instance"], labels["service"]) == (traffic.entrance()[0], "nano_api")
    counted = lab.promql('http_requests_total{route="/v1/nanos",method="POST",status="201"}')
    assert counted and counted[0]["value"] >= 1


def follow(wanted: str) -> subprocess.CompletedProcess[str]:
    """Run what `make follow` runs."""
    argv = [sys.executable, "-m", "lab", "follow", wanted]
    return subprocess.run(argv, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=120)


def test_follow_shows_it_as_a_tree(posted: tuple[str, str, float], eventually: Wait) -> None:
    done = eventually(lambda: (run := follow(posted[0])).returncode == 0 and run, WITHIN_S, "it is not found")
    text = done.stdout
    assert text.startswith(f"Request {posted[0]}\n")
    assert re.search(r"app1/nginx +info +POST /v1/nanos 201", text), text
    assert 'http_requests_total{instance="app1", method="POST", route="/v1/nanos", status="201"}' in text
    assert f"Trace {posted[1]}" in text
    assert re.search(r"├─ nano_api: \w+ \[redis\]", text) and re.search(r"INSERT \[postgresql\]", text), text


def test_follow_tells_what_it_does_not_know() -> None:
    done = follow("verify-nobody-sent-this")
    assert done.returncode == 1
    assert "Nothing is known of verify-nobody-sent-this" in done.stderr and "Traceback" not in done.stderr
    done = follow('x" or 1==1')
    assert done.returncode == 1 and "is no id" in done.stderr


def test_trace_of_the_caller_goes_on(lab: Lab, eventually: Wait) -> None:
    trace, span = secrets.token_hex(16), secrets.token_hex(8)
    caller = {"traceparent": f"00-{trace}-{span}-01"}
    answer = shop.join().ask("GET", "/v1/users/me", headers=caller)
    assert answer.status_code == 200 and answer.headers["traceresponse"].split("-")[1] == trace
    eventually(lambda: page(lab, f"traces/{trace}"), WITHIN_S, "the caller's trace is not in Jaeger")


def test_lines_hold_no_secret_and_nothing_personal(lab: Lab, eventually: Wait) -> None:
    customer = shop.join()
    wanted = f"verify-{secrets.token_hex(8)}"
    for method, path, more in (
        ("GET", "/v1/users/me", {}),
        ("POST", "/v1/sessions", {"json": {"email": "ann.example@verify.example", "password": customer.password}}),
        ("GET", f"/v1/nanos?q={customer.password}", {}),
    ):
        customer.ask(method, path, headers={"X-Request-ID": wanted}, **more)
    eventually(lambda: len(lines(lab, f'{{service_name="nginx"}} | request_id="{wanted}"')) == 3, 30, "no lines")
    # The newest lines of all, searched here: a query that names a secret would itself be logged, by sudo and by Loki.
    newest = lines(lab, '{service_name=~".+"}')
    assert any(labels.get("request_id") == wanted for labels, _ in newest)
    for secret in (customer.password, customer.token, "ann.example@verify.example", *lab.secrets().values()):
        found = [labels for labels, line in newest if secret in line or secret in str(labels)]
        assert found == [], f"a secret is in Loki, in a line of {found[0]['service_name']}"
