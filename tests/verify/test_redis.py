"""Redis: a cache that never runs full, and users that can do no more than they need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.verify.lab import TLS, Lab

CACHES = pytest.mark.parametrize("server", ["app1", "app2"])
MAXMEMORY = 64 * 1024**2
ADMINISTRATION = [
    "CONFIG GET maxmemory",
    "ACL LIST",
    "FLUSHALL",
    "KEYS *",
    "SHUTDOWN",
    "MODULE LIST",
    "REPLICAOF no one",
]
CONNECT = "openssl s_client -connect %s:6379 -servername %s -verify_return_error"
IDENTITY = f"-CAfile {TLS}/ca.crt -cert {TLS}/host.crt -key {TLS}/host.key"


def exporter(lab: Lab, server: str, commands: str) -> str:
    """Send commands as the exporter."""
    return lab.redis(server, server, commands, user="exporter", password=lab.secrets()["redis_exporter_password"])


@CACHES
def test_application_stores_and_reads(lab: Lab, server: str) -> None:
    assert lab.redis("app1", server, "SET verify:word hello EX 60\nGET verify:word\nUNLINK verify:word").split() == [
        "OK",
        "hello",
        "1",
    ]


@CACHES
@pytest.mark.parametrize("command", ADMINISTRATION)
def test_application_may_not_administer(lab: Lab, server: str, command: str) -> None:
    assert lab.redis(server, server, command).startswith("NOPERM")


@CACHES
def test_exporter_reads_figures(lab: Lab, server: str) -> None:
    assert "redis_version" in exporter(lab, server, "INFO server")


@CACHES
@pytest.mark.parametrize(
    "command", ["GET verify:word", "SET verify:word x", "CONFIG SET maxmemory 1", "ACL LIST", "KEYS *"]
)
def test_exporter_may_read_no_data_and_change_nothing(lab: Lab, server: str, command: str) -> None:
    assert exporter(lab, server, command).startswith("NOPERM")


@CACHES
def test_nobody_comes_in_without_a_name(lab: Lab, server: str) -> None:
    assert lab.redis(server, server, "GET verify:word", password="").startswith("NOAUTH")
    answer = lab.redis(server, server, "GET verify:word", user="default", password="a-guess-at-a-password")
    assert "WRONGPASS" in answer
    assert "NOAUTH" in answer


@CACHES
def test_memory_is_bounded_and_the_oldest_goes_first(lab: Lab, server: str) -> None:
    answer = exporter(lab, server, "CONFIG GET maxmemory\nCONFIG GET maxmemory-policy").split()
    assert answer == ["maxmemory", str(MAXMEMORY), "maxmemory-policy", "allkeys-lru"]


@CACHES
def test_only_tls_1_3_is_spoken(lab: Lab, server: str) -> None:
    host = lab.host(server)
    new = host.run(f"{CONNECT} {IDENTITY} -tls1_3 </dev/null", server, server)
    assert new.rc == 0 and "TLSv1.3" in new.stdout, new.stderr
    old = host.run(f"{CONNECT} {IDENTITY} -tls1_2 </dev/null", server, server)
    assert old.rc != 0 and "protocol version" in old.stderr, old.stderr


@pytest.fixture
def cleared(lab: Lab) -> Iterator[str]:
    """A cache whose keys of the test are gone afterwards."""
    yield "app2"
    lab.redis("app2", "app2", "\n".join(f"UNLINK verify:bulk:{number}" for number in range(100)))


@pytest.mark.disturbs
def test_full_cache_takes_new_entries(lab: Lab, cleared: str) -> None:
    """100 MB into 64 MB: the application sees no error, old entries make room."""

    def figures() -> dict[str, str]:
        lines = exporter(lab, cleared, "INFO everything").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    before = int(figures()["evicted_keys"])
    script = "return redis.call('SET', KEYS[1], string.rep('x', 1048576), 'EX', 60)"
    lines = [f'EVAL "{script}" 1 verify:bulk:{number}' for number in range(100)]
    answers = lab.redis(cleared, cleared, "\n".join(lines)).split()
    assert answers == ["OK"] * 100
    after = figures()
    assert int(after["evicted_keys"]) > before
    assert int(after["used_memory"]) < MAXMEMORY * 1.1
