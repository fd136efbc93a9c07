"""Copies in a real S3 whose objects are locked: encrypted, read back, caught up, and kept by their own rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from .backup_site import BUCKET, DATABASE, Cluster, Site, Store


def held(store: Store) -> bytes:
    """Return everything that the store has on its disk."""
    return b"".join(path.read_bytes() for path in (store.here / "objects" / BUCKET).rglob("*") if path.is_file())


def in_s3(site: Site) -> list[str]:
    """Return the dumps that a list shows in S3, by their time."""
    return [line.split(": ")[1].split()[0] for line in site.run("list").splitlines() if "S3: " in line]


@pytest.fixture
def dumped(site: Site, store: Store) -> Site:
    site.run("run", "--only", "dump")
    return site


def test_a_copy_is_encrypted_and_can_be_used_alone(dumped: Site, store: Store, cluster: Cluster) -> None:
    everything = held(store)
    assert b"RCLONE" in everything, "rclone's encryption"
    for plain in (b"PGDMP", b"CREATE ROLE reader", b'"database_bytes"'):
        assert plain not in everything
    folder = dumped.dumps()[0]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert in_s3(dumped) == [folder.name]
    assert "exactly" in dumped.run("verify", "--only", "dump")
    dumped.run("restore-dump", "--database", DATABASE, "--into", "side")
    try:
        assert cluster.sql("SELECT count(*) FROM people", "side") == "2000"
    finally:
        cluster.sql("DROP DATABASE side", "postgres")


def test_s3_that_was_down_is_caught_up(site: Site, store: Store) -> None:
    store.stop()
    try:
        for _ in range(2):
            said = site.run("run", "--only", "dump", code=1)
            assert f"FAILED copy of {DATABASE} to S3: " in said
            assert "does not answer; the next run copies what is missing" in said
        site.run("metrics")
        figures = site.metrics()
        assert figures['up{part="s3"}'] == 0 and figures['up{part="local"}'] == 1
        assert f'newest_timestamp_seconds{{database="{DATABASE}",kind="dump",place="s3"}}' not in figures
        assert figures[f'last_run_success{{database="{DATABASE}",kind="copy"}}'] == 0
        assert figures[f'last_run_success{{database="{DATABASE}",kind="dump"}}'] == 1
        assert f'last_success_timestamp_seconds{{database="{DATABASE}",kind="copy"}}' not in figures
    finally:
        store.start()
    assert "3 dumps copied and read back" in site.run("run", "--only", "dump")
    assert in_s3(site) == [path.name for path in site.dumps()]
    newest = site.manifest(site.dumps()[-1])["created"]
    place = f'newest_timestamp_seconds{{database="{DATABASE}",kind="dump",place="s3"}}'
    assert abs(site.metrics()[place] - newest) < 5


def test_what_comes_back_changed_is_no_copy(site: Site, store: Store, cluster: Cluster) -> None:
    rclone = site.here / "rclone"
    lines = ["#!/bin/sh", f'"{cluster.bin}/rclone" "$@" || exit', '[ "$1" != cat ] || echo x', ""]
    rclone.write_text("\n".join(lines))
    rclone.chmod(0o755)
    good, site.config["rclone"] = site.config["rclone"], str(rclone)
    assert "came back from S3 changed (SHA-256 differs)" in site.run("run", "--only", "dump", code=1)
    site.config["rclone"] = good
    assert in_s3(site) == []
    site.run("run", "--only", "dump")
    assert len(in_s3(site)) == 2


@pytest.mark.parametrize(
    ("key", "secret", "words"),
    [
        (None, "not-the-secret-at-all", "S3 refuses the secret: backup_s3_secret is not the one of tests-access-key"),
        ("nobody", None, "S3 does not know the access key nobody: check backup_s3_access_key"),
    ],
)
def test_wrong_keys_are_told(site: Site, store: Store, key: str | None, secret: str | None, words: str) -> None:
    site.config["s3"] |= {"access_key": key} if key else {}
    if secret:
        site.secret("s3_secret", secret)
    said = site.run("run", "--only", "dump", code=1)
    assert words in said
    assert not secret or secret not in said
    assert len(site.dumps()) == 1


def test_a_missing_bucket_is_told(site: Site, store: Store) -> None:
    site.config["s3"] |= {"bucket": "not-there"}
    assert "there is no bucket not-there" in site.run("run", "--only", "dump", code=1)


def test_a_wrong_passphrase_is_told_and_deletes_nothing(dumped: Site) -> None:
    dumped.secret("passphrase", "another passphrase of no use")
    words = "was not encrypted with this backup_passphrase"
    assert words in dumped.run("verify", "--only", "dump", code=1)
    dumped.config["s3_retention_days"], dumped.config["databases"] = 0, ["not_there"]
    dumped.run("run", "--only", "dump", code=1)
    assert in_s3(dumped) == [dumped.dumps()[0].name]


def test_retention_in_s3_is_its_own(site: Site, store: Store) -> None:
    site.run("run", "--only", "physical")
    s3, site.config["s3"] = site.config["s3"], None
    site.run("run", "--only", "dump")
    old = site.age(site.dumps()[0], 25)
    site.config["s3"] = s3
    site.run("run", "--only", "dump")
    assert in_s3(site)[0] == old.name and len(in_s3(site)) == 2
    site.config["s3_retention_days"] = 20
    assert "1 dumps deleted" in site.run("run", "--only", "dump")
    assert old.name not in in_s3(site) and old.exists()
    # Nor is it copied again.
    site.run("run", "--only", "dump")
    assert old.name not in in_s3(site)


def test_the_last_good_copy_in_s3_stays(site: Site, store: Store, cluster: Cluster) -> None:
    s3, site.config["s3"] = site.config["s3"], None
    site.run("run", "--only", "dump")
    old = site.age(site.dumps()[0], 90)
    site.config["s3"] = s3
    cluster.stop()
    try:
        for _ in range(2):
            site.run("run", "--only", "dump", code=1)
            assert in_s3(site) == [old.name] and old.exists()
    finally:
        cluster.start()
    site.run("run", "--only", "dump")
    assert old.name not in in_s3(site) and not old.exists()


def test_the_platforms_archive_is_copied_as_it_is(site: Site, store: Store) -> None:
    folder = site.directory / "platform"
    folder.mkdir()
    path = folder / "20260101T000000Z-0123456789ab.vault"
    path.write_text("$ANSIBLE_VAULT;1.1;AES256\n3038\n")
    for each in (folder, path):
        each.chmod(0o755 if each.is_dir() else 0o644)
    assert "1 archive copied and read back" in site.run("run", "--only", "dump")
    assert path.read_bytes() in held(store), "it must be readable with the vault's password alone"
    assert "copy of the platform's archive to S3: nothing to copy" in site.run("run", "--only", "dump")
    assert site.metrics()['last_run_success{database="platform",kind="copy"}'] == 1


def test_no_secret_is_in_a_command_line(site: Site, store: Store) -> None:
    """Each program's command line is written down by the ones that start it."""
    noted = site.here / "noted"
    rclone = site.here / "rclone"
    rclone.write_text(f'#!/bin/sh\necho "$@" >> "{noted}"\nexec "{site.config["rclone"]}" "$@"\n')
    rclone.chmod(0o755)
    site.config["rclone"] = str(rclone)
    site.run("run", "--only", "dump")
    text = noted.read_text()
    assert "obscure -" in text and "copyto" in text
    for name in ("passphrase", "s3_secret", "database_password"):
        assert (site.secrets / name).read_text().strip() not in text


def test_the_store_refuses_to_destroy_a_version(dumped: Site, store: Store) -> None:
    """What a stolen credential can do to a locked bucket: hide, not destroy."""
    name = in_s3(dumped)[0]
    path = f"/{BUCKET}/{dumped.here.name}/dumps/{DATABASE}/{name}/database.dump.bin"
    assert store.ask("DELETE", path) == 204
    assert in_s3(dumped) == [name]
    assert Path(store.here / "objects" / path[1:]).exists(), "the version is still there"
