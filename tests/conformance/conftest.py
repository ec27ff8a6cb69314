"""Every test here runs on every engine, against the same contract: the docstrings of `streamgauge_server.storage`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import pytest
from streamgauge_server.model.clock import MAX_MICROS, MICROS_PER_DAY, MIN_MICROS, FixedClock
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.metric_types import ALL_CHOICES, FigureType, Span
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import Scalar, SubjectKind
from streamgauge_server.storage.blocks import LatestRow, RequestRecord, SubjectWrite
from streamgauge_server.storage.figures import Stretch
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import decode, encode_row
from streamgauge_server.timeseries.figures import Figures, decode_figures
from streamgauge_server.timeseries.frame import UNKNOWN_START

START = 1_700_000_000_000_000
"""2023-11-14T22:13:20Z, the time on the tests' clock."""

MIN_DAY = MIN_MICROS // MICROS_PER_DAY
MAX_DAY = MAX_MICROS // MICROS_PER_DAY


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(START)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store_url(engine: str, request: pytest.FixtureRequest) -> str:
    """The URL of an empty, migrated store of the test's own."""
    return str(request.getfixturevalue("pg_url" if engine == "postgresql" else "sqlite_url"))


@dataclass(frozen=True, slots=True)
class FigureRow:
    """Figures of one choice (0: all of them) that begin at `start`: an hour, or a day, since 1970."""

    choice: int
    start: int
    figures: Figures


async def load_figures(
    store: Store,
    tenant: str,
    type: FigureType,
    choices: Collection[int] | None,
    span: Span,
    first: int = -(10**8),
    last: int = 10**8,
) -> list[FigureRow]:
    """Returns figures of choices, by start and choice; without choices those of all of them together (0)."""
    wanted = [ALL_CHOICES] if choices is None else choices
    rows = await store.figures.rows(tenant, type, wanted, [Stretch(span, first, last + 1)], limit=10**6)
    loaded = [FigureRow(row.choice, row.start, decode_figures(type, row.data)) for row in rows]
    return sorted(loaded, key=lambda row: (row.start, row.choice))


OpenStore = Callable[[], Awaitable[Store]]


@pytest.fixture
async def open_store(store_url: str, clock: FixedClock) -> AsyncIterator[OpenStore]:
    """Opens the test's store, as often as wanted: each is what another server process would be."""
    stores: list[Store] = []

    async def open_one() -> Store:
        stores.append(await Store.open(store_url, clock=clock))
        return stores[-1]

    yield open_one
    for opened in stores:
        await opened.close()


@pytest.fixture
async def store(open_store: OpenStore) -> Store:
    return await open_store()


class Observer:
    """Writes observations to a store and reads them back, without the layers in between."""

    def __init__(self, store: Store) -> None:
        self.store = store

    async def subject(self, name: str = "s", part: str = "", tenant: str = "t") -> int:
        """Returns the id of a source, registering it."""
        key = source_key(name, part)
        return (await self.store.subjects.register(tenant, [key], limits=Limits()))[key]

    async def write(
        self, subject_id: int, time: int, values: Mapping[int, Scalar], request: RequestRecord | None = None
    ) -> RequestRecord | None:
        """Appends one observation."""
        return await self.store.blocks.append([row_write(subject_id, time, values)], request)

    async def samples(self, subject_id: int) -> dict[int, dict[int, Scalar]]:
        """Returns what the blocks of a subject say, by moment and metric."""
        merged: dict[int, dict[int, Scalar]] = {}
        loaded = await self.store.blocks.load(
            [subject_id], MIN_DAY, MAX_DAY, summaries=False, data_below_rows=2**31 - 1
        )
        for block in loaded[subject_id]:
            assert block.data is not None
            if not block.rows:  # retention has left its summaries alone
                continue
            frame = decode(block.data)
            for metric, column in frame.columns.items():
                for row, (time, value) in enumerate(zip(frame.times.tolist(), column.values.tolist(), strict=True)):
                    if column.present is None or column.present[row]:
                        merged.setdefault(time, {})[metric] = value
        return merged

    async def latest(self, name: str = "s", part: str = "", tenant: str = "t") -> LatestRow:
        """Returns the latest values of a source."""
        subject = SubjectName(SubjectKind.SOURCE, name)
        return (await self.store.blocks.latest(tenant, [subject]))[subject][part]

    async def latest_values(self, name: str = "s", part: str = "") -> dict[int, Scalar]:
        """Returns the newest value of each metric of a source."""
        return {metric: sample.value for metric, sample in (await self.latest(name, part)).samples.items()}


def source_key(name: str, part: str = "") -> SubjectKey:
    return SubjectKey(SubjectName(SubjectKind.SOURCE, name), part)


def row_write(subject_id: int, time: int, values: Mapping[int, Scalar]) -> SubjectWrite:
    return SubjectWrite(subject_id, [encode_row(time, UNKNOWN_START, values)], row=(time, UNKNOWN_START, values))


@pytest.fixture
def observer(store: Store) -> Observer:
    return Observer(store)
