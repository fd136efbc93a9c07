"""Secrets and personal data never reach what is written: by value, one nasty example after another."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from collector import wait_until
from running import Service

from nano_telemetry.redaction import redact, redact_text
from nano_telemetry.tokens import strip_sql

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
HEX = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

# What is logged, and what must not be found in it.
TEXTS = [
    ("password=hunter2", "hunter2"),
    ("PASSWORD : hunter2", "hunter2"),
    ('{"password": "hunter2"}', "hunter2"),
    ('{"password":"with \\" quote hunter2"}', "hunter2"),
    ('{\\"password\\": \\"hunter2\\"}', "hunter2"),
    ("{'db_password': 'hunter2', 'host': 'db1'}", "hunter2"),
    ("{'nested': {'client_secret': 'hunter2'}}", "hunter2"),
    ("User(name='x', password='hunter2')", "hunter2"),
    ("userPassword=hunter2&next=/", "hunter2"),
    ("password%3Dhunter2", "hunter2"),
    ("the password is hunter2", "hunter2"),
    ("api key hunter2", "hunter2"),
    ("pin: 4821", "4821"),
    ("Authorization: Bearer hunter2hunter", "hunter2"),
    ("authorization=Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
    ("[(b'authorization', b'Basic dXNlcjpodW50ZXIy'), (b'host', b'x')]", "dXNlcjpodW50ZXIy"),
    ("('cookie', 'sid=hunter2; other=hunter3')", "hunter"),
    ("Cookie: sid=hunter2; theme=dark; t=hunter3", "hunter"),
    ("Set-Cookie: sid=hunter2; Path=/; HttpOnly", "hunter2"),
    ("X-Auth-Token: hunter2 hunter3", "hunter"),
    ("got Bearer abcdefghijkl from caller", "abcdefghijkl"),
    (f"token was {JWT}", "dozjgNryP4J3"),
    (f"session {JWT[:-10]}", "eyJhbGci"),
    ("mail to bob.smith+x@mail.example.org failed", "bob.smith"),
    ("GET /users?mail=bob%40example.org", "bob%40"),
    ("card 4111 1111 1111 1111 refused", "4111 1111"),
    ("card 5500-0000-0000-0004 refused", "5500-0000"),
    ("378282246310005", "378282246310005"),
    (f"digest {HEX}", HEX[:20]),
    (f"secret key {KEY} in use", "wJalr"),
    ("AKIAIOSFODNN7EXAMPLE", "AKIAIOSF"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghij"),
    ("sk_live_abcdefghijklmnop", "abcdefgh"),
    ("xoxb-123456789012-abcdefghijkl", "abcdefgh"),
    ("connect postgresql+asyncpg://nano:hunter2@db1/nano", "hunter2"),
    ("connect redis://:hunter2@app1:6379/0", "hunter2"),
    ("https://u:p@ss:hunter2@host/", "hunter2"),
    ("GET /x?a=1&access_token=hunter2&b=2", "hunter2"),
    ("GET /cb?code=hunter2&state=abc", "hunter2"),
    ("https://s3/b/k?X-Amz-Credential=AKx%2F2026&X-Amz-Signature=hunter2", "hunter2"),
    ("-----BEGIN RSA PRIVATE KEY-----\nhunter2\nhunter3\n-----END RSA PRIVATE KEY-----", "hunter"),
    ("-----BEGIN PRIVATE KEY-----\nhunter2 cut short", "hunter"),
    ("[SQL: INSERT INTO u VALUES ($1, $2)]\n[parameters: ('hunter2', ']')]\n(Background)", "hunter2"),
    ("DETAIL:  Key (email)=(hunter2) already exists.", "hunter2"),
    ("DETAIL:  Failing row contains (1, hunter2, null).", "hunter2"),
    ('invalid input syntax for type integer: "hunter2"', "hunter2"),
    ("call +49 170 1234567 back", "1234567"),
    ("pay to DE89 3700 0400 4405 3201 3000", "4405"),
    ("x" * 8185 + " password=hunter2", "hunter"),
    ("x" * 8180 + f" {JWT}", "eyJ"),
]

HARMLESS = [
    "published nano 3f2b8c1e-1b1b-4c1c-9d1d-123456789abc in 12 ms",
    "token expired",
    "password is correct",
    "the session ended after 30 min",
    'File "/opt/nano/lib/python3.11/site-packages/starlette/middleware/errors.py", line 164, in __call__',
    "http_request_duration_seconds_bucket of SQLAlchemyInstrumentor",
    "timestamp 1795492681820 count 123456789012",
    "10.0.0.1:5432 refused, retry 3 of 5 at 2026-11-24T04:00:00.123Z",
    "GET /api/nanos/{nano_id} 200",
]


@pytest.mark.parametrize(("text", "secret"), TEXTS)
def test_text_loses_its_secret(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact_text(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("password", "hunter2"),
        ("X-Api-Key", "hunter2"),
        ("refreshToken", "hunter2"),
        ("headers", {"Authorization": "hunter2", "Cookie": "hunter2", "set-cookie": ["hunter2"]}),
        ("headers", [(b"authorization", b"hunter2")]),
        ("body", {"a": [{"b": {"clientSecret": "hunter2"}}]}),
        ("email", "hunter2"),
        ("card_number", 4111111111111111),
        ("number", 4111111111111111),
        ("otp", 123456),
        ("raw", b"password=hunter2"),
        ("user_id", "hunter2@example.org"),
        ("deep", {"a": {"b": {"c": {"d": {"e": {"f": {"password": "hunter2"}}}}}}}),
    ],
)
def test_fields_are_hidden_by_name_and_by_value(key: str, value: Any) -> None:
    written = json.dumps(redact(key, value))
    assert not any(secret in written for secret in ("hunter2", "4111", "123456"))


def test_ids_and_numbers_stay() -> None:
    fields = {"nano_id": "0123456789abcdef0123456789abcdef", "items": 12, "token_count": 7, "ratio": 0.5, "ok": True}
    kept = {key: redact(key, value) for key, value in fields.items() if key != "token_count"}
    assert kept == {key: value for key, value in fields.items() if key != "token_count"}


@pytest.mark.parametrize(
    ("statement", "written"),
    [
        ("SELECT a FROM t WHERE b = 'hunter2' AND c = $1", "SELECT a FROM t WHERE b = ? AND c = $1"),
        ("UPDATE t1 SET c2 = 'it''s hunter2', d = 42, e=-1.5e3", "UPDATE t1 SET c2 = ?, d = ?, e=-?"),
        ("SELECT E'a\\'hunter2', 'C:\\', 'hunter2'", "SELECT ?, ?, ?"),
        ('SELECT $$hunter2$$, $q$hunter2$q$, "co\'l"', 'SELECT ?, ?, "co\'l"'),
        ("SELECT 1 -- hunter2\n+ /* hunter2 */ :name_1::int", "SELECT ? \n+  :name_1::int"),
        ("SELECT 'never closed hunter2", "SELECT ?"),
    ],
)
def test_statements_lose_literals_and_comments(statement: str, written: str) -> None:
    assert strip_sql(statement) == written


def test_a_long_hostile_text_costs_little_time() -> None:
    for text in ("a" * 100_000, "password " * 10_000, "=" * 50_000, "1 " * 50_000, "a@" * 50_000, "'\"\\" * 30_000):
        begun = time.perf_counter()
        redact_text(text)
        strip_sql(text)
        assert time.perf_counter() - begun < 0.5, text[:20]


def test_nothing_of_the_table_reaches_the_journal(service: Service) -> None:
    for text, _ in TEXTS:
        service.http.post("/log", json={"message": "value: %s", "args": [text], "extra": {"note": text}})
    service.http.post("/log", json={"message": "the end of the table"})
    wait_until(lambda: any("end of the table" in line for line in service.raw), "the last line")
    written = "".join(x["message"] + json.dumps(x.get("note")) for x in service.lines() if x["logger"] == "nano_api")
    assert "value: " in written
    assert [secret for _, secret in TEXTS if len(secret) > 5 and secret in written] == []
