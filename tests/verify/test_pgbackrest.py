"""WAL reaches both repositories, whoever else is down, and nobody else reaches it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.verify import identity
from tests.verify.conftest import Run
from tests.verify.controller import STATE, read_inventory
from tests.verify.lab import TLS, Lab

if "backup" not in read_inventory():
    pytest.skip("the inventory has no group backup", allow_module_level=True)

PRIMARY, STANDBY, KEEPER = "db1", "db2", "store1"
REPOSITORIES = (1, 2) if read_inventory()["_meta"]["hostvars"][KEEPER].get("pgbackrest_s3_endpoint") else (1,)
EACH = pytest.mark.parametrize("repository", REPOSITORIES)
PORT = 8432
CONFIGURATION = "/etc/pgbackrest/pgbackrest.conf"
# The objective of what is lost without a standby.
ARCHIVED_SECONDS = 60
disturbs = pytest.mark.disturbs


def pgbackrest(lab: Lab, host: str, *argv: str) -> Any:
    """Run pgBackRest on a host as an operator does; returns rc, stdout and stderr."""
    # Who is not there is waited for, several times over.
    return lab.command(
        host,
        ["sudo", "-u", "postgres", "pgbackrest", "--stanza=nano", "--io-timeout=5", *argv, "--log-level-stderr=warn"],
    )


def newest(lab: Lab, repository: int, host: str = KEEPER) -> str:
    """Return the newest segment of a repository."""
    done = pgbackrest(lab, host, "info", f"--repo={repository}", "--output=json")
    assert done["rc"] == 0, done["stderr"]
    found = json.loads(done["stdout"])[0]
    return str(max(part["max"] or "" for part in found["archive"]))


def write(lab: Lab) -> str:
    """Write something and return the segment that holds it, or the one after it."""
    lab.admin(PRIMARY, f"SELECT pg_logical_emit_message(true, 'verify', '{secrets.token_hex(8)}')", "nano")
    return lab.admin(PRIMARY, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")


def switch(lab: Lab) -> str:
    """Write something, end its segment, and return it."""
    segment = write(lab)
    lab.admin(PRIMARY, "SELECT pg_switch_wal()")
    return segment


@EACH
def test_write_is_in_the_repository_soon(lab: Lab, repository: int, eventually: Callable[..., Any]) -> None:
    """Of itself: nobody ends the segment."""
    segment = write(lab)
    eventually(lambda: newest(lab, repository) >= segment, ARCHIVED_SECONDS, f"{segment} is not in {repository}")


@EACH
def test_age_of_a_repository_is_known_from_its_newest_segment(lab: Lab, repository: int) -> None:
    sql = "SELECT extract(epoch FROM clock_timestamp() - max(written_at)) FROM nano_ops.heartbeat_wal"
    age = lab.admin(PRIMARY, f"{sql} WHERE segment <= '{newest(lab, repository)}'", "nano")
    assert age and 0 <= float(age) < ARCHIVED_SECONDS


def test_beats_are_noted_for_the_segment_that_holds_them_and_not_for_ever(lab: Lab) -> None:
    noted = "SELECT *, written_at >= lag(written_at, 1, '-infinity') OVER (ORDER BY segment) AS in_order"
    sql = "SELECT max(segment) <= pg_walfile_name(pg_current_wal_insert_lsn()), bool_and(in_order),"
    sql += f" min(written_at) > now() - interval '25 h' FROM ({noted} FROM nano_ops.heartbeat_wal) AS noted"
    assert lab.admin(PRIMARY, sql, "nano") == "t|t|t"


def test_check_passes(lab: Lab) -> None:
    done = pgbackrest(lab, KEEPER, "check")
    assert (done["rc"], done["stderr"]) == (0, "")


@pytest.mark.parametrize(
    ("setting", "value"),
    [("archive_mode", "on"), ("archive_timeout", "45s"), ("restore_command", None), ("archive_command", None)],
)
@pytest.mark.parametrize("host", [PRIMARY, STANDBY])
def test_both_archive_and_restore(lab: Lab, host: str, setting: str, value: str | None) -> None:
    found = lab.admin(host, f"SHOW {setting}")
    assert found == value if value else "pgbackrest --stanza=nano archive-" in found


def test_backup_host_reads_everything_and_writes_nothing(lab: Lab) -> None:
    password = lab.secrets()["postgresql_backup_password"]
    as_backup = {"user": "nano_backup", "password": password}
    # Not in the application's database only: the globals' verifiers are in the other one.
    for server in (PRIMARY, STANDBY):
        read = lab.psql(KEEPER, server, "SELECT count(*) > 0 FROM nano_ops.heartbeat", **as_backup)
        assert (read["rc"], read["stdout"].strip()) == (0, "t"), read["stderr"]
    where = f"host={PRIMARY} dbname=postgres user=nano_backup sslmode=verify-full sslrootcert={TLS}/ca.crt "
    where += f"sslcert={TLS}/host.crt sslkey={TLS}/host.key"
    argv = ["psql", "-XAtq", "-d", where]
    asked = "SELECT count(*) > 0 FROM pg_authid WHERE rolpassword IS NOT NULL;"
    asked += "SELECT count(*) >= 0 FROM pg_ls_archive_statusdir()"
    globals_ = lab.command(KEEPER, argv, env={"PGPASSWORD": password}, input=asked)
    assert globals_["stdout"].split() == ["t", "t"], globals_["stderr"]
    wrote = lab.psql(KEEPER, PRIMARY, "DELETE FROM nano_ops.heartbeat", **as_backup)
    assert "permission denied" in wrote["stderr"]
    elsewhere = lab.psql(STANDBY, PRIMARY, "SELECT 1", **as_backup)
    assert elsewhere["rc"] == 2 and "no pg_hba.conf entry" in elsewhere["stderr"]


STRANGERS = {
    "another host": ("app1", "access denied"),
    "another CA": ("another CA", "TLS error"),
    "expired": ("expired", "certificate expired"),
}


@pytest.fixture
def certificate(lab: Lab) -> Iterator[Callable[[str, str], str]]:
    """Put a certificate with its key onto a host and return its place; gone afterwards."""
    ours = identity.platform(STATE / "ca", lab.secrets()["host_ca_passphrase"])
    made: list[tuple[str, str]] = []

    def put(host: str, who: str) -> str:
        pem = {
            "app1": lambda: identity.client(ours, "app1", 1),
            "another CA": lambda: identity.client(identity.stranger(ours), host, 1),
            "expired": lambda: identity.client(ours, host, -1),
        }[who]()
        path = f"/var/lib/postgresql/verify-{secrets.token_hex(4)}.pem"
        done = lab.command(host, ["install", "--owner=postgres", "--mode=0600", "/dev/stdin", path], input=pem)
        assert done["rc"] == 0, done["stderr"]
        made.append((host, path))
        return path

    yield put
    for host, path in made:
        lab.host(host).run_expect([0], "rm %s", path)


@pytest.mark.parametrize("who", STRANGERS)
def test_backup_host_serves_no_stranger(lab: Lab, certificate: Callable[[str, str], str], who: str) -> None:
    assert pgbackrest(lab, PRIMARY, "repo-ls", "--repo=1")["stdout"].split() == ["archive", "backup"]
    name, words = STRANGERS[who]
    path = certificate(PRIMARY, name)
    done = pgbackrest(
        lab, PRIMARY, "repo-ls", "--repo=1", f"--repo1-host-cert-file={path}", f"--repo1-host-key-file={path}"
    )
    assert done["rc"] != 0 and done["stdout"] == "" and words in done["stderr"], done


def test_database_host_serves_the_backup_host_alone(lab: Lab, certificate: Callable[[str, str], str]) -> None:
    path = certificate(KEEPER, "app1")
    shown = [f"--pg{number}-host-{part}-file={path}" for number in (1, 2) for part in ("cert", "key")]
    done = pgbackrest(lab, KEEPER, "check", *shown)
    assert done["rc"] == 27 and done["stderr"].count("access denied") == 2, done


@pytest.mark.parametrize(("version", "served"), [("tls1_2", False), ("tls1_3", True)])
def test_old_tls_is_refused(lab: Lab, version: str, served: bool) -> None:
    command = f"openssl s_client -{version} -connect {KEEPER}:{PORT} -CAfile {TLS}/ca.crt </dev/null"
    assert ("New, TLSv1.3" in lab.host(PRIMARY).run(command).stdout) is served


def test_each_host_holds_the_secrets_that_it_needs(lab: Lab) -> None:
    for host in sorted({*lab.group("postgresql"), *lab.group("backup"), *lab.group("backup_verify")}):
        file = lab.host(host).file(CONFIGURATION)
        assert (file.user, file.group, file.mode) == ("root", "postgres", 0o640), host
        held = {
            line.split("=")[0] for line in file.content_string.splitlines() if "-pass=" in line or "-secret=" in line
        }
        wanted = {"repo1-cipher-pass"} if host == KEEPER else set()
        if 2 in REPOSITORIES:
            wanted |= {"repo2-cipher-pass", "repo2-s3-key-secret"}
        assert held == wanted, host


def test_no_log_grows_in_a_file(lab: Lab) -> None:
    for host in sorted({*lab.group("postgresql"), *lab.group("backup"), *lab.group("backup_verify")}):
        assert lab.host(host).run("find /var/log/pgbackrest -type f").stdout == "", host


@pytest.fixture
def cut_off(lab: Lab) -> Iterator[Callable[[], None]]:
    """A way to keep the standby from streaming, undone afterwards."""
    host, rules = lab.host(PRIMARY), "/etc/nano/firewall.nft"
    host.run_expect([0], f"cp --preserve {rules} {rules}.verify")

    def cut() -> None:
        host.run_expect([0], f"sed --in-place '/dport 5432/d' {rules}")
        host.run_expect([0], "systemctl reload nano-firewall.service")
        lab.admin(PRIMARY, "SELECT pg_terminate_backend(pid) FROM pg_stat_replication")

    yield cut
    host.run_expect([0], f"mv {rules}.verify {rules}")
    host.run_expect([0], "systemctl reload nano-firewall.service")


@disturbs
def test_standby_follows_from_the_archive_alone(
    lab: Lab, cut_off: Callable[[], None], eventually: Callable[..., Any]
) -> None:
    cut_off()
    assert lab.admin(PRIMARY, "SELECT count(*) FROM pg_stat_replication") == "0"
    table = f"verify_{secrets.token_hex(6)}"
    lab.admin(PRIMARY, f"CREATE TABLE {table} (word text)")
    try:
        switch(lab)
        sql = f"SELECT to_regclass('{table}') IS NOT NULL"
        eventually(lambda: lab.admin(STANDBY, sql) == "t", 60, "the standby does not follow from the archive")
        assert lab.admin(STANDBY, "SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "0"
    finally:
        lab.admin(PRIMARY, f"DROP TABLE {table}")


@disturbs
def test_standby_streams_again(lab: Lab, eventually: Callable[..., Any]) -> None:
    """After the test above, which would else leave it to the next ones."""
    sql = f"SELECT state FROM pg_stat_replication WHERE application_name = '{STANDBY}'"
    eventually(lambda: lab.admin(PRIMARY, sql) == "streaming", 60, "the standby does not stream again")


@disturbs
@pytest.mark.skipif(2 not in REPOSITORIES, reason="needs a second repository")
def test_archiving_goes_on_in_s3_without_the_backup_host(lab: Lab, eventually: Callable[..., Any]) -> None:
    host = lab.host(KEEPER)
    host.run_expect([0], "systemctl stop pgbackrest.service")
    try:
        segment = switch(lab)
        eventually(lambda: newest(lab, 2) >= segment, 150, f"{segment} is not in S3")
        assert newest(lab, 1) < segment, "the backup host was not down"
    finally:
        host.run_expect([0], "systemctl start pgbackrest.service")
    eventually(lambda: newest(lab, 1) >= segment, 150, f"{segment} did not reach the backup host afterwards")


def digest(lab: Lab) -> dict[str, str]:
    """Return the sum of each host's configuration."""
    hosts = sorted({*lab.group("postgresql"), *lab.group("backup"), *lab.group("backup_verify")})
    return {host: lab.host(host).file(CONFIGURATION).sha256sum for host in hosts}


WRONG: dict[str, tuple[str, str]] = {
    "passphrase": ("pgbackrest_cipher_passphrase", "Repository 1: it cannot be decrypted"),
    "secret of S3": ("pgbackrest_s3_secret", "pgbackrest_s3_secret is not the secret of that access key"),
}


@disturbs
@pytest.mark.parametrize("name", [name for name in WRONG if "S3" not in name or 2 in REPOSITORIES])
def test_wrong_secret_is_told_and_changes_nothing(lab: Lab, playbook: Callable[..., Run], name: str) -> None:
    variable, words = WRONG[name]
    before, wrong = digest(lab), secrets.token_hex(16)
    run = playbook("site.yml", "--tags", "pgbackrest", extra_vars={variable: wrong})
    assert run.rc == 2 and run.changed == [], run.output
    said = " ".join(run.output.split())
    assert words in said and f"{CONFIGURATION} was not changed" in said, run.output
    assert "Traceback" not in said and wrong not in said
    assert digest(lab) == before
    assert pgbackrest(lab, KEEPER, "check")["rc"] == 0


@disturbs
def test_setting_that_pgbackrest_does_not_know_is_told(playbook: Callable[..., Run]) -> None:
    run = playbook("site.yml", "--tags", "pgbackrest", extra_vars={"pgbackrest_settings": {"proces-max": 3}})
    assert run.rc == 2 and run.changed == [], run.output
    assert "contains invalid option 'proces-max'" in " ".join(run.output.split())


@disturbs
def test_renewed_certificate_is_shown_by_the_process_that_ran_before(
    lab: Lab, playbook: Callable[..., Run], eventually: Callable[..., Any]
) -> None:
    def serial() -> str:
        shown = f"openssl s_client -connect {STANDBY}:{PORT} -CAfile {TLS}/ca.crt -verify_return_error </dev/null"
        return str(lab.host(KEEPER).check_output(f"{shown} 2>/dev/null | openssl x509 -noout -serial"))

    old, pid = serial(), lab.main_pids(STANDBY)["pgbackrest"]
    run = playbook("site.yml", "--limit", STANDBY, "--tags", "host", extra_vars={"host_certificate_renew": True})
    assert run.rc == 0, run.output
    eventually(lambda: serial() != old, 15, "the old certificate is still shown")
    assert lab.main_pids(STANDBY)["pgbackrest"] == pid
    assert pgbackrest(lab, KEEPER, "check")["rc"] == 0
