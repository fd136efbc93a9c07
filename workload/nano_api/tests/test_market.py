"""What people do with the marketplace, over HTTP, against everything that it really uses."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import httpx
import pytest

from .client import PASSWORD, Client, done
from .machine import Redis, Service

Join = Callable[..., Client]


def test_a_wrong_password_and_an_unknown_address_look_alike(join: Join, anyone: Client) -> None:
    user = join()
    wrong = anyone.post("/v1/sessions", json={"email": user.email, "password": "not the password"})
    unknown = anyone.post("/v1/sessions", json={"email": "nobody@example.org", "password": PASSWORD})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


def test_an_address_is_one_account_in_any_case(join: Join, anyone: Client) -> None:
    user = join()
    new = {"email": user.email.upper(), "password": PASSWORD, "display_name": "Another"}
    assert anyone.post("/v1/users", json=new).status_code == 409


def test_a_session_ends_with_logging_out(join: Join) -> None:
    user = join()
    assert user.get("/v1/users/me").json()["email"] == user.email
    assert user.delete("/v1/sessions").status_code == 204
    after = user.get("/v1/users/me")
    assert after.status_code == 401
    assert after.headers["www-authenticate"] == "Bearer"


def test_a_session_lives_an_hour_and_redis_knows_no_token(join: Join, redis: Redis) -> None:
    token = join().headers["Authorization"].removeprefix("Bearer ")
    import redis as client

    server = client.Redis(port=redis.port)
    names = [
        name
        for name in server.keys("session:*")
        if name == f"session:{hashlib.sha256(token.encode()).hexdigest()}".encode()
    ]
    assert len(names) == 1
    assert 3500 < server.ttl(names[0]) <= 3600
    assert not [name for name in server.keys("*") if token.encode() in name]


def test_a_profile_shows_a_new_name_at_once_and_no_address(join: Join, anyone: Client) -> None:
    user = join()
    first = anyone.get(f"/v1/users/{user.id}")
    done(user.patch("/v1/users/me", json={"display_name": "Renamed"}))
    second = anyone.get(f"/v1/users/{user.id}")
    assert (first.json()["display_name"], second.json()["display_name"]) == ("Someone", "Renamed")
    assert user.email not in second.text
    assert second.headers["cache-control"] == "public, max-age=300"


def test_from_draft_to_found(join: Join, anyone: Client) -> None:
    seller, moderator = join(), join(moderator=True)
    word = f"word{os.urandom(6).hex()}"
    nano = seller.draft(title=f"Brush {word}")
    assert anyone.get(f"/v1/nanos/{nano}").status_code == 404
    assert done(seller.get(f"/v1/nanos/{nano}"))["status"] == "draft"
    assert seller.post(f"/v1/nanos/{nano}/publish").json()["type"] == "/problems/no-file"
    done(seller.upload(nano, b"content"))
    assert done(anyone.get("/v1/nanos", params={"q": word}))["items"] == []
    item = done(seller.post(f"/v1/nanos/{nano}/publish"), 202)
    assert done(seller.post(f"/v1/nanos/{nano}/publish"), 202) == item
    assert seller.upload(nano, b"something else").status_code == 409
    assert seller.get("/v1/moderation/items").status_code == 403
    assert item["id"] in [each["id"] for each in done(moderator.get("/v1/moderation/items", params={"limit": 100}))]
    done(moderator.post(f"/v1/moderation/items/{item['id']}/approve"))
    assert moderator.post(f"/v1/moderation/items/{item['id']}/approve").status_code == 409
    # The empty result of before is kept for half an hour, but not past a change of the catalogue.
    assert [each["id"] for each in done(anyone.get("/v1/nanos", params={"q": word}))["items"]] == [nano]
    assert seller.patch(f"/v1/nanos/{nano}", json={"title": "Other"}).status_code == 409


def test_rejected_and_tried_again(join: Join) -> None:
    seller, moderator = join(), join(moderator=True)
    nano = seller.draft()
    done(seller.upload(nano, b"content"))
    item = done(seller.post(f"/v1/nanos/{nano}/publish"), 202)["id"]
    assert moderator.post(f"/v1/moderation/items/{item}/reject", json={}).status_code == 422
    rejected = done(moderator.post(f"/v1/moderation/items/{item}/reject", json={"reason": "blurred"}))
    assert (rejected["status"], rejected["reason"]) == ("rejected", "blurred")
    assert done(seller.patch(f"/v1/nanos/{nano}", json={"title": "Sharper"}))["title"] == "Sharper"
    assert done(seller.post(f"/v1/nanos/{nano}/publish"), 202)["id"] != item


@pytest.mark.parametrize("order", ["newest", "price", "rating"])
def test_pages_hold_each_nano_once_and_in_order(join: Join, anyone: Client, order: str) -> None:
    seller, moderator = join(), join(moderator=True)
    category = f"c{os.urandom(6).hex()}"
    made = [seller.published(moderator, category=category, price_cents=price) for price in (300, 100, 200, 100, 500)]
    buyer = join()
    for nano, stars in zip(made, (1, 5, 3, 5, 2), strict=True):
        done(buyer.put(f"/v1/nanos/{nano}/rating", json={"stars": stars}))
    seen, query = [], {"category": category, "order": order, "limit": "2"}
    while True:
        page = done(anyone.get("/v1/nanos", params=query))
        seen += page["items"]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert sorted(each["id"] for each in seen) == sorted(made)
    if order == "newest":
        assert [each["id"] for each in seen] == made[::-1]
    elif order == "price":
        assert [each["price_cents"] for each in seen] == [100, 100, 200, 300, 500]
    else:
        assert [each["rating"] for each in seen] == [5, 5, 3, 2, 1]
    cheap = {"category": category, "min_price_cents": 100, "max_price_cents": 200, "min_rating": 4}
    assert len(done(anyone.get("/v1/nanos", params=cheap))["items"]) == 2


def test_a_rating_is_replaced_and_not_added(join: Join) -> None:
    seller, moderator, buyer = join(), join(moderator=True), join()
    nano = seller.published(moderator)
    done(buyer.put(f"/v1/nanos/{nano}/rating", json={"stars": 1}))
    assert done(buyer.put(f"/v1/nanos/{nano}/rating", json={"stars": 4})) == {"rating": 4.0, "rating_count": 1}
    assert seller.put(f"/v1/nanos/{nano}/rating", json={"stars": 5}).status_code == 403
    assert buyer.put(f"/v1/nanos/{nano}/rating", json={"stars": 6}).status_code == 422


def test_a_chat_is_its_two_peoples_own(join: Join) -> None:
    seller, moderator, buyer = join(), join(moderator=True), join()
    nano = seller.published(moderator)
    asked = done(buyer.post(f"/v1/nanos/{nano}/chats", json={"body": "Is it soft?"}), 201)
    chat = f"/v1/chats/{asked['chat_id']}/messages"
    waiting = {each["id"]: each["waiting_since"] for each in done(seller.get("/v1/chats"))}
    assert waiting[asked["chat_id"]] == asked["created_at"]
    done(seller.post(chat, json={"body": "Very."}), 201)
    done(buyer.post(f"/v1/nanos/{nano}/chats", json={"body": "Thanks!"}), 201)
    assert [each["body"] for each in done(buyer.get(chat))] == ["Thanks!", "Very.", "Is it soft?"]
    assert moderator.get(chat).status_code == 404
    assert moderator.post(chat, json={"body": "Hello"}).status_code == 404
    assert seller.post(f"/v1/nanos/{nano}/chats", json={"body": "Me?"}).status_code == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/nowhere", None, 404),
        ("DELETE", "/v1/nanos", None, 405),
        ("GET", "/v1/nanos?limit=1000", None, 422),
        ("GET", "/v1/nanos?unknown=1", None, 422),
        ("GET", "/v1/nanos?cursor=nonsense", None, 400),
        ("GET", "/v1/nanos?q=%00", None, 422),
        ("GET", "/v1/users/not-an-id", None, 422),
        ("POST", "/v1/nanos", None, 401),
        ("POST", "/v1/users", {"email": "a@b", "password": "a-secret", "display_name": "x"}, 422),
        ("POST", "/v1/users", {"email": "a@b", "password": "a-secret-long", "display_name": "a\0b"}, 422),
    ],
)
def test_every_error_is_a_problem_that_repeats_nothing(
    anyone: Client, method: str, path: str, body: object, status: int
) -> None:
    answer = anyone.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.headers["cache-control"] == "no-store"
    assert "a-secret" not in answer.text


def test_public_answers_may_be_kept_and_private_ones_not(join: Join, anyone: Client) -> None:
    found = anyone.get("/v1/nanos")
    assert found.headers["cache-control"] == "public, max-age=300"
    assert anyone.get("/v1/nanos", headers={"If-None-Match": found.headers["etag"]}).status_code == 304
    assert join().get("/v1/users/me").headers["cache-control"] == "no-store"


def test_the_openapi_document_is_complete(anyone: Client) -> None:
    document = done(anyone.get("/openapi.json"))
    assert {"/v1/nanos", "/v1/nanos/{nano_id}/file", "/health/ready"} <= set(document["paths"])
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path} says nothing about itself"


def test_health(service: Service) -> None:
    assert httpx.get(f"{service.url}/health/live").json() == {"status": "alive"}
    ready = httpx.get(f"{service.url}/health/ready")
    assert ready.json() == {"status": "ready", "database": "ok", "storage": "ok", "cache": "ok"}
