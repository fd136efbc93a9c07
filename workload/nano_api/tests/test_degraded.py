"""What is missing without the cache or the object store, and the figures that tell of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx

from . import machine
from .client import PASSWORD, Client, done
from .machine import Redis, Service, wait_for

Env = dict[str, str]


def metric(service: Service, name: str) -> float:
    text = httpx.get(f"{service.url}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith(name)]
    assert lines, f"no {name} in:\n{text}"
    return float(lines[0].split()[-1])


def test_without_redis_only_sessions_are_missing(
    env: Env, scratch: Callable[[], Path], redis: Redis, start: Callable[..., Service]
) -> None:
    own = Redis(scratch())
    own.start()
    service = start(env, NANO_REDIS_PORT=str(own.port))
    with Client(service.url) as someone:
        someone.join()
        assert someone.get("/v1/nanos").status_code == 200
        own.stop()
        try:
            statuses = {someone.get(f"/v1/nanos?limit={number}").status_code for number in range(1, 30)}
            assert statuses == {200}
            assert someone.get(f"/v1/users/{someone.id}").status_code == 200
            assert someone.post("/v1/sessions", json={"email": someone.email, "password": PASSWORD}).status_code == 503
            assert someone.get("/v1/users/me").status_code == 503
            ready = someone.get("/health/ready")
            assert (ready.status_code, ready.json()["cache"]) == (200, "degraded")
            assert metric(service, 'nano_cache_errors_total{operation="read"}') > 0
            assert "cache unavailable" in service.text()
        finally:
            own.start()
        someone.log_in()
        assert someone.get("/v1/users/me").status_code == 200
    own.stop()


def test_without_the_object_store_it_is_not_ready_and_an_upload_says_so(
    env: Env, start: Callable[..., Service]
) -> None:
    service = start(env, NANO_S3_ENDPOINT=f"http://127.0.0.1:{machine.free_port()}")
    ready = httpx.get(f"{service.url}/health/ready", timeout=10)
    assert (ready.status_code, ready.json()["storage"]) == (503, "unreachable")
    with Client(service.url) as seller:
        seller.join()
        answer = seller.upload(seller.draft(), b"content")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    assert metric(service, 'nano_s3_upload_errors_total{reason="connection"}') == 1


def test_the_business_figures_follow_what_happens(join: Callable[..., Client], service: Service) -> None:
    seller, moderator, buyer = join(), join(moderator=True), join()
    names = ("nano_uploads_total", "nano_created_total", "nano_chat_response_seconds_count")
    before = {name: metric(service, name) for name in names}
    asked = done(buyer.post(f"/v1/nanos/{seller.published(moderator)}/chats", json={"body": "Is it soft?"}), 201)
    done(seller.post(f"/v1/chats/{asked['chat_id']}/messages", json={"body": "Very."}), 201)
    assert {name: metric(service, name) - before[name] for name in names} == dict.fromkeys(names, 1)
    wait_for(lambda: metric(service, "nano_daily_active_users") >= 3, "active users are counted")
    waiting = seller.draft()
    done(seller.upload(waiting, b"content"))
    # From the queue itself: the gauge may still tell of the items that were decided a moment ago.
    queued = len(done(moderator.get("/v1/moderation/items", params={"limit": 100})))
    item = done(seller.post(f"/v1/nanos/{waiting}/publish"), 202)["id"]
    wait_for(lambda: metric(service, "moderation_queue_size") == queued + 1, "the queue is counted")
    done(moderator.post(f"/v1/moderation/items/{item}/approve"))
    wait_for(lambda: metric(service, "moderation_queue_size") == queued, "the queue is shorter")
