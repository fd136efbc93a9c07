"""What is written to stdout: one JSON object per line, whatever happens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from collector import wait_until
from running import Service

CONTRACT = (
    "timestamp level service action duration_ms http_status http_method http_path user_id request_id trace_id "
    "correlation_id error"
).split()


def test_access_line_has_every_field_of_the_contract(service: Service) -> None:
    line = service.access(service.http.get("/api/nanos/n-7"))
    assert not [field for field in (*CONTRACT, "span_id") if field not in line]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    assert (line["level"], line["service"], line["site"], line["env"]) == ("info", "nano_test", "site_a", "test")
    assert (line["http_method"], line["http_path"], line["http_status"]) == ("GET", "/api/nanos/{nano_id}", 200)
    assert (line["user_id"], line["nano_id"], line["action"]) == ("u-1", "n-7", "nano.read")
    assert 0 < line["duration_ms"] < 5000


def test_each_request_has_one_access_line_and_uvicorn_adds_none(service: Service) -> None:
    answer = service.http.get("/api/nanos/once")
    service.access(answer)
    service.access(service.http.get("/api/nanos/after"))
    mine = [x for x in service.lines() if x.get("nano_id") == "once" and x["logger"] != "nano_api"]
    assert [x["logger"] for x in mine] == ["nano_telemetry.access"]
    assert not [x for x in service.lines() if x["logger"] == "uvicorn.access"]


def test_line_from_inside_a_request_carries_its_ids_also_from_a_thread(service: Service) -> None:
    answer = service.http.post("/api/nanos", headers={"X-Correlation-ID": "order-4711"})
    line = service.line(message="made in a thread", request_id=answer.headers["x-request-id"])
    assert (line["user_id"], line["correlation_id"], line["action"]) == ("u-2", "order-4711", "nano.create")
    assert (line["http_method"], line["http_path"]) == ("POST", "/api/nanos")


def test_uvicorn_starts_and_warnings_are_json_too(service: Service) -> None:
    assert service.line(logger="uvicorn.error", message="Application startup complete.")
    service.http.get("/warn")
    assert "[redacted]" in service.line(logger="py.warnings")["message"]
    assert service.line(action="thread.crash")["error"]["type"] == "ZeroDivisionError"


def test_exception_is_one_line_with_its_whole_stack_and_is_logged_once(service: Service) -> None:
    answer = service.http.get("/fail", params={"secret": "hunter2"})
    assert answer.status_code == 500 and answer.headers["x-request-id"]
    line = service.access(answer)
    error = line["error"]
    assert (line["level"], error["type"]) == ("error", "RuntimeError")
    assert error["message"].startswith("login failed, password=[redacted]")
    assert "KeyError: 'first cause'" in error["stack"] and "in fail" in error["stack"] and "\n" in error["stack"]
    service.access(service.http.get("/api/nanos/after"))
    assert "hunter2" not in "".join(service.raw)
    assert not [x for x in service.lines() if "Exception in ASGI" in x["message"]]


def test_probes_write_no_access_line_unless_they_fail(service: Service) -> None:
    answer = service.http.get("/healthz")
    service.access(service.http.get("/api/nanos/after"))
    assert not [x for x in service.lines() if x.get("request_id") == answer.headers["x-request-id"]]


def test_duration_ends_with_the_answer_not_with_its_background_tasks(service: Service) -> None:
    assert service.access(service.http.get("/background"))["duration_ms"] < 400
    assert service.access(service.http.get("/stream"))["duration_ms"] >= 400


def test_control_characters_and_huge_lines_stay_one_object(service: Service) -> None:
    nasty = 'a\nb\r\n{"level":"critical"}\u2028\x00\x1b[31m end'
    service.http.post("/log", json={"message": nasty, "extra": {"nested": {"deep": [1, "two", None]}}})
    assert service.line(message=nasty)["nested"] == {"deep": [1, "two", None]}
    service.http.post("/log", json={"message": "big", "extra": {f"k{n}": "long " * 1500 for n in range(20)}})
    wait_until(lambda: any(x.get("truncated") for x in service.lines()), "the shortened line")
    assert max(len(line.encode()) for line in service.raw) < 48_000


def test_a_wrong_format_string_loses_no_line(service: Service) -> None:
    service.http.post("/log", json={"message": "%d of %d", "args": ["x"]})
    assert service.line(message="%d of %d (its arguments do not fit)")["level"] == "warning"


def test_nobody_reading_stdout_stops_no_request(start: Callable[..., Service]) -> None:
    running = start(read_stdout=False, NANO_LOG_QUEUE="1000")
    for _ in range(3):
        assert running.http.get("/flood/2000").elapsed.total_seconds() < 5
    assert running.value("nano_telemetry_log_lines_dropped_total") > 1000


def test_lines_of_the_last_moment_are_written(start: Callable[..., Service]) -> None:
    running = start()
    running.http.get("/flood/3000")
    running.stop()
    assert sum("of a flood" in json.loads(line)["message"] for line in running.raw) == 3000
    assert running.lines()[-1]["message"].startswith("Finished server process")
    assert running.errors == []
