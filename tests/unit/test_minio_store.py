"""Signatures, buckets and users of the object store: what is asked for, what differs, and what is done about it."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.module_utils import (
    minio_iam,
    minio_policy,
    s3,
    s3_buckets,
    s3_lifecycle,
    sigv4,
)
from ansible_collections.nano.ops.plugins.module_utils.minio_work import survey

EXAMPLE = sigv4.Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
DAY = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC)
SECRET = "a-secret-nobody-may-see"
GRANT = minio_policy.Grant("uploads", "readwrite")
USER = minio_policy.User("application", SECRET, (GRANT,))
OTHERS_RULE = (
    b"<LifecycleConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Rule><ID>by-hand</ID>"
    b"<Status>Enabled</Status><Filter><Prefix>old/</Prefix></Filter><Expiration><Days>3</Days></Expiration></Rule>"
    b"</LifecycleConfiguration>"
)


class FakeStore(s3.Store):
    """Answers from a script, and notes what it was asked."""

    def __init__(self, *answers: s3.Answer | Exception, seconds: float = 5.0, region: str = "us-east-1") -> None:
        self.netloc, self.region, self.seconds = "store:9000", region, seconds
        self.answers = list(answers)
        self.asked: list[tuple[str, str, bytes]] = []

    def once(self, request: sigv4.Request, extra: Any) -> s3.Answer:
        target = request.path_text() + (f"?{request.query_text()}" if request.query else "")
        self.asked.append((request.method, target, request.body))
        answer = self.answers.pop(0) if self.answers else s3.Answer(200, b"{}")
        if isinstance(answer, Exception):
            raise answer
        return answer


def found(user: minio_policy.User = USER, **changes: Any) -> minio_iam.Found:
    """Return a store that knows a user just as it is to be, but for the changes."""
    state = {
        "policies": {user.policy_name(): user.policy()},
        "secrets": {user.access_key: user.secret},
        "statuses": {user.access_key: "enabled"},
        "mappings": {user.access_key: user.policy_name()},
    }
    return minio_iam.Found(**{**state, **changes})


def locked(mode: str, days: int) -> s3_buckets.Bucket:
    return s3_buckets.Bucket("b", object_lock=True, lock_mode=mode, lock_days=days)


def lock_found(mode: str, days: int) -> s3_buckets.Found:
    return s3_buckets.Found(versioning=True, object_lock=True, lock=s3_buckets.Lock(mode, days))


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ({"lifecycle": ""}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ({"prefix": "J", "max-keys": "2"}, "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_signature_is_that_of_the_published_examples(query: dict[str, str], signature: str) -> None:
    request = sigv4.Request("GET", "examplebucket.s3.amazonaws.com", "/", query)
    signed = sigv4.headers(request, EXAMPLE, "us-east-1", DAY)
    assert signed["authorization"].endswith(f"Signature={signature}")


def test_signature_covers_the_body() -> None:
    def sign(body: bytes) -> str:
        return sigv4.headers(sigv4.Request("PUT", "store", "/a", {}, body), EXAMPLE, "r", DAY)["authorization"]

    assert sign(b"one") != sign(b"two")


def test_keys_do_not_show_their_secret() -> None:
    assert SECRET not in repr(sigv4.Keys("application", SECRET))
    assert SECRET not in repr(USER) + repr(minio_iam.plan([USER], minio_iam.Found())) + repr(found())


def test_store_that_is_starting_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAUSE_S", 0)
    store = FakeStore(s3.UnreachableError("no"), s3.Answer(503, b""), s3.Answer(200, b"yes"))
    assert store.ask("GET", "/").body == b"yes"


def test_refusal_is_told_with_the_word_of_the_store() -> None:
    store = FakeStore(s3.Answer(403, b"<Error><Code>AccessDenied</Code></Error>"))
    with pytest.raises(s3.StoreError, match=r"GET /uploads\?versioning is refused with 403 AccessDenied"):
        store.ask("GET", "/uploads", {"versioning": ""})


def test_store_that_never_answers_is_an_error() -> None:
    with pytest.raises(s3.UnreachableError):
        FakeStore(s3.UnreachableError("no"), seconds=0).ask("GET", "/")


def test_lifecycle_is_read_as_it_was_written() -> None:
    bucket = s3_buckets.Bucket("uploads", noncurrent_days=30, expire_days={"": 700, "tmp/": 7})
    rules, others = s3_lifecycle.read(s3_lifecycle.write(bucket.rules(), []))
    assert (rules, others) == (bucket.rules(), [])


def test_rules_of_others_stay() -> None:
    _, others = s3_lifecycle.read(OTHERS_RULE)
    bucket = s3_buckets.Bucket("uploads", noncurrent_days=30)
    ours, again = s3_lifecycle.read(s3_lifecycle.write(bucket.rules(), others))
    assert ours == bucket.rules()
    assert [rule.findtext("{*}ID") for rule in again] == ["by-hand"]
    assert again[0].findtext("{*}Expiration/{*}Days") == "3"


def test_rule_that_somebody_has_switched_off_is_a_difference() -> None:
    bucket = s3_buckets.Bucket("uploads", noncurrent_days=30)
    text = s3_lifecycle.write(bucket.rules(), []).replace(b"Enabled", b"Disabled")
    rules, _ = s3_lifecycle.read(text)
    assert s3_buckets.differs(bucket, s3_buckets.Found(versioning=True, rules=rules))


@pytest.mark.parametrize(
    "state", [None, lock_found("", 0), lock_found("compliance", 29), lock_found("governance", 30), lock_found("", 0)]
)
def test_lock_is_set_and_made_stronger(state: s3_buckets.Found | None) -> None:
    store = FakeStore()
    bucket = locked("compliance", 30)
    assert s3_buckets.problem(bucket, state) == "" and s3_buckets.differs(bucket, state)
    s3_buckets.apply(store, bucket, state)
    method, target, body = store.asked[-1]
    assert (method, target) == ("PUT", "/b?object-lock=")
    assert s3_buckets.read_lock(body) == s3_buckets.Lock("compliance", 30)


def test_lock_that_is_right_is_left_alone() -> None:
    store = FakeStore()
    assert not s3_buckets.differs(locked("compliance", 30), lock_found("compliance", 30))
    s3_buckets.apply(store, locked("compliance", 30), lock_found("compliance", 30))
    assert store.asked == []


def test_lock_in_years_is_read_in_days() -> None:
    body = (
        b"<ObjectLockConfiguration><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Years>2</Years></DefaultRetention>"
    )
    assert s3_buckets.read_lock(body + b"</Rule></ObjectLockConfiguration>") == s3_buckets.Lock("compliance", 730)


def test_prefix_moves_to_another_class_before_it_goes() -> None:
    bucket = s3_buckets.Bucket(
        "audit", expire_days={"audit/": 730}, transition_days={"audit/": 90}, transition_class="COLD"
    )
    text = s3_lifecycle.write(bucket.rules(), [])
    assert b"<Transition><Days>90</Days><StorageClass>COLD</StorageClass></Transition>" in text
    assert s3_lifecycle.read(text) == (bucket.rules(), [])


def test_class_that_the_store_lacks_is_told() -> None:
    store = FakeStore(s3.Answer(400, b"<Error><Code>InvalidStorageClass</Code></Error>"))
    bucket = s3_buckets.Bucket("audit", transition_days={"audit/": 90}, transition_class="COLD")
    with pytest.raises(s3.StoreError, match=r"InvalidStorageClass\. Does the store have a storage class COLD"):
        s3_buckets.apply(store, bucket, s3_buckets.Found(versioning=True))


def test_last_rule_goes_by_deleting_the_lifecycle() -> None:
    store = FakeStore()
    before = s3_buckets.Bucket("uploads", noncurrent_days=30)
    state = s3_buckets.Found(versioning=True, rules=before.rules())
    s3_buckets.apply(store, s3_buckets.Bucket("uploads"), state)
    assert [asked[:2] for asked in store.asked] == [("DELETE", "/uploads?lifecycle=")]


def test_new_bucket_is_made_and_versioned() -> None:
    store = FakeStore(region="eu-1")
    s3_buckets.apply(store, s3_buckets.Bucket("uploads"), None)
    (make, versioning) = store.asked
    assert make[:2] == ("PUT", "/uploads") and b"<LocationConstraint>eu-1<" in make[2]
    assert versioning[:2] == ("PUT", "/uploads?versioning=") and b"<Status>Enabled</Status>" in versioning[2]


@pytest.mark.parametrize(
    ("bucket", "state", "words"),
    [
        (s3_buckets.Bucket("b", versioning=False), s3_buckets.Found(versioning=True), "set versioning: true"),
        (s3_buckets.Bucket("b", object_lock=True), s3_buckets.Found(versioning=True), "set object_lock: false"),
        (s3_buckets.Bucket("b"), s3_buckets.Found(versioning=True, object_lock=True), "set object_lock: true"),
        (locked("compliance", 29), lock_found("compliance", 30), "with lock_mode compliance, lock_days 30 and is told"),
        (locked("compliance", 0), lock_found("governance", 30), "told lock_days 0: a lock is never shortened"),
        (locked("governance", 60), lock_found("compliance", 30), "told lock_mode governance, lock_days 60"),
    ],
)
def test_what_keeps_data_is_never_switched_off(
    bucket: s3_buckets.Bucket, state: s3_buckets.Found, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_buckets, "look", lambda store, name: state)
    store = FakeStore()
    with pytest.raises(s3.StoreError, match=words):
        survey(store, [bucket], [])
    assert store.asked == []


def actions(user: minio_policy.User, effect: str = "Allow") -> set[str]:
    return {word for part in user.policy()["Statement"] if part["Effect"] == effect for word in part["Action"]}


@pytest.mark.parametrize(
    ("access", "delete", "may", "may_not"),
    [
        ("read", False, {"s3:GetObject", "s3:ListBucket"}, {"s3:PutObject", "s3:DeleteObject"}),
        ("write", False, {"s3:PutObject"}, {"s3:GetObject", "s3:ListBucket", "s3:DeleteObject"}),
        ("readwrite", False, {"s3:GetObject", "s3:ListBucket", "s3:PutObject"}, {"s3:DeleteObject"}),
        ("readwrite", True, {"s3:DeleteObject"}, {"s3:DeleteObjectVersion", "s3:PutBucketVersioning"}),
    ],
)
def test_user_may_do_what_it_needs_and_no_more(access: str, delete: bool, may: set[str], may_not: set[str]) -> None:
    user = minio_policy.User("application", SECRET, (minio_policy.Grant("uploads", access, delete),))
    allowed = actions(user)
    assert may <= allowed and not may_not & allowed
    assert not any(action.startswith("admin:") or "*" in action for action in allowed)
    given = [part for part in user.policy()["Statement"] if part["Effect"] == "Allow"]
    assert {place for part in given for place in part["Resource"]} == {"arn:aws:s3:::uploads", "arn:aws:s3:::uploads/*"}
    assert "admin:CreateServiceAccount" in actions(user, "Deny")


def test_reader_of_metrics_may_do_nothing_else() -> None:
    assert actions(minio_policy.User("prometheus", SECRET, metrics=True)) == {"admin:Prometheus"}


def test_nothing_to_do_when_a_policy_comes_back_in_another_order() -> None:
    policy = json.loads(json.dumps(USER.policy()))
    policy["Statement"].reverse()
    for part in policy["Statement"]:
        part["Action"].reverse()
    state = found(policies={"readonly": {"Version": "x", "Statement": []}, USER.policy_name(): policy})
    assert minio_iam.plan([USER], state).empty()


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"secrets": {"application": "another-secret"}}, "users"),
        ({"statuses": {"application": "disabled"}}, "users"),
        ({"mappings": {"application": "consoleAdmin"}}, "mappings"),
        ({"mappings": {"application": "nano-ops-application,consoleAdmin"}}, "mappings"),
        ({"policies": {}}, "policies"),
    ],
)
def test_each_difference_is_mended_alone(changes: dict[str, Any], kind: str) -> None:
    todo = minio_iam.plan([USER], found(**changes))
    kinds = {"users": todo.users, "mappings": todo.mappings, "policies": todo.policies}
    assert [name for name, value in kinds.items() if value] == [kind]
    assert bool(todo.revoked) == (kind == "users") and not todo.removed


def test_only_a_user_of_ours_is_removed() -> None:
    state = found()
    state.secrets["by-hand"] = "another-secret"
    state.mappings["by-hand"] = "readonly"
    assert minio_iam.plan([], state).removed == ["application"]


def test_archive_names_only_what_changes() -> None:
    todo = minio_iam.plan([USER], found(secrets={"application": "another-secret"}))
    with zipfile.ZipFile(io.BytesIO(minio_iam.pack(todo))) as archive:
        (name,) = archive.namelist()
        assert name == "iam-assets/users.json"
        assert json.loads(archive.read(name)) == {"application": {"secretKey": SECRET, "status": "enabled"}}


def test_temporary_keys_end_before_and_after_a_new_secret() -> None:
    store = FakeStore()
    minio_iam.apply(store, minio_iam.plan([USER], found(secrets={"application": "another-secret"})))
    assert [target.split("/")[4].split("?")[0] for _, target, _ in store.asked] == [
        "revoke-tokens",
        "import-iam-v2",
        "revoke-tokens",
    ]


def test_user_that_the_store_refuses_is_an_error() -> None:
    store = FakeStore(s3.Answer(200, b'{"failed": {"users": [{"name": "application", "error": {}}]}}'))
    with pytest.raises(s3.StoreError, match="refused users application"):
        minio_iam.apply(store, minio_iam.plan([USER], minio_iam.Found()))


def test_diff_tells_that_a_secret_changes_and_not_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minio_iam, "read", lambda store: found(secrets={"application": "another-secret"}))
    work = survey(FakeStore(), [], [USER])
    diff = work.diff([USER])
    assert work.changes == ["user application gets its secret"]
    assert diff["before"] != diff["after"] and "changed" in diff["after"]
    assert SECRET not in str(diff) and "another-secret" not in str(diff)
