"""Make the tree importable as the collection that it is; servers that several files of tests share."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "collections")]

from . import backup_site  # noqa: E402
from .backup_site import Cluster, Site, Store  # noqa: E402


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that other users reach, with a path that is short enough for sockets; pytest's own is root's alone."""
    with tempfile.TemporaryDirectory(prefix="nano-backup-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def cluster(open_folder: Path) -> Iterator[Cluster]:
    """PostgreSQL that archives into two repositories."""
    if lacks := backup_site.lacks():
        pytest.skip(lacks)
    made = Cluster(open_folder / "cluster")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def running_store(open_folder: Path) -> Iterator[Store]:
    """An object store."""
    if not backup_site.programs.minio():
        pytest.skip("no MinIO here (make test brings it)")
    made = Store(open_folder / "store")
    made.start()
    try:
        made.make_bucket()
        yield made
    finally:
        made.stop()


@pytest.fixture
def site(cluster: Cluster, open_folder: Path) -> Iterator[Site]:
    """A backup host of the test's own, without S3."""
    with tempfile.TemporaryDirectory(dir=open_folder, prefix="s", ignore_cleanup_errors=True) as name:
        yield Site(cluster, Path(name))


@pytest.fixture
def store(site: Site, running_store: Store) -> Store:
    """The store, which the backup host uses; each test has keys of its own by a prefix of the bucket."""
    site.config["s3"] = running_store.settings | {"bucket": f"{backup_site.BUCKET}/{site.here.name}"}
    return running_store
