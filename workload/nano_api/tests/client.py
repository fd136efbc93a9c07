"""What a person does with the service, over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import httpx

PASSWORD = "correct horse battery"


class Client(httpx.Client):
    """A connection to one service, logged in after `join`."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, timeout=30)
        self.email = f"{uuid.uuid4().hex}@example.org"
        self.id = ""

    def join(self) -> None:
        new = {"email": self.email, "password": PASSWORD, "display_name": "Someone"}
        self.id = done(self.post("/v1/users", json=new), 201)["id"]
        self.log_in()

    def log_in(self) -> None:
        session = done(self.post("/v1/sessions", json={"email": self.email, "password": PASSWORD}), 201)
        self.headers["Authorization"] = f"Bearer {session['token']}"

    def draft(self, **more: Any) -> str:
        plain = {"title": "A brush", "description": "For paint", "category": "brushes", "price_cents": 300}
        return str(done(self.post("/v1/nanos", json={**plain, **more}), 201)["id"])

    def upload(self, nano: str, content: bytes, kind: str = "image/png") -> httpx.Response:
        return self.put(f"/v1/nanos/{nano}/file", content=content, headers={"Content-Type": kind})

    def published(self, moderator: Client, content: bytes = b"some bytes", **more: Any) -> str:
        nano = self.draft(**more)
        done(self.upload(nano, content))
        item = done(self.post(f"/v1/nanos/{nano}/publish"), 202)["id"]
        done(moderator.post(f"/v1/moderation/items/{item}/approve"))
        return nano


def done(response: httpx.Response, status: int = 200) -> Any:
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    return response.json() if response.content else None
