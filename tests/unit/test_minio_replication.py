"""Two real MinIO stores that replicate to each other, also through the loss of one."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.module_utils import minio_marks, minio_replication

from .minio import REPLICATION, REPLICATION_SECRET, Client, Minio, binary, wait
from .ready_page import identity

BUCKETS: list[dict[str, Any]] = [
    {"name": "uploads", "noncurrent_days": 30},
    {"name": "locked", "object_lock": True, "lock_mode": "governance", "lock_days": 1, "noncurrent_days": 1},
]
NAMES = ["uploads", "locked"]
Pair = tuple[Minio, Minio]


def user(secret: str = REPLICATION_SECRET) -> dict[str, Any]:
    return {"access_key": REPLICATION, "secret": secret, "replicates": NAMES}


def changes(pair: Pair, *, secret: str = REPLICATION_SECRET) -> list[list[str]]:
    """Set up both, as a run of the role does: first what each has, then what they have of each other."""
    one, two = pair
    return [
        *(store.fill(BUCKETS, [user(secret)])["changes"] for store in pair),
        one.replicate(NAMES, [two], secret=secret)["changes"],
        two.replicate(NAMES, [one], secret=secret)["changes"],
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("minio")
    program, tls = binary(folder / "program"), identity(folder / "tls")
    one, two = (Minio(name, program, folder / name, tls) for name in ("store1", "store2"))
    try:
        one.start()
        two.start()
        yield one, two
    finally:
        one.stop()
        two.stop()


@pytest.fixture
def pair(made: Pair) -> Pair:
    """Both stores, set up and running, whatever a test before has done."""
    for store in made:
        if store.process is None:
            store.start()
    changes(made)
    return made


def same(pair: Pair, bucket: str, key: str, count: int) -> None:
    """Wait until both stores have the same versions of a key."""
    here, there = (store.client() for store in pair)
    wait(
        lambda: len(here.versions(bucket, key)) == count and here.versions(bucket, key) == there.versions(bucket, key),
        20,
        f"{bucket}/{key} is not in both stores",
    )


def name() -> str:
    return f"key-{secrets.token_hex(6)}"


def test_first_run_sets_up_and_second_changes_nothing(made: Pair) -> None:
    one, two = made
    told = one.replicate(NAMES, [two], check=True)
    assert told["changes"] == [f"bucket {bucket} is replicated to store2" for bucket in NAMES]
    # The other one has neither bucket nor user yet.
    assert one.fill(BUCKETS, [user()]).changed
    early = one.replicate(NAMES, [two])
    assert not early.changed and not early.failed
    assert "store2 does not get the buckets uploads, locked" in early["waiting"][0]
    assert [bool(texts) for texts in changes(made)] == [False, True, True, True]
    assert changes(made) == [[], [], [], []]
    assert one.replicate(NAMES, [two], check=True)["changes"] == []


@pytest.mark.parametrize("bucket", NAMES)
@pytest.mark.parametrize("way", [1, -1])
def test_object_old_version_and_mark_arrive(pair: Pair, bucket: str, way: int) -> None:
    here, there = (store.client() for store in pair[::way])
    key = name()
    for body in (b"first", b"second"):
        assert here.ask("PUT", f"/{bucket}/{key}", body=body).status == 200
    same(pair, bucket, key, 2)
    assert there.ask("GET", f"/{bucket}/{key}").body == b"second"
    assert here.ask("DELETE", f"/{bucket}/{key}").status == 204
    same(pair, bucket, key, 3)
    assert there.ask("GET", f"/{bucket}/{key}").status == 404


def test_deletion_of_a_version_stays_where_it_was_made(pair: Pair) -> None:
    here, there = (store.client() for store in pair)
    key, after = name(), name()
    assert here.ask("PUT", f"/uploads/{key}", body=b"good").status == 200
    same(pair, "uploads", key, 1)
    ((_, version),) = here.versions("uploads", key)
    assert here.ask("DELETE", f"/uploads/{key}", {"versionId": version}).status == 204
    # What was written later has arrived: the deletion would have too.
    assert here.ask("PUT", f"/uploads/{after}", body=b"later").status == 200
    same(pair, "uploads", after, 1)
    assert (here.versions("uploads", key), there.versions("uploads", key)) == ([], [("Version", version)])


def test_copy_is_locked_as_long_as_the_original(pair: Pair) -> None:
    here, there = (store.client() for store in pair)
    key = name()
    assert here.ask("PUT", f"/locked/{key}", body=b"good").status == 200
    same(pair, "locked", key, 1)
    ((_, version),) = there.versions("locked", key)

    def until(client: Client) -> list[str]:
        body = client.ask("GET", f"/locked/{key}", {"retention": "", "versionId": version}).body.decode()
        # Down to the second: the copy has no fractions of it.
        return re.findall(r"<Mode>(\w+)<.*<RetainUntilDate>([^.<]+)", body)

    assert until(here) == until(there) != []
    assert there.ask("DELETE", f"/locked/{key}", {"versionId": version}).status == 400


def test_store_answers_with_what_it_has_itself(pair: Pair) -> None:
    one, two = pair
    key = name()
    two.stop()
    assert one.client().ask("PUT", f"/uploads/{key}", body=b"good").status == 200
    one.stop()
    two.start()
    assert two.client().ask("GET", f"/uploads/{key}").status == 404


def test_nothing_is_set_while_the_other_store_is_away(pair: Pair) -> None:
    one, two = pair
    two.stop()
    assert one.fill(BUCKETS, [user()]).failed is False
    assert one.replicate(NAMES, [two])["waiting"] == []
    for _ in range(2):
        left = one.replicate(NAMES, [two], secret="another-secret-of-it")
        assert (left.failed, left.changed) == (False, False)
        (text,) = left["waiting"]
        assert "store2" in text and "uploads, locked" in text and "does not answer" in text
    two.start()
    assert changes(pair) == [[], [], [], []]


def test_what_was_written_while_the_other_store_was_away_follows(pair: Pair) -> None:
    one, two = pair
    hidden, keys = name(), [name() for _ in range(5)]
    root = one.client()
    assert root.ask("PUT", f"/uploads/{hidden}", body=b"good").status == 200
    same(pair, "uploads", hidden, 1)
    two.stop()
    for key in keys:
        assert root.ask("PUT", f"/uploads/{key}", body=b"good").status == 200
    assert root.ask("DELETE", f"/uploads/{hidden}").status == 204
    two.start()
    again = one.replicate(NAMES, [two], again=True)
    assert again["changes"] == [f"all of bucket {bucket} is sent to store2 again" for bucket in NAMES]
    for key in keys:
        same(pair, "uploads", key, 1)
    same(pair, "uploads", hidden, 2)


def test_store_that_was_built_anew_gets_everything(pair: Pair) -> None:
    one, two = pair
    ours, theirs, hidden = name(), name(), name()
    assert one.client().ask("PUT", f"/locked/{ours}", body=b"ours").status == 200
    assert two.client().ask("PUT", f"/locked/{theirs}", body=b"theirs").status == 200
    assert one.client().ask("PUT", f"/locked/{hidden}", body=b"hidden").status == 200
    assert one.client().ask("DELETE", f"/locked/{hidden}").status == 204
    for key, count in ((ours, 1), (theirs, 1), (hidden, 2)):
        same(pair, "locked", key, count)
    two.stop()
    two.wipe()
    two.start()
    changes(pair)
    one.replicate(NAMES, [two], again=True)
    same(pair, "locked", ours, 1)
    same(pair, "locked", theirs, 1)
    wait(lambda: two.client().versions("locked", hidden), 20, "the object below the mark has not arrived")
    one.replicate(NAMES, [two], again=True)
    same(pair, "locked", hidden, 2)


def test_mark_waits_for_its_object(pair: Pair) -> None:
    """Without an object below it, the lifecycle would clear it away."""
    here, there = (store.client() for store in pair)
    bucket = f"bucket-{secrets.token_hex(6)}"
    for store in pair:
        assert store.fill([{"name": bucket}], [user()]).changed
    # Names that a URL and a list have to quote.
    keys = [f"{name()} ä+&=%2F/{number}" for number in range(3)]
    for key in keys:
        assert here.ask("PUT", f"/{bucket}/{key}", body=b"good").status == 200
        assert here.ask("DELETE", f"/{bucket}/{key}").status == 204
    assert minio_marks.hand_over(here.store, there.store, bucket) == (0, 3)
    for key in keys:
        assert (
            there.ask("PUT", f"/{bucket}/{key}", body=b"good", x_minio_source_mtime="2020-01-01T00:00:00Z").status
            == 200
        )
    assert minio_marks.hand_over(here.store, there.store, bucket) == (3, 0)
    assert [there.ask("GET", f"/{bucket}/{key}").status for key in keys] == [404, 404, 404]
    assert minio_marks.hand_over(here.store, there.store, bucket) == (0, 0)


def test_new_secret_is_taken_over(pair: Pair) -> None:
    assert all(changes(pair, secret="the-new-secret-of-it"))
    assert not any(changes(pair, secret="the-new-secret-of-it"))
    key = name()
    assert pair[0].client().ask("PUT", f"/uploads/{key}", body=b"good").status == 200
    same(pair, "uploads", key, 1)


def test_store_that_is_named_no_more_is_forgotten_and_other_rules_stay(pair: Pair) -> None:
    one = pair[0]
    root = one.client().store
    found = minio_replication.look(root, "uploads")
    (rule,) = found.rules.items()
    by_hand = minio_replication.write({rule[0]: rule[1]}, []).replace(b"nano-ops-to-store2", b"by-hand")
    other = minio_replication.read(b"", by_hand).others
    minio_replication.set_rules(root, "uploads", {**found.rules}, minio_replication.Found(others=other))
    gone = one.replicate(NAMES, [])
    assert gone["changes"] == [
        f"bucket {bucket} is replicated no more to stores that are not named" for bucket in NAMES
    ]
    assert one.replicate(NAMES, [])["changes"] == []
    left = minio_replication.look(root, "uploads")
    assert left.rules == {} and len(left.others) == 1
    assert minio_replication.look(root, "locked") == minio_replication.Found()
    # Nothing is lost by it, and it can be had again.
    assert changes(pair)[2] == [f"bucket {bucket} is replicated to store2" for bucket in NAMES]


def test_user_of_the_replication_opens_nothing_else(pair: Pair) -> None:
    client = pair[0].client(REPLICATION, REPLICATION_SECRET)
    assert pair[0].client().ask("PUT", "/other").status in (200, 409)
    for method, path in (
        ("GET", "/other"),
        ("PUT", "/other/any"),
        ("PUT", "/new-bucket"),
        ("GET", "/minio/admin/v3/info"),
        ("DELETE", "/uploads"),
    ):
        assert client.ask(method, path).status == 403, path
