"""After a failover the roles follow the data: the new primary is left alone, the old one becomes its standby."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify import primary
from tests.verify.conftest import Run
from tests.verify.lab import Lab

pytestmark = pytest.mark.disturbs
UNIT = "postgresql@17-main"
DATA = "/var/lib/postgresql/17/main"
# `host` tells the roles what the machine is; the rest is what an operator would run after a failover.
TAGS = ("--tags", "host,postgresql")


@pytest.fixture
def aside(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Stop a server and move its data aside, as the error message advises; thrown away when all is well again."""
    moved: list[str] = []

    def move(host: str) -> None:
        lab.host(host).run_expect([0], f"systemctl stop {UNIT}")
        lab.host(host).run_expect([0], f"mv {DATA} {DATA}.before")
        moved.append(host)

    yield move
    for host in moved:
        lab.host(host).run_expect([0], f"test -f {DATA}/PG_VERSION && rm -r {DATA}.before")


def is_standby(lab: Lab, host: str) -> bool:
    return lab.admin(host, "SELECT pg_is_in_recovery()") == "t"


def test_roles_follow_the_data_after_a_failover_and_back(
    lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any], aside: Callable[[str], None]
) -> None:
    word = secrets.token_hex(8)
    written = lab.psql("db2", "db1", f"CREATE TABLE takeover AS SELECT '{word}' AS word")
    assert written["rc"] == 0, written["stderr"]
    eventually(lambda: lab.admin("db2", "SELECT word FROM takeover", "nano") == word, 20, "db2 does not follow db1")

    lab.host("db1").run_expect([0], f"systemctl stop {UNIT}")
    # Else the guard of db2 would stop it: a primary that nobody has recorded.
    primary.claim(lab, "db2")
    assert lab.admin("db2", "SELECT pg_promote()") == "t"
    refused = playbook("site.yml", *TAGS)
    assert refused.rc != 0
    assert "db1 and db2 each hold the data of a primary, nothing was changed" in refused.output
    assert not lab.host("db1").service(UNIT).is_running, "the old primary was started"

    for old, new in (("db1", "db2"), ("db2", "db1")):
        if new == "db1":
            lab.host(old).run_expect([0], f"systemctl stop {UNIT}")
            primary.claim(lab, new)
            assert lab.admin(new, "SELECT pg_promote()") == "t"
        before = lab.main_pids(new)[UNIT]
        aside(old)
        followed = playbook("site.yml", *TAGS)
        assert followed.rc == 0, followed.output[-3000:]
        if new == "db2":
            assert "db2 is the primary: the data of db2 is a primary, not what the inventory says" in followed.output
        assert lab.main_pids(new)[UNIT] == before, f"the primary {new} was restarted"
        assert not is_standby(lab, new) and is_standby(lab, old)
        sql = f"SELECT state FROM pg_stat_replication WHERE application_name = '{old}'"
        eventually(lambda sql=sql, new=new: lab.admin(new, sql) == "streaming", 30, f"{old} does not follow {new}")
        assert lab.admin(old, "SELECT word FROM takeover", "nano") == word

    assert lab.psql("db2", "db1", "DROP TABLE takeover")["rc"] == 0
