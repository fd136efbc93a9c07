"""The marketplace as its customers see it, over nginx, from this machine; and many of them at once."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from lab import traffic
from tests.verify.controller import STATE

CA = str(STATE / "ca/ca.crt")


@dataclass(frozen=True)
class Customer:
    """Somebody with a session."""

    url: str
    token: str
    password: str

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        """Send a request as this customer."""
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return requests.request(method, f"{self.url}{path}", headers=headers, verify=CA, timeout=30, **more)


def url() -> str:
    """Return where the marketplace is."""
    return f"https://{traffic.entrance()[1]}"


def join() -> Customer:
    """Open an account and log in."""
    account = {"email": f"{secrets.token_hex(8)}@verify.example", "password": secrets.token_urlsafe(24)}
    opened = requests.post(f"{url()}/v1/users", json={**account, "display_name": "Verify"}, verify=CA, timeout=30)
    assert opened.status_code == 201, opened.text
    session = requests.post(f"{url()}/v1/sessions", json=account, verify=CA, timeout=30)
    assert session.status_code == 201, session.text
    return Customer(url(), session.json()["token"], account["password"])


DRAFT = {"title": "A verified thing", "description": "For a test", "category": "tests", "price_cents": 100}


class Crowd:
    """`make traffic` in the background; `end` waits for it and returns how every request went."""

    def __init__(self, folder: Path, rate: float, seconds: float, seed: int = 1) -> None:
        """Begin."""
        self.file, self.log = folder / f"crowd-{seed}.json", folder / f"crowd-{seed}.log"
        self.seconds = seconds
        argv = [*traffic.command(rate, seconds, seed), f"--json={self.file}"]
        with self.log.open("w", encoding="utf-8") as log:
            env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
            self.process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, env=env)
        # People have joined and something is for sale.
        deadline = time.monotonic() + 60
        while "answers" not in self.log.read_text() and self.process.poll() is None:
            assert time.monotonic() < deadline, f"the traffic has not begun after 60 s: {self.log.read_text()}"
            time.sleep(0.2)

    def end(self) -> list[dict[str, Any]]:
        """Return name, request_id, status and seconds of each answer; a request without one fails the test."""
        self.process.wait(timeout=self.seconds + 120)
        assert self.file.exists(), self.log.read_text()
        told = json.loads(self.file.read_text())
        assert told["broken"] == {}, told["broken"]
        assert told["held_back"] == 0, f"{told['held_back']} requests could not be sent in time"
        answers: list[dict[str, Any]] = told["answers"]
        return answers


def percentile(answers: list[dict[str, Any]], share: float) -> float:
    """Return the nearest-rank percentile of the answers' times, in seconds."""
    times = sorted(answer["seconds"] for answer in answers)
    return float(times[max(0, int(share * len(times) + 0.999999) - 1)])
