"""Bad input of role minio is told before anything is changed, no secret is told with it; the token for its metrics."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.filter.minio_token import minio_token
from ansible_collections.nano.ops.plugins.module_utils.minio_rules import problems

BUCKET: dict[str, Any] = {"name": "uploads"}
USER: dict[str, Any] = {
    "access_key": "application",
    "secret": "a-good-secret",
    "buckets": [{"name": "uploads", "access": "readwrite"}],
}
PASSWORD = "a-good-password"


def test_good_input_has_no_problem() -> None:
    bucket = {**BUCKET, "noncurrent_days": 30, "expire_days": {"": 700, "tmp/": 7}, "object_lock": True}
    assert problems([bucket, {"name": "other.one-2"}], [USER], "nano-admin", PASSWORD) == []


@pytest.mark.parametrize(
    "name",
    ["", "ab", "Uploads", "nano_uploads", "-uploads", "uploads-", "a..b", "10.0.0.1", "xn--a", "a" * 64, "a/b", "a b"],
)
def test_name_that_s3_does_not_take(name: str) -> None:
    (text,) = problems([{"name": name}], [], "nano-admin", PASSWORD)
    assert repr(name) in text and "3 to 63" in text


@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        ({"noncurrent_days": -1}, "noncurrent_days: -1"),
        ({"expire_days": {"tmp/": 0}}, "expire_days['tmp/']: 0"),
        ({"expire_days": {"tmp/": "soon"}}, "expire_days['tmp/']: soon"),
        ({"expire_days": {"tmp/": True}}, "expire_days['tmp/']: True"),
        ({"expire_days": {"/tmp": 1}}, "starts with /"),
        ({"object_lock": True, "versioning": False}, "object_lock, which needs versioning: true"),
        ({"replicate": True, "versioning": False}, "replicate, which needs versioning: true"),
        ({"lock_days": -1, "object_lock": True}, "lock_days: -1"),
        ({"lock_days": 30}, "lock_days, which needs object_lock: true"),
        ({"lock_days": 30, "object_lock": True, "noncurrent_days": 7}, "noncurrent_days: 7, less than lock_days: 30"),
        ({"lock_mode": "strict"}, "lock_mode: strict; write compliance or governance"),
        ({"transition_days": {"audit/": 90}}, "write both"),
        ({"transition_class": "COLD"}, "write both"),
        ({"transition_days": {"audit/": 0}, "transition_class": "COLD"}, "transition_days['audit/']: 0"),
    ],
)
def test_bucket_that_cannot_be(bucket: dict[str, Any], words: str) -> None:
    (text,) = problems([{**BUCKET, **bucket}], [], "nano-admin", PASSWORD)
    assert "uploads" in text and words in text


@pytest.mark.parametrize(
    ("user", "words"),
    [
        ({"access_key": "a b"}, "is not an access key"),
        ({"access_key": "ab"}, "is not an access key"),
        ({"access_key": "nano-admin"}, "the name of the administrator"),
        ({"secret": "short"}, "missing or shorter than 8"),
        ({"secret": ""}, "missing or shorter than 8"),
        ({"secret": None}, "missing or shorter than 8"),
        ({"buckets": [{"name": "uplaods", "access": "read"}]}, "uses the bucket uplaods"),
        ({"buckets": [{"name": "uploads", "access": "all"}]}, "use read, write or readwrite"),
        ({"buckets": [*USER["buckets"], *USER["buckets"]]}, "names the bucket uploads twice"),
    ],
)
def test_user_that_cannot_be(user: dict[str, Any], words: str) -> None:
    (text,) = problems([BUCKET], [{**USER, **user}], "nano-admin", PASSWORD)
    assert words in text


def test_deletion_needs_a_bucket_where_versions_are_locked_or_not_kept() -> None:
    """MinIO takes an object with all versions for whoever may delete it, unless the bucket has object lock."""
    user = {**USER, "buckets": [{"name": "uploads", "access": "write", "delete": True}]}

    def found(**more: Any) -> list[str]:
        return problems([{**BUCKET, **more}], [user], "nano-admin", PASSWORD)

    (text,) = found()
    assert "application may delete in uploads, which keeps versions without object_lock" in text
    assert found(object_lock=True) == found(versioning=False) == []


def test_old_versions_may_stay_for_good_or_as_long_as_they_are_locked() -> None:
    for days in (0, 30, 31):
        bucket = {**BUCKET, "object_lock": True, "lock_days": 30, "noncurrent_days": days}
        assert problems([bucket], [], "nano-admin", PASSWORD) == []


def test_two_of_a_name() -> None:
    found = problems([BUCKET, BUCKET], [USER, USER], "nano-admin", PASSWORD)
    assert [text.split(";")[0] for text in found] == [
        "minio_buckets: uploads is there twice.",
        "minio_users: the access key application is there twice",
    ]


@pytest.mark.parametrize("password", ["", "short", " spaces-around "])
def test_password_that_cannot_be(password: str) -> None:
    (text,) = problems([], [], "nano-admin", password)
    assert text.startswith("minio_root_password")


def test_no_problem_tells_a_secret() -> None:
    wrong = {**USER, "access_key": "!", "secret": "secret!", "buckets": [{"name": "nowhere", "access": "x"}]}
    assert "secret!" not in " ".join(problems([], [wrong, wrong], "!", "passw!"))


def test_token_is_the_same_each_time_and_signed_with_the_secret() -> None:
    assert minio_token("prometheus", PASSWORD) == minio_token("prometheus", PASSWORD)
    assert minio_token("prometheus", PASSWORD) != minio_token("prometheus", "another-secret")
    assert PASSWORD not in minio_token("prometheus", PASSWORD)
