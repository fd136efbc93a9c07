"""Callers that never stop asking, and remember everything that went wrong."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import httpx

Ask = Callable[[httpx.Client], httpx.Response]


class Load:
    """Some threads, each with kept connections of its own, that repeat a request until the end of the block."""

    def __init__(self, url: str, ask: Ask, threads: int = 6) -> None:
        self.url, self.ask = url, ask
        self.statuses: Counter[int] = Counter()
        self.errors: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self._end.is_set():
                try:
                    self.statuses[self.ask(client).status_code] += 1
                except httpx.HTTPError as error:
                    self.errors.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(90)

    @property
    def done(self) -> int:
        return sum(self.statuses.values())
