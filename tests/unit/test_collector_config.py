"""What becomes of each kind of line, asked of the collector itself with the role's configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .collector import Collector, Record, binary, prepared
from .ready_page import identity

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTAINER = "4f1c0ffee0ddba11"
PYTHON = [
    "Unhandled error in worker",
    "Traceback (most recent call last):",
    '  File "/srv/shop/worker.py", line 12, in run',
    "    raise KeyError(name)",
    "KeyError: 'basket'",
    "During handling of the above exception, another exception occurred:",
    "Traceback (most recent call last):",
    '  File "/srv/shop/worker.py", line 14, in run',
    "shop.errors.WorkerError: basket is gone",
]
JAVA = [
    'Exception in thread "main" java.lang.IllegalStateException: shut',
    "\tat org.example.Shop.open(Shop.java:12)",
    "Caused by: java.io.IOException: no door",
    "\t... 3 more",
]
GO = [
    "panic: assignment to entry in nil map",
    "goroutine 1 [running]:",
    "main.(*Shop).add(...)",
    "\t/src/shop.go:12",
    "main.main()",
    "\t/src/main.go:7 +0x1d",
    "exit status 2",
]
STATEMENT = [
    "nano@nano LOG:  duration: 812.345 ms  execute s1: SELECT id",
    "\tFROM nanos",
    f"\tWHERE id = $1 /*action='search',traceparent='00-{TRACE}-{SPAN}-01'*/",
    "nano@nano DETAIL:  Parameters: $1 = '7'",
]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return identity(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, tls: Path) -> Iterator[Collector]:
    """A collector that runs, in which every test writes lines of its own."""
    folder = tmp_path_factory.mktemp("collector")
    made = prepared(folder, binary(folder), tls)
    with made.receiver.listening():
        made.start()
        yield made
        made.end()


def nginx(collector: Collector, **fields: Any) -> None:
    with (collector.folder / "nginx/access.json").open("a") as handle:
        handle.write(json.dumps(fields) + "\n")


def docker(collector: Collector, *pieces: tuple[str, str], **more: Any) -> None:
    folder = collector.folder / "containers" / CONTAINER
    folder.mkdir(exist_ok=True)
    with (folder / f"{CONTAINER}-json.log").open("a") as handle:
        for stream, text in pieces:
            time = "2026-11-24T03:00:00.123456789Z"
            handle.write(json.dumps({"log": text, "stream": stream, **more, "time": time}) + "\n")


def one(collector: Collector, text: str) -> Record:
    return collector.await_records(lambda record: text in record.body, 1)[0]


def test_line_of_an_application_becomes_fields(collector: Collector) -> None:
    line = {
        "timestamp": "2026-11-24T03:01:02.345678+00:00",
        "level": "ERROR",
        "service": "nano-api",
        "action": "nano.publish",
        "duration_ms": 12.5,
        "http_status": 500,
        "http_path": "/nanos/{id}",
        "request_id": "r-app",
        "trace_id": TRACE,
        "span_id": SPAN,
        "nano_id": "n7",
    }
    collector.journal(json.dumps(line), unit="nano_api.service")
    found = one(collector, "r-app")
    place = {"site": "site_a", "env": "test", "host": "localhost"}
    assert found.labels == {"service.name": "nano-api", "level": "error", **place}
    assert found.at == 1795489262345678000
    assert (found.trace, found.span, found.severity) == (TRACE, SPAN, 17)
    wanted = {"request_id": "r-app", "action": "nano.publish", "nano_id": "n7", "unit": "nano_api.service", "pid": "7"}
    assert wanted.items() <= found.fields.items()
    assert (found.fields["duration_ms"], found.fields["http_status"]) == (12.5, 500)
    assert not {"trace_id", "span_id", "level", "service", "timestamp", "source"} & set(found.fields)
    assert json.loads(found.body) == line


@pytest.mark.parametrize(
    ("unit", "more", "priority", "service", "level"),
    [
        ("cron.service", {}, 6, "cron", "info"),
        ("redis-server.service", {}, 4, "redis", "warning"),
        ("user@1000.service", {}, 3, "user", "error"),
        ("session-81.scope", {}, 2, "session", "critical"),
        ("run-r0ab1.service", {}, 7, "run", "debug"),
        ("", {"_TRANSPORT": "kernel"}, 5, "kernel", "info"),
    ],
)
def test_plain_line_stays_whole(
    collector: Collector, unit: str, more: dict[str, str], priority: int, service: str, level: str
) -> None:
    text = f"plain line of {unit or 'the kernel'}: 100% of <it>"
    collector.journal(text, unit=unit, priority=priority, **more)
    found = one(collector, text)
    assert found.body == text
    assert (found.labels["service.name"], found.labels["level"]) == (service, level)


def test_key_value_lines_tell_their_level(collector: Collector) -> None:
    collector.journal('ts=2026-11-24 level=warn msg="disk is slow"', unit="loki.service")
    assert one(collector, "disk is slow").labels["level"] == "warning"


def test_line_that_only_looks_like_json_is_not_lost(collector: Collector) -> None:
    collector.journal('{"half": "a line')
    assert one(collector, '"half"').body == '{"half": "a line'


@pytest.mark.parametrize("lines", [PYTHON, JAVA, GO], ids=["python", "java", "go"])
def test_stack_trace_is_one_record(collector: Collector, lines: list[str]) -> None:
    """Written in turns with another process of the unit, whose lines are its own."""
    for line in lines:
        collector.journal(line, pid=21)
        collector.journal(f"working on {lines[0]} {line}", pid=22)
    collector.journal("next line", pid=21)
    found = one(collector, lines[-1])
    assert found.body == "\n".join(lines)
    others = collector.await_records(lambda record: record.body.startswith(f"working on {lines[0]}"), len(lines))
    assert len(others) == len(lines)


def test_slow_statement_is_one_record_with_its_trace(collector: Collector) -> None:
    for line in STATEMENT:
        collector.journal(line, unit="postgresql@17-main.service", pid=33)
        collector.journal("LOG:  checkpoint starting: time", unit="postgresql@17-main.service", pid=34)
    found = one(collector, "duration: 812")
    assert found.body == "\n".join(STATEMENT)
    assert found.labels["service.name"] == "postgresql" and found.labels["level"] == "info"
    assert (found.trace, found.span) == (TRACE, SPAN)
    assert {"duration_ms": "812.345", "db_user": "nano", "db_name": "nano"}.items() <= found.fields.items()


def test_error_of_postgresql_keeps_its_statement(collector: Collector) -> None:
    lines = [
        'nano@nano ERROR:  relation "x" does not exist at character 15',
        "nano@nano STATEMENT:  SELECT *",
        "\tFROM x",
    ]
    for line in lines:
        collector.journal(line, unit="postgresql@17-main.service", pid=35)
    found = one(collector, 'relation "x"')
    assert found.body == "\n".join(lines) and found.labels["level"] == "error"
    assert "duration_ms" not in found.fields


@pytest.mark.parametrize(("status", "level"), [(200, "info"), (404, "warning"), (502, "error")])
def test_access_of_nginx_takes_its_level_from_the_status(collector: Collector, status: int, level: str) -> None:
    request = f"r-nginx-{status}"
    nginx(
        collector,
        timestamp="2026-11-24T03:04:05+00:00",
        http_status=status,
        http_path="/nanos",
        request_id=request,
        trace_id=TRACE,
        upstream_ms=4,
    )
    found = one(collector, request)
    assert (found.labels["service.name"], found.labels["level"], found.trace) == ("nginx", level, TRACE)
    assert found.at == 1795489445000000000
    assert found.fields["request_id"] == request and found.fields["upstream_ms"] in (4, "4")


def test_pieces_of_a_docker_line_are_joined_by_stream(collector: Collector) -> None:
    start, end = "a" * 16384, "the end\n"
    docker(collector, ("stdout", start), ("stderr", "meanwhile\n"), ("stdout", end), attrs={"tag": "shop"})
    found = one(collector, "the end")
    assert found.body == start + "the end"
    assert found.at == 1795489200123456789
    assert found.labels["service.name"] == "shop" and found.fields["stream"] == "stdout"
    assert found.fields["container_id"] == CONTAINER[:12]
    assert one(collector, "meanwhile").labels["level"] == "warning"


def test_json_and_traces_in_docker_are_treated_alike(collector: Collector) -> None:
    docker(collector, ("stdout", json.dumps({"level": "warn", "service": "mailer", "request_id": "r-docker"}) + "\n"))
    docker(collector, *(("stderr", f"{line}\n") for line in PYTHON), ("stderr", "next line\n"))
    assert one(collector, "r-docker").labels["service.name"] == "mailer"
    whole = collector.await_records(
        lambda record: record.body == "\n".join(PYTHON) and "container_id" in record.fields, 1
    )
    assert whole[0].labels["service.name"] == "docker"


SECRETS = {
    "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc": "Authorization: Bearer [redacted]",
    "postgresql://nano:tops3cret@db:5432/nano": "postgresql://nano:[redacted]@db:5432/nano",
    "mail to jane.doe+x@shop.example.org failed": "mail to [e-mail] failed",
    "price is $1 at nano@nano": "price is $1 at nano@nano",
}


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_taken_out(collector: Collector, text: str) -> None:
    key = f"r-secret-{list(SECRETS).index(text)}"
    collector.journal(json.dumps({"level": "info", "request_id": key, "error": text}))
    found = one(collector, key)
    assert json.loads(found.body)["error"] == found.fields["error"] == SECRETS[text]


def test_long_line_and_many_fields_stay_under_the_limits_of_loki(collector: Collector) -> None:
    many = {f"field_{number}": "x" * 5000 for number in range(200)}
    collector.journal(json.dumps({"level": "info", "request_id": "r-long", "user_id": "u1", **many}))
    found = one(collector, "r-long")
    assert len(found.body) == 131072
    assert len(found.fields) <= 40 and {"request_id": "r-long", "user_id": "u1"}.items() <= found.fields.items()
    assert max(len(str(value)) for value in found.fields.values()) <= 1024


def test_its_own_lines_are_not_sent(collector: Collector) -> None:
    collector.journal("Exporting failed. Will retry the request after interval.", unit="otel_collector.service")
    collector.journal("line after its own")
    one(collector, "line after its own")
    assert not [record for record in collector.receiver.records if "Exporting failed" in record.body]
