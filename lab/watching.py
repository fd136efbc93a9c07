"""What watching costs, on a lab that is up: per host at rest, per log line and span, and per request."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time

from lab import hosts, workload
from lab.common import LabError
from lab.hosts import step

HOST = "app1"
UNITS = (
    "otel_collector node_exporter prometheus-redis-exporter prometheus-nginx-exporter prometheus-postgres-exporter "
    "prometheus-blackbox-exporter nano-heartbeat loki jaeger prometheus alertmanager"
).split()
REST_S, PATIENCE_S = 30, 300
LINES, SPANS, BATCH = 100_000, 100_000, 500
# One line of nginx's log, as long as they are.
LINE = (
    '{"timestamp":"%s","level":"info","service":"nginx","action":"http_request","site":"site_a","http_method":"GET",'
    '"http_path":"/v1/nanos","http_status":200,"duration_ms":7,"upstream_ms":6,"request_id":"%s-%06d",'
    '"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","bytes_in":174,"bytes_out":450}'
)
SEND_LINES = """
import sys, datetime
key, count = sys.argv[1], int(sys.argv[2])
line = sys.stdin.read().rstrip("\\n")
with open("/var/log/nginx/bench.json", "w") as out:
    for number in range(count):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")
        out.write(line % (now, key, number) + "\\n")
"""
SEND_SPANS = """
import json, os, sys, time, urllib.request
count, batch = int(sys.argv[1]), int(sys.argv[2])
for _ in range(count // batch):
    now = time.time_ns()
    spans = [{"traceId": os.urandom(16).hex(), "spanId": os.urandom(8).hex(), "name": "GET /bench", "kind": 2,
              "startTimeUnixNano": str(now), "endTimeUnixNano": str(now + 5_000_000),
              "attributes": [{"key": "http.route", "value": {"stringValue": "/bench"}}]} for _ in range(batch)]
    body = {"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "bench"}}]},
                               "scopeSpans": [{"spans": spans}]}]}
    request = urllib.request.Request("http://127.0.0.1:4318/v1/traces", json.dumps(body).encode(),
                                     {"Content-Type": "application/json"})
    urllib.request.urlopen(request, timeout=60).read()
"""


def inside(host: str, *argv: str, text: str = "") -> str:
    """Run a command on a host of the lab and return what it prints.

    Raises:
        LabError: it failed.
    """
    done = subprocess.run(
        ["docker", "exec", "-i", host, *argv], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"{argv[0]} on {host}: {done.stderr.strip()[-500:]}")
    return done.stdout


def usage(host: str) -> dict[str, tuple[float, float]]:
    """Return CPU seconds and resident MiB of each of our units that runs on a host."""
    found = {}
    for unit in UNITS:
        pid = inside(host, "systemctl", "show", unit, "--property=MainPID", "--value").strip()
        if pid not in ("", "0"):
            fields = inside(host, "cat", f"/proc/{pid}/stat").rsplit(")", 1)[1].split()
            memory = next(line for line in inside(host, "cat", f"/proc/{pid}/status").splitlines() if "VmRSS" in line)
            found[unit] = ((int(fields[11]) + int(fields[12])) / 100, int(memory.split()[1]) / 1024)
    return found


def at_rest() -> list[str]:
    """Return rows of what each host spends on being watched, and on watching."""
    names = hosts.platforms()
    before = {host: usage(host) for host in names}
    # The time itself is what is measured.
    time.sleep(REST_S)
    rows = []
    for host in names:
        after = usage(host)
        own = [unit for unit in after if unit not in ("loki", "jaeger", "prometheus", "alertmanager")]
        servers = [unit for unit in after if unit not in own]
        for what, units in (("collector and exporters", own), (", ".join(servers), servers)):
            if units:
                spent = sum(after[unit][0] - before[host].get(unit, (0, 0))[0] for unit in units) / REST_S * 100
                rows.append(f"| {host}: {what} | {spent:.1f} % of a core | {sum(after[u][1] for u in units):.0f} MiB |")
    return rows


def settled() -> float:
    """Wait until the collector has nothing to do; return its CPU seconds."""
    deadline, last, calm = time.monotonic() + PATIENCE_S, -1.0, 0
    while calm < 3:
        now = usage(HOST)["otel_collector"][0]
        calm, last = (calm + 1, now) if now - last < 0.06 else (0, now)
        if time.monotonic() > deadline:
            raise LabError(f"the collector on {HOST} is not done after {PATIENCE_S} s")
        time.sleep(1)
    return last


def per_core(what: str, count: int, *argv: str, text: str = "") -> str:
    """Return a row of how many lines or spans a core of the collector carries in a second."""
    begin, started = settled(), time.monotonic()
    inside(HOST, "python3", "-c", *argv, text=text)
    spent = settled() - begin
    took = time.monotonic() - started
    return f"| {what}, {count:,} of them | {count / spent:,.0f} a second and core | {took:.0f} s in all |"


def arrived(key: str) -> int:
    """Return how many of the lines Loki has."""
    query = f'query=sum(count_over_time({{service_name="nginx"}} |= `{key}` [15m]))'
    tls = "/etc/nano/tls"
    url = "https://ops1:3100/loki/api/v1/query"
    argv = ["curl", "-s", "--cacert", f"{tls}/ca.crt", "--cert", f"{tls}/host.crt", "--key", f"{tls}/host.key"]
    found = json.loads(inside("ops1", *argv, "--get", url, "--data-urlencode", query))["data"]["result"]
    return int(found[0]["value"][1]) if found else 0


def overhead() -> list[str]:
    """Return what nano_telemetry's own benchmark prints: the same service with and without it, in turns."""
    argv = [str(workload.ensure() / "python"), "bench.py"]
    folder = workload.WORKLOAD / "nano_telemetry"
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"the benchmark of nano_telemetry: {done.stderr.strip()[-500:]}")
    return done.stdout.strip().splitlines()


def measure() -> str:
    """Return the part of docs/benchmarks.md on what watching costs. Needs a lab that is up and has nothing to do.

    Raises:
        LabError: the lab can't be measured, or lines were lost.
    """
    step("what watching costs, at rest")
    rest = at_rest()
    step("log lines through a collector")
    key = f"bench-{secrets.token_hex(4)}"
    lines = per_core("log lines of nginx", LINES, SEND_LINES, key, str(LINES), text=LINE)
    deadline = time.monotonic() + PATIENCE_S
    while (seen := arrived(key)) < LINES:
        if time.monotonic() > deadline:
            raise LabError(f"{seen} of {LINES} lines have arrived in Loki")
        time.sleep(1)
    inside(HOST, "rm", "/var/log/nginx/bench.json")
    step("spans through a collector")
    spans = per_core("spans", SPANS, SEND_SPANS, str(SPANS), str(BATCH))
    step("a request with and without telemetry")
    return "\n".join(
        [
            "## What watching costs",
            "",
            f"At rest, over {REST_S} s:",
            "",
            "| where and what | CPU | memory |",
            "|---|---|---|",
            *rest,
            "",
            "Through the collector of one host, to Loki and Jaeger; every line was counted there afterwards:",
            "",
            "| what | rate | time |",
            "|---|---|---|",
            lines,
            spans,
            "",
            "A request that does next to nothing, with nano_telemetry and without, in turns:",
            "",
            *(f"    {line}" for line in overhead()),
            "",
        ]
    )


if __name__ == "__main__":
    print(measure())
    sys.exit(0)
