"""Files: up in one piece, down in any part, and not for everyone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

import pytest

from .client import Client, done

Join = Callable[..., Client]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=299990-", 299990, 299999), ("bytes=-5", 299995, 299999),
     ("bytes=299990-400000", 299990, 299999)],
)  # fmt: skip
def test_a_part_of_a_file(join: Join, asked: str, first: int, last: int) -> None:
    seller, content = join(), os.urandom(300_000)
    nano = seller.draft()
    done(seller.upload(nano, content))
    got = seller.get(f"/v1/nanos/{nano}/file", headers={"Range": asked})
    assert got.status_code == 206
    assert got.headers["content-range"] == f"bytes {first}-{last}/300000"
    assert got.content == content[first : last + 1]


def test_the_whole_file_and_what_is_not_there(join: Join) -> None:
    seller, content = join(), os.urandom(700_000)
    nano = seller.draft()
    stored = done(seller.upload(nano, content))
    assert stored["file_sha256"] == hashlib.sha256(content).hexdigest()
    url = f"/v1/nanos/{nano}/file"
    whole = seller.get(url)
    assert (whole.status_code, whole.content) == (200, content)
    assert (whole.headers["accept-ranges"], whole.headers["content-type"]) == ("bytes", "image/png")
    beyond = seller.get(url, headers={"Range": "bytes=700000-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */700000")
    assert seller.get(url, headers={"Range": "bytes=0-1,5-6"}).content == content
    assert seller.get(url, headers={"Range": "bytes=0-1", "If-Range": '"an older one"'}).content == content
    same = seller.get(url, headers={"If-None-Match": whole.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")


def test_others_do_not_get_a_draft_or_its_file(join: Join) -> None:
    seller, other = join(), join()
    nano = seller.draft()
    done(seller.upload(nano, b"content"))
    assert other.get(f"/v1/nanos/{nano}/file").status_code == 404
    assert other.upload(nano, b"mine").status_code == 404
    assert other.patch(f"/v1/nanos/{nano}", json={"title": "Mine"}).status_code == 404
    assert other.post(f"/v1/nanos/{nano}/publish").status_code == 404


def test_bodies_are_bounded_whether_or_not_they_say_their_length(join: Join) -> None:
    user = join()
    nano = user.draft()
    assert user.upload(nano, b"x" * 2**20).status_code == 200

    def pieces() -> object:
        for _ in range(17):
            yield b"x" * 2**16

    said = user.upload(nano, b"x" * (2**20 + 1))
    unsaid = user.put(f"/v1/nanos/{nano}/file", content=pieces())  # type: ignore[arg-type]
    plain = user.post("/v1/nanos", content=b"x" * 70_000, headers={"Content-Type": "application/json"})
    assert [answer.status_code for answer in (said, unsaid, plain)] == [413, 413, 413]
    assert {answer.json()["type"] for answer in (said, unsaid, plain)} == {"/problems/too-large"}
