"""What one request leaves in the log."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .client import PASSWORD, Client, done
from .machine import Service, wait_for


def lines(service: Service, request: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in service.text().splitlines() if line.startswith("{")]
    return [entry for entry in entries if entry.get("request_id") == request]


def test_a_line_says_who_did_what_to_which(join: Callable[..., Client], service: Service) -> None:
    seller = join()
    nano = seller.draft()
    done(seller.get(f"/v1/nanos/{nano}", headers={"X-Request-ID": "follow-me-1"}))
    changed = {"title": "Another"}
    done(seller.patch(f"/v1/nanos/{nano}", json=changed, headers={"X-Request-ID": "follow-me-2"}))
    wait_for(lambda: lines(service, "follow-me-2"), "the request's line", log=service.text)
    line = lines(service, "follow-me-2")[-1]
    expected = {
        "action": "nanos.change",
        "user_id": seller.id,
        "nano_id": nano,
        "http_status": 200,
        "http_method": "PATCH",
    }
    assert {name: line.get(name) for name in expected} == expected
    assert line["http_path"] == "/v1/nanos/{nano_id}"
    assert line["duration_ms"] > 0


def test_no_secret_ever(join: Callable[..., Client], service: Service) -> None:
    someone = join()
    token = someone.headers["Authorization"].removeprefix("Bearer ")
    someone.post("/v1/users", json={"email": someone.email, "password": PASSWORD, "display_name": "\0"})
    someone.get(f"/v1/users/me?token={token}", headers={"X-Request-ID": "follow-me-3"})
    wait_for(lambda: lines(service, "follow-me-3"), "the request's line", log=service.text)
    for secret in (token, PASSWORD, someone.email):
        assert secret not in service.text()


def test_lines_are_json_from_the_first_to_the_last(env: dict[str, str], start: Callable[..., Service]) -> None:
    service = start(env, NANO_DRAIN_SECONDS="0")
    assert service.stop() == 0
    assert service.text()
    assert [line for line in service.text().splitlines() if not line.startswith("{")] == []
