"""Who takes part in a run, and how every request of it went."""

from __future__ import annotations

import random
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx


@dataclass
class Answer:
    """How one request went."""

    name: str
    request_id: str
    status: int
    seconds: float


@dataclass
class Person:
    """Somebody with an account and a session."""

    email: str
    password: str
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Return what says who they are."""
        return {"Authorization": f"Bearer {self.token}"}


@dataclass
class Run:
    """One run: who takes part, what there is by now, and how every request went."""

    client: httpx.AsyncClient
    draw: random.Random
    mark: str = field(default_factory=lambda: f"{int(time.time()):x}{secrets.token_hex(2)}")
    people: list[Person] = field(default_factory=list)
    nanos: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    sent: int = 0

    async def ask(
        self, name: str, method: str, path: str, who: Person | None = None, **more: object
    ) -> httpx.Response | None:
        """Send one request; return its answer, or None when there was none."""
        self.sent += 1
        request_id = f"traffic-{self.mark}-{self.sent:06d}"
        headers = {"X-Request-ID": request_id, **(who.headers if who else {})}
        headers |= more.pop("headers", {})  # type: ignore[call-overload]
        begin = time.monotonic()
        try:
            answer = await self.client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            self.broken[f"{name}: {type(error).__name__}"] += 1
            return None
        self.answers.append(Answer(name, request_id, answer.status_code, time.monotonic() - begin))
        return answer

    def somebody(self) -> Person:
        """Return one of the people."""
        return self.draw.choice(self.people)

    def nano(self) -> str:
        """Return one of the nanos, or an id that nobody has when there is none yet."""
        return self.draw.choice(self.nanos) if self.nanos else "00000000-0000-4000-8000-000000000000"


async def join(run: Run, number: int) -> Person:
    """Open an account and log in. Raises SystemExit when that fails: nothing else would work."""
    person = Person(f"{run.mark}-{number}@traffic.example", secrets.token_urlsafe(18))
    account = {"email": person.email, "password": person.password, "display_name": f"Person {number}"}
    expect(run, await run.ask("open an account", "POST", "/v1/users", json=account))
    await log_in(run, person)
    return person


async def log_in(run: Run, person: Person) -> None:
    """Begin a session. Raises SystemExit."""
    account = {"email": person.email, "password": person.password}
    person.token = expect(run, await run.ask("log in", "POST", "/v1/sessions", json=account)).json()["token"]


def expect(run: Run, answer: httpx.Response | None) -> httpx.Response:
    """Return the answer to what must succeed. Raises SystemExit."""
    if answer is None or answer.status_code != 201:
        said = f"{answer.status_code}: {answer.text[:200]}" if answer is not None else ", ".join(run.broken)
        sys.exit(f"error: {run.client.base_url} lets nobody in: {said}")
    return answer
