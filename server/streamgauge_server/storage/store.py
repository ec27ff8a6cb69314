"""The store: the one way in to everything that is kept."""

from __future__ import annotations

from dataclasses import dataclass

from streamgauge_server.model.clock import Clock
from streamgauge_server.storage.assets import Assets
from streamgauge_server.storage.blocks import Blocks
from streamgauge_server.storage.change_log import ChangeLog
from streamgauge_server.storage.collector_leases import Collectors
from streamgauge_server.storage.compaction import Compactions
from streamgauge_server.storage.corrections import Corrections
from streamgauge_server.storage.damage_log import DamageLog
from streamgauge_server.storage.database import Database, open_database
from streamgauge_server.storage.figures import FigureStore
from streamgauge_server.storage.ingests import Ingests
from streamgauge_server.storage.integrity import Integrity
from streamgauge_server.storage.job_errors import JobErrors
from streamgauge_server.storage.job_runs import JobRuns
from streamgauge_server.storage.job_stops import JobStops
from streamgauge_server.storage.job_types import JobTypes
from streamgauge_server.storage.jobs import Jobs
from streamgauge_server.storage.latest_rebuilding import LatestRebuilding
from streamgauge_server.storage.metric_types import MetricTypes
from streamgauge_server.storage.metrics import Metrics
from streamgauge_server.storage.migrate import (
    COPYING,
    CopyUnfinished,
    create_in_memory,
    current_revision,
    head_revision,
)
from streamgauge_server.storage.positions import Positions
from streamgauge_server.storage.retention import RetentionStore
from streamgauge_server.storage.sources import Sources
from streamgauge_server.storage.subject_days import SubjectDays
from streamgauge_server.storage.subjects import Subjects
from streamgauge_server.storage.tokens import Tokens
from streamgauge_server.storage.urls import Engine, parse_url

POOL_SIZE = 4
"""Reads that run at the same time; the append transaction and the reads of latest values have their own connections."""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Which store it is: the engine, its version, and the revision of the schema."""

    engine: Engine
    version: str
    schema_revision: str


class SchemaOutdated(Exception):
    """The database lacks migrations that this version needs. `current` is None for an empty database."""

    def __init__(self, current: str | None, head: str) -> None:
        super().__init__(f"the database has schema {current or 'none'}, this version needs {head}: migrate it first")
        self.current = current
        self.head = head


class Store:
    """An open store, used from one event loop.

    Every method of its parts is one transaction, unless it says otherwise: it happens wholly or not at all, and what it
    returned is durable. Any of them raises `DomainError` STORE_UNAVAILABLE, with a cause, when the database cannot be
    reached or cannot write; once the database is back, the same store works again.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self.engine: Engine = database.engine
        self.damage = damage = DamageLog(database)
        rebuilding = LatestRebuilding(database, damage)
        self.subjects = Subjects(database, clock)
        self.subject_days = SubjectDays(database)
        self.sources = Sources(database, clock)
        self.assets = Assets(database, clock)
        self.jobs = Jobs(database, clock)
        self.job_runs = JobRuns(database, rebuilding)
        self.job_types = JobTypes(database, clock)
        self.job_stops = JobStops(database, clock)
        self.job_errors = JobErrors(database)
        self.ingests = Ingests(database)
        self.figures = FigureStore(database, damage)
        self.metric_types = MetricTypes(database, clock)
        self.collectors = Collectors(database, clock)
        self.metrics = Metrics(database, clock)
        self.blocks = Blocks(database, clock, rebuilding)
        self.change_log = ChangeLog(database)
        self.positions = Positions(database, clock)
        self.compactions = Compactions(database, clock)
        self.retention = RetentionStore(database)
        self.corrections = Corrections(database, damage)
        self.tokens = Tokens(database, clock)
        self.integrity = Integrity(database, rebuilding, self.figures)

    @classmethod
    async def open(cls, url: str, *, pool_size: int = POOL_SIZE, clock: Clock) -> Store:
        """Opens the store at a URL: `sqlite:///path`, `sqlite://:memory:` or `postgresql://...` (see `urls.parse_url`).

        A store in memory is migrated here, any other must have been (`migrate.migrate`), by this version or a newer
        one. `pool_size` is how many reads run at the same time; PostgreSQL needs five more, and one to listen.

        Raises:
            ValueError: the URL is malformed or names an engine that is not supported, or `pool_size` is below 1.
            SchemaOutdated: the database must be migrated first.
            CopyUnfinished: the database holds a copy that is not finished.
            DomainError: STORE_UNAVAILABLE.
        """
        if pool_size < 1:
            raise ValueError("pool_size must be at least 1")
        store_url = parse_url(url)
        database = await open_database(store_url, pool_size=pool_size)
        try:
            if store_url.in_memory:
                await database.write(create_in_memory)
            else:
                current, head = await database.read(current_revision), head_revision()
                if current == COPYING:
                    raise CopyUnfinished
                if current is None or current < head:
                    raise SchemaOutdated(current, head)
        except BaseException:
            await database.close()
            raise
        return cls(database, clock)

    async def close(self) -> None:
        """Commits what waits, then closes the connections."""
        await self.blocks.close()
        await self._database.close()

    async def ping(self) -> None:
        """Returns if the database answers.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        await self._database.version()

    async def info(self) -> StoreInfo:
        """Returns engine, version and schema revision.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        revision = await self._database.read(current_revision)
        return StoreInfo(self.engine, await self._database.version(), revision or "")
