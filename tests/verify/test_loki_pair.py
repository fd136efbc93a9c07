"""Two members of Loki on S3: what one took the other finds, one may be lost, and its lines are found."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.verify.controller import INVENTORY
from tests.verify.lab import Lab
from tests.verify.otlp import Line, ask, log_request
from tests.verify.store import Client
from tests.verify.test_loki import lines_of, query_path

pytestmark = pytest.mark.disturbs
MEMBERS = ("db2", "store1")
LIMIT = ("site.yml", "--limit", ",".join(MEMBERS))
VARIABLES = {
    "loki_s3_bucket": "nano-logs",
    "loki_s3_endpoint": "https://store1:9000",
    "loki_s3_access_key": "loki",
    "loki_s3_ca_file": "/etc/nano/tls/ca.crt",
    # What is in S3 needs no copy there, and is refused one.
    "backup_telemetry_loki": False,
}
# What a run leaves on a host that is in no group loki any more.
LEFT = "/etc/systemd/system/loki.service /etc/nano/loki.yml /etc/nano/loki_s3 /var/lib/loki /opt/nano/loki"


@pytest.fixture(scope="module")
def pair(lab: Lab, playbook: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Loki on two hosts that have none otherwise; the lab's own goes on beside it."""
    copy = Path(shutil.copytree(INVENTORY, tmp_path_factory.mktemp("pair") / "lab"))
    tree = yaml.safe_load((copy / "hosts.yml").read_text(encoding="utf-8"))
    tree["all"]["children"]["loki"]["hosts"] = dict.fromkeys(MEMBERS)
    (copy / "hosts.yml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    (copy / "group_vars/loki.yml").write_text(yaml.safe_dump(VARIABLES), encoding="utf-8")
    try:
        run = playbook(*LIMIT, "--tags", "host,loki", inventory=copy)
        assert run.rc == 0, run.output
        yield MEMBERS
    finally:
        for host in MEMBERS:
            lab.host(host).run_expect([0], "systemctl disable --now loki.service")
            lab.host(host).run_expect([0], f"rm -rf {LEFT} && systemctl daemon-reload")
        # The firewalls forget them.
        run = playbook(*LIMIT, "--tags", "host")
        assert run.rc == 0, run.output


def push(lab: Lab, host: str, text: str) -> int:
    """Send a line to a member."""
    resource = {"service.name": "verify-pair", "site": lab.site(host), "host": host, "level": "info"}
    return ask(lab, host, f"https://{host}:3100/otlp/v1/logs", log_request(resource, [Line(text)]))[0]


def found(lab: Lab, host: str, key: str) -> list[str]:
    """Return the lines with a word, as a member finds them."""
    path = query_path(f'{{service_name="verify-pair"}} |= `{key}`')
    status, body = ask(lab, host, f"https://{host}:3100{path}")
    assert status == 200, body
    return [text for _, text in lines_of(body)]


def test_what_one_took_the_other_finds_and_one_may_be_lost(
    lab: Lab, pair: tuple[str, str], eventually: Callable[..., Any]
) -> None:
    one, other = pair
    key = secrets.token_hex(8)
    eventually(lambda: push(lab, one, f"first {key}") == 204, 60, "the pair takes no line")
    eventually(lambda: found(lab, other, key) == [f"first {key}"], 30, "the other member does not find it")

    # What is in memory is written to the store, where both read it.
    flushed = lab.host(one).run(
        "curl --silent --show-error --request POST --cacert /etc/nano/tls/ca.crt --cert /etc/nano/tls/host.crt "
        f"--key /etc/nano/tls/host.key https://{one}:3100/flush"
    )
    assert flushed.rc == 0, flushed.stderr
    secret = lab.secrets()["loki_s3_secret"]
    client = Client(lab, "store1", one, "loki", secret)
    eventually(
        lambda: "<Key>" in client.ask("GET", "/nano-logs?list-type=2").body, 30, "nothing lies in the object store"
    )

    lab.host(other).run_expect([0], "systemctl stop loki.service")
    try:
        eventually(lambda: found(lab, one, key) == [f"first {key}"], 60, "the member that is left does not find it")
    finally:
        lab.host(other).run_expect([0], "systemctl start loki.service")
    eventually(lambda: push(lab, other, f"second {key}") == 204, 60, "the member that came back takes no line")
    eventually(lambda: len(found(lab, one, key)) == 2, 30, "its line is not found")
