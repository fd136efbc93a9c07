"""Looks every few seconds whether this host, where it runs a primary, still is the one that the record names."""

from __future__ import annotations

import time
from pathlib import Path

from nano_primary_record import data as postgresql
from nano_primary_record import rounds
from nano_primary_record.settings import Settings, SettingsError, notify, replace_file, tell
from nano_primary_record.transport import Keepers

SERVICE = "nano-primary-guard"
# While a change is under way the next look is soon.
SPLIT_SECONDS = 0.5


class Watch:
    """What is remembered from one look to the next."""

    def __init__(self, settings: Settings) -> None:
        """Nothing has been seen yet."""
        self.settings = settings
        self.keepers = Keepers(settings)
        self.last_majority = time.monotonic()
        self.splits = 0
        self.fenced = 0
        self.said = ""

    def say(self, action: str, level: str = "info", **fields: object) -> None:
        """Tell a change of state, once."""
        if action != self.said:
            self.said = action
            tell(SERVICE, action, level, **fields)

    def read(self) -> rounds.Reading:
        """Read the record; complete a change that has been seen unfinished twice."""
        reading = self.keepers.look()
        self.splits = self.splits + 1 if reading.state == "split" else 0
        if self.splits > 1:
            reading = self.keepers.settle(reading)
        if reading.state == "agreed":
            self.last_majority = time.monotonic()
        return reading

    def primaries(self) -> list[Path]:
        """Return the data directories on which a server runs that is no standby."""
        return [
            path
            for path in postgresql.find(self.settings.data)
            if postgresql.server(path) and postgresql.kind(path) == "primary"
        ]

    def reason(self, reading: rounds.Reading) -> str:
        """Say why a primary must not run here, "" if it may."""
        value = reading.value
        if reading.state == "agreed" and value and value["host"] != self.settings.host:
            return f"the record (epoch {value['epoch']} of {value['time']}) names {value['host']} as the primary"
        alone, most = time.monotonic() - self.last_majority, self.settings.isolated_stop_seconds
        if most and alone > most:
            return (
                f"no majority of the keepers has answered for {alone:.0f} s: {self.keepers.complaints(reading.answers)}"
            )
        return ""

    def fence(self, path: Path, reason: str) -> None:
        """Stop the server on a data directory. Its unit starts it again, and the guard in front of it says no."""
        tell(SERVICE, "fencing", "error", error=f"PostgreSQL on {path} is stopped: {reason}")
        started = time.monotonic()
        by = postgresql.stop(path)
        self.fenced += 1
        tell(
            *(SERVICE, "fenced" if by else "not fenced", "error"),
            signal=by,
            duration_ms=round((time.monotonic() - started) * 1000),
        )

    def look(self) -> float:
        """Look once, act, and return the seconds until the next look."""
        reading = self.read()
        primaries = self.primaries()
        if primaries and (reason := self.reason(reading)):
            self.said = ""
            for path in primaries:
                self.fence(path, reason)
        elif reading.state == "agreed":
            value = reading.value
            names = value["host"] if value else "nobody"
            self.say(f"the record names {names}", epoch=value["epoch"] if value else 0)
        else:
            self.say(f"record {reading.state}", "warning", error=self.keepers.complaints(reading.answers))
        self.write(reading, bool(self.primaries()))
        return SPLIT_SECONDS if reading.state == "split" else self.settings.watch_seconds

    def write(self, reading: rounds.Reading, serves: bool) -> None:
        """Write the metrics."""
        value = reading.value
        figures = {
            "majority": ("Whether a majority of the keepers told the same.", int(reading.state == "agreed")),
            "reachable_keepers": ("Keepers that answered.", len(reading.answers)),
            "is_primary": ("Whether the record names this host.", int((value or {}).get("host") == self.settings.host)),
            "runs_primary": ("Whether a server runs here that is no standby.", int(serves)),
            "fenced_total": ("Servers stopped since the watch began.", self.fenced),
            "look_timestamp_seconds": ("When it was looked.", round(time.time(), 1)),
        }
        lines = []
        for name, (text, figure) in figures.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP nano_primary_record_{name} {text}", f"# TYPE nano_primary_record_{name} {kind}"]
            lines.append(f"nano_primary_record_{name} {figure}")
        if value:
            name = "nano_primary_record_agreed_epoch"
            lines.append(f"# HELP {name} Number of the record that is agreed, by the host that it names.")
            lines += [f"# TYPE {name} gauge", f'{name}{{host="{value["host"]}"}} {value["epoch"]}']
        replace_file(self.settings.metrics, "\n".join(lines) + "\n", 0o644)


def watch(settings: Settings) -> int:
    """Look until it is ended."""
    watching = Watch(settings)
    notify("READY=1")
    while True:
        started = time.monotonic()
        pause = settings.watch_seconds
        try:
            pause = watching.look()
        except (OSError, SettingsError) as error:
            watching.say("failing", "error", error=str(error))
        notify("WATCHDOG=1")
        time.sleep(max(0.1, pause - (time.monotonic() - started)))
