"""Whether this host's clock may be trusted. What goes by its age would all be gone after a clock has leapt ahead."""

from __future__ import annotations

import time

from . import database, units
from .config import Config
from .errors import BackupError

# Hosts with NTP differ by milliseconds. Backups are kept for days.
MOST_S = 60.0
SECONDS = 10
NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


def difference(config: Config, name: str) -> float:
    """Return how many seconds this host's clock is ahead of a server's. Raises BackupError."""
    server = database.server(config, "any", name, SECONDS)
    with server.connect("postgres", SECONDS) as connection, connection.cursor() as cursor:
        began = time.time()
        cursor.execute(NOW)
        ((there,),) = cursor.fetchall()
    return (began + time.time()) / 2 - float(there)


def check(config: Config) -> None:
    """Compare this host's clock with those of the database servers that answer; one that agrees is enough.

    Raises:
        BackupError: none agrees, or none answers.
    """
    told, words = {}, []
    for name in config.servers:
        try:
            told[name] = difference(config, name)
        except BackupError as error:
            words.append(str(error))
    if any(abs(seconds) <= MOST_S for seconds in told.values()):
        return
    if told:
        words = [
            f"this host's clock is {units.span(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'} that of {name}"
            for name, seconds in told.items()
        ]
    raise BackupError(
        f"{'; '.join(words)}: nothing is deleted until the clocks agree; `timedatectl` on both hosts tells more"
    )
