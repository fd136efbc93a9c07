"""`nano-backup metrics`: what the copies hold at this moment. Each part has seconds, not minutes, to answer."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from . import copies, database, exposition, manifest, physical, wal
from .config import Config
from .errors import BackupError
from .exposition import Page
from .log import Log
from .remote import DUMPS, Remote
from .state import State

# Seconds that a repository, a server and S3 may take.
REPOSITORY_S, DATABASE_S, S3_S = 15, 3, 10
PATIENCE = {"RCLONE_CONTIMEOUT": "3s", "RCLONE_TIMEOUT": "8s", "RCLONE_RETRIES": "1", "RCLONE_LOW_LEVEL_RETRIES": "1"}
SERVER = """
SELECT pg_is_in_recovery(), extract(epoch FROM clock_timestamp())::float8,
(SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready')
"""
# The last beat that a repository has: in its newest segment, or in the one before where that one holds none.
BEAT = """
SELECT extract(epoch FROM clock_timestamp() - max(written_at))::float8 FROM nano_ops.heartbeat_wal WHERE segment <= %s
"""
AGE = "SELECT extract(epoch FROM clock_timestamp() - max(written_at))::float8 FROM nano_ops.heartbeat"


class Parts:
    """What could be asked, and what it said."""

    def __init__(self, page: Page, log: Log) -> None:
        """Begin with nothing."""
        self.page, self.log = page, log

    def ask(self, part: str, function: Callable[[], None]) -> None:
        """Ask a part; one that does not answer leaves its series out."""
        try:
            function()
        except (BackupError, OSError) as error:
            self.page.put("up", 0, part=part)
            self.log.tell("metrics", f"{part}: {error}", "warning", error=str(error))
        else:
            self.page.put("up", 1, part=part)


def collect(config: Config, state: State, wal_state: State, log: Log) -> Page:
    """Return the page of a backup host."""
    page = Page()
    parts = Parts(page, log)
    infos: dict[int, physical.Info] = {}
    answering: dict[str, bool] = {}
    jobs: list[tuple[str, Callable[[], None]]] = [("local", partial(_local, config, page))]
    jobs += [(f"repository{each}", partial(_repository, config, each, page, infos)) for each in config.repositories]
    jobs += [(f"database_{each}", partial(_server, config, each, page, answering)) for each in config.servers]
    if config.s3:
        jobs.append(("s3", partial(_copies, config, page)))
    # One thread for each part: psycopg2 and processes wait outside of Python's lock.
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(lambda job: parts.ask(*job), jobs))
    parts.ask("heartbeat", lambda: _loss(config, infos, answering, page))
    exposition.results(page, state)
    for number, has_gap in wal.known(wal_state).items():
        page.put("wal_gap", has_gap, repository=number)
    page.put("rpo_objective_seconds", config.rpo_objective_seconds)
    page.put("metrics_timestamp_seconds", time.time())
    return page


def _repository(config: Config, number: int, page: Page, infos: dict[int, physical.Info]) -> None:
    infos[number] = found = physical.info(config, number, REPOSITORY_S)
    label = {"repository": str(number)}
    if found.newest:
        page.put("newest_timestamp_seconds", found.newest.stop, kind="physical", **label)
    page.put("repository_size_bytes", sum(each.stored_bytes for each in found.backups), **label)


def _local(config: Config, page: Page) -> None:
    for dump in reversed(manifest.local(config.directory)):
        page.put("newest_timestamp_seconds", dump.time, kind="dump", database=dump.database, place="local")
    if config.repository_path:
        page.put("repository_free_bytes", shutil.disk_usage(config.repository_path).free, repository="1")


def _copies(config: Config, page: Page) -> None:
    assert config.s3
    for dump in reversed(copies.whole(Remote(config, config.s3, PATIENCE).listing(DUMPS, S3_S))):
        page.put("newest_timestamp_seconds", dump.time, kind="dump", database=dump.database, place="s3")


def _server(config: Config, name: str, page: Page, answering: dict[str, bool]) -> None:
    """Add what a server says of itself, and note whether it is a standby."""
    server = database.server(config, "any", name, DATABASE_S)
    ((is_standby, _, waiting),) = server.ask("postgres", SERVER, DATABASE_S)
    page.put("wal_queue_files", waiting, database_host=name)
    if is_standby and config.application_database:
        ((age,),) = server.ask(config.application_database, AGE, DATABASE_S)
        page.put("rpo_seconds", age, copy=f"standby_{name}")
    answering[name] = bool(is_standby)


def _loss(config: Config, infos: dict[int, physical.Info], answering: dict[str, bool], page: Page) -> None:
    """Add the age of what each repository holds, by the times that the primary noted for its segments."""
    if not config.application_database:
        return
    # Without a primary a standby knows the same times; nothing newer was written.
    asked = sorted(answering, key=lambda name: answering[name])
    if not asked:
        raise BackupError("no server answers")
    server = database.server(config, "any", asked[0], DATABASE_S)
    with server.connect(config.application_database, DATABASE_S) as connection, connection.cursor() as cursor:
        for number, found in infos.items():
            if found.newest_wal:
                cursor.execute(BEAT, (found.newest_wal,))
                ((age,),) = cursor.fetchall()
                page.put("rpo_seconds", age, copy=f"repository{number}")
