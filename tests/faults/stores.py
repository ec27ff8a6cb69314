"""Stores that can be taken away from a running server, and disks that can be filled."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from tests.conftest import Postgres


class Outage(Protocol):
    """A store that can go away and come back."""

    engine: str
    url: str

    def begin(self) -> None:
        """Takes the store away."""
        ...

    def end(self) -> None:
        """Brings it back as it was."""
        ...


class SqliteOutage:
    """The file is moved elsewhere."""

    engine = "sqlite"

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._path, self._elsewhere = path, path.with_suffix(".elsewhere")

    def begin(self) -> None:
        self._path.rename(self._elsewhere)

    def end(self) -> None:
        self._elsewhere.rename(self._path)


class PostgresqlOutage:
    """The database server stops, without a goodbye to its clients."""

    engine = "postgresql"

    def __init__(self, cluster: Postgres, url: str) -> None:
        self.url = url
        self._cluster = cluster

    def begin(self) -> None:
        self._cluster.stop()

    def end(self) -> None:
        self._cluster.start()


class SmallDisk:
    """A file system of a few megabytes, part of which can be freed."""

    def __init__(self, path: Path, ballast: int) -> None:
        self.path = path
        self._ballast = path / "ballast"
        self._ballast.write_bytes(bytes(ballast))

    def free(self) -> None:
        """Gives room back."""
        self._ballast.unlink()


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk]:
    """Mounts a small disk, half of it taken; only root may do that, and only where the machine lets it."""
    path = Path(tempfile.mkdtemp(prefix="sg-disk-"))
    path.chmod(0o755)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        if mounted.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
        yield SmallDisk(path, megabytes * 1024 * 1024 // 2)
    finally:
        subprocess.run(["umount", "-l", str(path)], capture_output=True, check=False)
        path.rmdir()


@contextmanager
def blocks_on(disk: SmallDisk, cluster: Postgres, url: str) -> Iterator[None]:
    """Keeps the table `blocks` of a PostgreSQL database on a disk."""
    (directory,) = cluster.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
    space = disk.path / "space"
    space.mkdir()
    os.chown(space, Path(directory["setting"]).stat().st_uid, -1)
    cluster.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
    cluster.execute("ALTER TABLE blocks SET TABLESPACE small", url)
    try:
        yield
    finally:
        cluster.drop_database(url)
        cluster.execute("DROP TABLESPACE small")
