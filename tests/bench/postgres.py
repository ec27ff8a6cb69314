"""A throwaway PostgreSQL as it comes, with fsync on: a commit that is not durable would flatter every ratio."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.conftest import PostgresCluster, find_binaries


class DurableCluster(PostgresCluster):
    """The tests' cluster without their shortcuts."""

    settings = ""

    def end(self) -> None:
        """Stops the server in the regular way."""
        self._call("pg_ctl", "-D", "data", "-m", "fast", "-w", "stop")

    @contextmanager
    def database(self) -> Iterator[str]:
        """Creates an empty database, yields its URL and drops it."""
        url = self.create_database(migrated=False)
        try:
            yield url
        finally:
            self.drop_database(url)


def available() -> bool:
    """Tells whether this machine has the programs of a PostgreSQL server."""
    return find_binaries() is not None


@contextmanager
def cluster() -> Iterator[DurableCluster]:
    """Runs a cluster.

    Raises:
        RuntimeError: there are no programs, or it does not start.
    """
    binaries = find_binaries()
    if binaries is None:
        raise RuntimeError("no PostgreSQL server programs found")
    started = DurableCluster(binaries)
    try:
        started.start()
        yield started
    finally:
        started.remove()
