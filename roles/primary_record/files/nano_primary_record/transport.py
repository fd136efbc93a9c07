"""Messages to the keepers over mutual TLS: all at once, each with a deadline of its own."""

from __future__ import annotations

import http.client
import json
import queue
import random
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from nano_primary_record import rounds
from nano_primary_record.register import Ballot
from nano_primary_record.settings import Settings, SettingsError, client_context

Outcome = TypeVar("Outcome")
# How long one waits for the rest when enough have answered: all shall hear of a change, none shall delay it.
GRACE_SECONDS = 0.5


class Keepers:
    """The keepers as one host reaches them."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings; certificates are read for each round, so that a renewed one counts."""
        self.settings = settings
        self.names = sorted(settings.keepers)
        self.quorum = rounds.majority(self.names)
        # Why a keeper did not answer when it was asked last.
        self.errors: dict[str, str] = {}
        self._identity = f"{settings.host}-{secrets.token_hex(8)}"
        self._highest = 0

    def _ask(
        self, context: ssl.SSLContext, name: str, operation: str, message: Mapping[str, Any], deadline: float
    ) -> dict[str, Any]:
        """Send one message and return the answer.

        Raises:
            OSError, http.client.HTTPException, ValueError: there was none.
        """
        left = max(0.05, deadline - time.monotonic())
        body = json.dumps({**message, "keepers": self.names})
        with socket.create_connection(self.settings.keepers[name], timeout=left) as plain:
            # By its name, not by its address: one host that answers at two addresses is not two keepers.
            with context.wrap_socket(plain, server_hostname=name) as secure:
                connection = http.client.HTTPConnection(name)
                connection.sock = secure
                connection.request("POST", f"/v1/{operation}", body, {"Content-Type": "application/json"})
                secure.settimeout(max(0.05, deadline - time.monotonic()))
                answer = connection.getresponse()
                found = json.loads(answer.read(65536))
        if answer.status != 200 or not isinstance(found, dict):
            raise ValueError(
                found.get("error", f"it answers {answer.status}") if isinstance(found, dict) else "no object"
            )
        return found

    def collect(self, ask: rounds.Ask) -> dict[str, dict[str, Any]]:
        """Send the messages of a round and return the answers that came in time.

        Raises:
            SettingsError: the host's certificate cannot be read.
        """
        try:
            context = client_context(self.settings)
        except OSError as error:
            raise SettingsError(f"{self.settings.tls}: {error}; run it as root, and role host before it") from None
        deadline = time.monotonic() + self.settings.answer_seconds
        results: queue.SimpleQueue[tuple[str, dict[str, Any] | str]] = queue.SimpleQueue()

        def work(name: str, message: Mapping[str, Any]) -> None:
            try:
                results.put((name, self._ask(context, name, ask.operation, message, deadline)))
            except (OSError, http.client.HTTPException, ValueError) as error:
                results.put((name, str(error) or type(error).__name__))

        for name, message in ask.messages.items():
            threading.Thread(target=work, args=(name, message), daemon=True).start()
        answers: dict[str, dict[str, Any]] = {}
        waiting = set(ask.messages)
        end = deadline
        while waiting and (left := end - time.monotonic()) > 0:
            try:
                name, result = results.get(timeout=left)
            except queue.Empty:
                break
            waiting.discard(name)
            if isinstance(result, str):
                self.errors[name] = result
                continue
            self.errors.pop(name, None)
            answers[name] = result
            if len(rounds.good(answers)) >= ask.enough:
                end = min(deadline, time.monotonic() + GRACE_SECONDS)
        # Whoever was only slower than the others has done nothing wrong.
        if end >= deadline:
            self.errors |= {name: f"no answer within {self.settings.answer_seconds:g} s" for name in waiting}
        return answers

    def run(self, work: Generator[rounds.Ask, rounds.Answers, Outcome]) -> Outcome:
        """Carry an attempt of rounds.py through and return its result; its exceptions pass."""
        try:
            ask = next(work)
            while True:
                ask = work.send(self.collect(ask))
        except StopIteration as end:
            result: Outcome = end.value
            return result

    def persist(
        self, attempt: Callable[[Ballot], Generator[rounds.Ask, rounds.Answers, Outcome]], seconds: float
    ) -> Outcome:
        """Try an attempt with ever higher ballots until it is through, for some seconds.

        Raises:
            NoMajority: too few keepers answered, or others were always faster; nothing is known of the change.
            Declined, ClaimError: by the change itself.
        """
        deadline = time.monotonic() + seconds
        pause = 0.02
        while True:
            self._highest += 1
            try:
                return self.run(attempt((self._highest, self._identity)))
            except rounds.Contended as contended:
                self._highest = max(self._highest, contended.highest)
                if time.monotonic() > deadline:
                    raise rounds.NoMajority({}) from None
            except rounds.NoMajority:
                if time.monotonic() > deadline:
                    raise
            # Two that collide draw different pauses.
            time.sleep(random.uniform(pause / 4, pause))
            pause = min(1.0, pause * 2)

    def look(self, *, everybody: bool = False) -> rounds.Reading:
        """Read the record without a trace."""
        return self.run(rounds.look(self.names, len(self.names) if everybody else 0))

    def change(self, update: rounds.Update, seconds: float) -> Any:
        """Change the record by a function of what it is; see rounds.change and persist."""
        return self.persist(lambda ballot: rounds.change(self.names, ballot, update, self.quorum), seconds)

    def settle(self, reading: rounds.Reading, seconds: float = 3.0) -> rounds.Reading:
        """Complete a change that was cut off, where a reading has found one; what cannot be settled stays split."""
        if reading.state != "split":
            return reading
        try:
            value = self.change(lambda current: current, seconds)
        except rounds.NoMajority:
            return reading
        return rounds.Reading("agreed", value, reading.answers)

    def complaints(self, answers: rounds.Answers | None = None) -> str:
        """Say who did not answer last time, and why; with answers, also who said no or has no vote."""
        said = dict(self.errors)
        for name, answer in (answers or {}).items():
            if not answer.get("ok"):
                said[name] = str(answer.get("why"))
            elif answer.get("state", "voting") != "voting":
                said[name] = str(answer.get("reason") or answer["state"])
        return "; ".join(f"{name}: {said[name]}" for name in self.names if name in said)
