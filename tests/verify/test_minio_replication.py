"""Two object stores in two sites: what is written to one is in the other, and the loss of one stops nothing."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify.conftest import Run
from tests.verify.controller import read_inventory
from tests.verify.lab import Lab
from tests.verify.store import BUCKET, administrator, client, key, versions

# The fixture belongs to this module by its import.
__all__ = ["key"]
if len(read_inventory().get("minio", {}).get("hosts", [])) < 2:
    pytest.skip("the inventory has no two object stores", allow_module_level=True)

# Seconds until what is written to one store has to be in the other.
SECONDS = 15
PAIRS = [("store1", "store2"), ("store2", "store1")]
SURVIVOR, LOST = "store1", "store2"


@pytest.fixture
def same(lab: Lab, eventually: Callable[..., Any]) -> Callable[..., list[str]]:
    """Wait until both stores have so many versions of an object, the same ones, and return them."""

    def wait(path: str, count: int, seconds: float = SECONDS) -> list[str]:
        roots = [administrator(lab, store) for store in lab.group("minio")]

        def found() -> list[str]:
            seen = [versions(root, path) for root in roots]
            assert seen[0] == seen[1] and len(seen[0]) == count, seen
            return seen[0]

        return list(eventually(found, seconds, f"{path} is not in both stores"))

    return wait


@pytest.mark.parametrize(("here", "there"), PAIRS)
def test_object_old_version_and_mark_arrive(
    lab: Lab, key: str, same: Callable[..., list[str]], here: str, there: str
) -> None:
    api = client(lab, store=here)
    for body in ("first", "second"):
        assert api.ask("PUT", key, body).status == 200
    old = same(key, 2)[1]
    other = client(lab, store=there)
    assert (other.ask("GET", key).body, other.ask("GET", f"{key}?versionId={old}").body) == ("second", "first")
    assert administrator(lab, here).ask("DELETE", key).status == 204
    same(key, 3)
    assert other.ask("GET", key).status == 404


def test_deletion_of_a_version_stays_where_it_was_made(lab: Lab, key: str, same: Callable[..., list[str]]) -> None:
    assert client(lab, store=SURVIVOR).ask("PUT", key, "good").status == 200
    (version,) = same(key, 1)
    root = administrator(lab, SURVIVOR)
    assert root.ask("DELETE", f"{key}?versionId={version}").status == 204
    # What comes later has arrived: the deletion would have too.
    later = f"{key}-later"
    assert root.ask("PUT", later, "later").status == 200
    (own,) = same(later, 1)
    for store in lab.group("minio"):
        assert administrator(lab, store).ask("DELETE", f"{later}?versionId={own}").status == 204
    assert client(lab, store=LOST).ask("GET", key).body == "good"
    assert versions(root, key) == []


def test_logs_are_not_replicated(lab: Lab) -> None:
    for store in lab.group("minio"):
        root = administrator(lab, store)
        assert root.ask("GET", "/nano-logs?replication=").status == 404
        assert root.ask("GET", f"{BUCKET}?replication=").status == 200


def test_prometheus_knows_that_they_reach_each_other(lab: Lab, eventually: Callable[..., Any]) -> None:
    def found() -> bool:
        seen = {item["metric"]["instance"]: item["value"] for item in lab.promql("minio_node_replication_link_online")}
        assert seen == dict.fromkeys(lab.group("minio"), 1.0), seen
        return True

    eventually(found, 60, "not every store reaches the other")


@pytest.fixture
def lost(lab: Lab, eventually: Callable[..., Any]) -> Iterator[Callable[[], None]]:
    """Stop one store; return what starts it again, which comes anyway in the end."""

    def start() -> None:
        lab.host(LOST).run_expect([0], "systemctl start minio.service")
        eventually(lambda: administrator(lab, LOST).ask("GET", "/").status == 200, 60, f"{LOST} does not answer")

    lab.host(LOST).run_expect([0], "systemctl stop minio.service")
    yield start
    start()


@pytest.mark.disturbs
def test_loss_of_a_store_stops_nothing_and_it_catches_up(
    lab: Lab,
    key: str,
    same: Callable[..., list[str]],
    playbook: Callable[..., Run],
    lost: Callable[[], None],
    eventually: Callable[..., Any],
) -> None:
    api = client(lab, store=SURVIVOR)
    for number in range(5):
        before = time.monotonic()
        assert api.ask("PUT", key, f"written {number}").status == 200
        assert time.monotonic() - before < 5, "a write waits for the store that is away"
    assert administrator(lab, SURVIVOR).ask("DELETE", key).status == 204
    run = playbook("site.yml", "--limit", SURVIVOR, "--tags", "minio")
    assert run.rc == 0 and run.changed == [], run.output

    lost()

    def send_again() -> None:
        more = {"minio_replication_send_again": True}
        again = playbook("site.yml", "--limit", SURVIVOR, "--tags", "minio", extra_vars=more)
        assert again.rc == 0, again.output

    send_again()
    other = administrator(lab, LOST)
    eventually(lambda: len(versions(other, key)) >= 5, 120, "what was written meanwhile does not arrive")
    # The mark, which MinIO itself does not try again, waits for what it hides.
    if len(versions(other, key)) == 5:
        send_again()
    same(key, 6, 60)
    assert client(lab, store=LOST).ask("GET", key).status == 404


@pytest.mark.disturbs
def test_store_that_is_back_catches_up_by_itself(
    lab: Lab, key: str, same: Callable[..., list[str]], lost: Callable[[], None]
) -> None:
    assert client(lab, store=SURVIVOR).ask("PUT", key, "written meanwhile").status == 200
    lost()
    # Its rounds over what is pending take up to six minutes.
    same(key, 1, 420)


@pytest.mark.disturbs
@pytest.mark.usefixtures("lost")
def test_new_secret_waits_for_the_store_that_is_away(playbook: Callable[..., Run]) -> None:
    try:
        more = {"minio_replication_secret": secrets.token_hex(16)}
        run = playbook("site.yml", "--limit", SURVIVOR, "--tags", "minio", extra_vars=more)
        said = " ".join(run.output.split())
        assert run.rc == 0, run.output
        assert f"{LOST} does not get the buckets nano-uploads" in said and "does not answer" in said
        assert more["minio_replication_secret"] not in said
    finally:
        back = playbook("site.yml", "--limit", SURVIVOR, "--tags", "minio")
        assert back.rc == 0, back.output
