"""Writes of known and new metrics together lose nothing, however short descriptors are kept."""

from __future__ import annotations

import pytest
from streamgauge.v1 import metrics_service_pb2
from streamgauge_server.model.clock import FixedClock

from tests.rpc.asset_messages import emit, newest
from tests.rpc.messages import NOW, SECOND, batch, column, frame, latest_of, row, write
from tests.rpc.serving import Stubs


@pytest.fixture
def clock() -> FixedClock:
    """A clock by which descriptors are stale whenever they are looked up."""

    class Hurrying(FixedClock):
        def now(self) -> int:
            self.micros += 6 * SECOND
            return self.micros

    return Hurrying(NOW)


async def latest(stubs: Stubs) -> object:
    request = metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a"])
    (answer,) = (await stubs.metrics.GetLatestMetrics(request)).subjects
    return latest_of(answer)


async def test_an_emit(stubs: Stubs) -> None:
    await emit(stubs, {"known": 1, "other": "x"})
    await emit(stubs, {"known": 2, "new": 3, "other": "y"}, at=NOW + SECOND)
    assert await newest(stubs) == {"known": 2, "other": "y", "new": 3}


async def test_a_written_observation(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"known": 1, "other": "x"})))
    await stubs.metrics.WriteMetrics(write(row({"known": 2, "new": 3, "other": "y"}, at=NOW + SECOND)))
    assert await latest(stubs) == {"known": 2, "other": "y", "new": 3}


async def test_an_imported_frame(stubs: Stubs) -> None:
    await stubs.metrics.WriteMetrics(write(row({"known": 1, "other": "x"})))
    columns = [column("known", [2]), column("new", [3]), column("other", ["y"])]
    answer = await stubs.metrics.ImportMetrics(iter([batch(frame([NOW + SECOND], *columns))]))
    assert answer.accepted_sample_count == 3
    assert await latest(stubs) == {"known": 2, "other": "y", "new": 3}
