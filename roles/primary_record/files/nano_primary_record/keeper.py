"""A keeper: one register on disk, served over mutual TLS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nano_primary_record import record, register, rounds
from nano_primary_record.register import Ballot, Register, Value
from nano_primary_record.settings import Settings, SettingsError, replace_file, tell
from nano_primary_record.transport import Keepers

SERVICE = "nano-primary-record"
LEARN_SECONDS = 2.0


class Forbidden(Exception):
    """Who asks may not do this."""


def safe_change(old: list[str], new: list[str]) -> bool:
    """Whether a keeper may go on with its register under another list of keepers.

    One exchanged for another, or two more: then every old majority meets every new one, as the newcomers learn from a
    majority of the new list before they vote. Anything else could leave the record with those who went.
    """
    gone, come = set(old) - set(new), set(new) - set(old)
    return (len(gone), len(come)) in {(0, 0), (1, 1), (0, 2)}


class Keeper:
    """The register of this host and who may touch it. Its methods are called by many threads."""

    def __init__(self, settings: Settings) -> None:
        """Read the register from the disk, if there is one."""
        self.settings = settings
        self.names = sorted(settings.keepers)
        self.path: Path = settings.state / "register.json"
        self.lock = threading.Lock()
        self.register: Register | None = None
        self.waiting_life = register.new_life()
        # Why it must not vote although there is a file.
        self.reason = ""
        self._read()

    def _read(self) -> None:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        cure = f"stop this keeper, move {self.path} away and start it: it learns anew from the others"
        try:
            given = json.loads(text)
            found = register.from_json(given)
            if given["keeper"] != self.settings.host:
                self.reason = f"its register is that of {given['keeper']}; {cure}"
            elif not safe_change(given["keepers"], self.names):
                self.reason = (
                    f"its register belongs to the keepers {', '.join(given['keepers'])} and now there shall be "
                    f"{', '.join(self.names)}: exchange one keeper at a time, or go from three to five"
                )
            else:
                self.register = found
                if given["keepers"] != self.names:
                    self._write(found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.reason = f"{self.path} is damaged ({error}); {cure}"

    def _write(self, fresh: Register) -> None:
        """Put a register on the disk, then into memory: nobody hears of what could still be lost."""
        content = {"keeper": self.settings.host, "keepers": self.names, **register.to_json(fresh)}
        replace_file(self.path, json.dumps(content) + "\n")
        self.register = fresh

    def state(self) -> str:
        """Return `voting`, `empty` or `stuck`."""
        return "stuck" if self.reason else "voting" if self.register else "empty"

    def look(self) -> dict[str, Any]:
        """Return what the keeper holds."""
        with self.lock:
            held = register.to_json(self.register) if self.register else {"life": self.waiting_life}
            return {"ok": True, "keeper": self.settings.host, "state": self.state(), "reason": self.reason, **held}

    def answer(self, operation: str, message: Mapping[str, Any], caller: str) -> dict[str, Any]:
        """Follow a message.

        Args:
            operation: look, found, prepare or accept.
            message: what the caller has sent.
            caller: the name on its certificate.

        Raises:
            Forbidden: the caller may only look.
            ValueError: the message is none, or is meant for other keepers.
            OSError: the disk did not take it; nothing was changed.
        """
        if operation == "look":
            return self.look()
        if caller not in self.settings.writers:
            raise Forbidden(f"{caller} may look at the record; database hosts and keepers may change it")
        if message.get("keepers") != self.names:
            raise ValueError(
                f"{self.settings.host} is one of the keepers {', '.join(self.names)} and {caller} knows others: "
                "run site.yml --tags primary_record for all hosts"
            )
        with self.lock:
            if operation == "found":
                return self._found(message)
            if not self.register:
                return {"ok": False, "why": self.state()}
            ballot = register.as_ballot(message.get("ballot"))
            try:
                if operation == "prepare":
                    fresh = register.prepare(self.register, ballot)
                else:
                    fresh = self._accepted(ballot, message, caller)
            except register.Refusal as refusal:
                return {"ok": False, "why": refusal.why, "promised": list(refusal.promised)}
            self._write(fresh)
            return {"ok": True, **register.to_json(fresh)}

    def _accepted(self, ballot: Ballot, message: Mapping[str, Any], caller: str) -> Register:
        assert self.register
        value: Value | None = message.get("value")
        if value is not None and (wrong := record.valid(value)):
            raise ValueError(f"this is no record: {wrong}")
        fresh = register.accept(self.register, ballot, value, str(message.get("life")))
        if value and value != self.register.value:
            fields = {name: value[name] for name in ("epoch", "host", "timeline")}
            tell(SERVICE, "record taken", **fields, by=caller)
        return fresh

    def _found(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if self.register or self.reason or message.get("life") != self.waiting_life:
            return {"ok": False, "why": "not empty"}
        self._write(Register(register.new_life()))
        tell(SERVICE, "first register made")
        return {"ok": True}

    def learn(self, ballot: Ballot, value: Value | None) -> None:
        """Begin to vote with what a majority of the others has told, if the register is still missing."""
        with self.lock:
            if not self.register and not self.reason:
                self._write(Register(register.new_life(), ballot, ballot, value))
                tell(SERVICE, "learned from the others", epoch=record.epoch(value))

    def learn_when_empty(self) -> None:
        """Try to learn until there is a register; for a thread of its own."""
        keepers = Keepers(self.settings)
        said = ""
        while self.state() == "empty":
            try:
                found = self._learn(keepers)
            except (OSError, SettingsError) as error:
                found = str(error)
            if found and found != said:
                tell(SERVICE, "empty, waiting for the others", "warning", error=found)
            said = found
            time.sleep(LEARN_SECONDS)

    def _learn(self, keepers: Keepers) -> str:
        """Try to learn once; return why it did not come to that."""
        answers = keepers.look().answers
        voting = [name for name, answer in answers.items() if answer["state"] == "voting"]
        if len(voting) >= keepers.quorum:
            try:
                self.learn(*keepers.persist(lambda ballot: rounds.join(self.names, self.settings.host, ballot), 2.0))
                return ""
            except rounds.NoMajority as error:
                answers = error.answers
        # Before the first record nobody is asked to promise anything: a promise is what tells that there was one.
        return f"fewer than {keepers.quorum} others vote: {keepers.complaints(answers)}"

    def metrics(self) -> str:
        """Return what Prometheus reads."""
        held = self.look()
        value = held.get("value") or {}
        host = str(value.get("host", ""))
        lines = [
            "# HELP nano_primary_record_voting Whether this keeper has a register and votes.",
            "# TYPE nano_primary_record_voting gauge",
            f"nano_primary_record_voting {int(held['state'] == 'voting')}",
            "# HELP nano_primary_record_epoch Number of the record that this keeper holds, by the host that it names.",
            "# TYPE nano_primary_record_epoch gauge",
            f'nano_primary_record_epoch{{host="{host}"}} {value.get("epoch", 0)}',
            "# HELP nano_primary_record_timeline Timeline in the record that this keeper holds.",
            "# TYPE nano_primary_record_timeline gauge",
            f"nano_primary_record_timeline {value.get('timeline', 0)}",
            "# HELP nano_primary_record_keepers Keepers that this one knows, itself among them.",
            "# TYPE nano_primary_record_keepers gauge",
            f"nano_primary_record_keepers {len(self.names)}",
        ]
        return "\n".join(lines) + "\n"
