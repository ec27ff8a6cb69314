"""Writers in whose queue many observations of a subject wait: they go as frames, and nobody can tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from streamgauge import AsyncMetricWriter, MetricWriter, WriteFailure, testing

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Calls:
    """Counts the frames that a client sends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
        self.frames = 0
        from streamgauge import _aio_worker, _worker

        module: Any = _worker if place == "sync" else _aio_worker
        original = module.raw_frames

        def counted(channel: Any) -> Any:
            send = original(channel)

            def sent(body: bytes) -> Any:
                self.frames += 1
                return send(body)

            return sent

        monkeypatch.setattr(module, "raw_frames", counted)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_bad_observations_are_refused_one_by_one(
    server: testing.RunningServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    calls = Calls(monkeypatch, kind)
    told: list[WriteFailure] = []
    bad = {17: datetime(2999, 1, 1, tzinfo=UTC), 230: datetime(2999, 1, 2, tzinfo=UTC)}

    def observations() -> Any:
        for number in range(300):
            subject = "sources/a" if number % 3 else "sources/b"
            at = bad.get(number, T0 + timedelta(seconds=number))
            yield subject, {"n": number, "x": number / 7, "text": f"t{number}"}, at

    if kind == "sync":
        with MetricWriter(server.client(), max_batch_age=60, max_batch_items=300, on_error=told.append) as writer:
            for subject, values, at in observations():
                writer.write(subject, values, at)
            writer.write("sources/c", {"n": 1}, T0)
            writer.flush()
            stats = writer.stats
    else:
        async with (
            server.async_client() as client,
            AsyncMetricWriter(client, max_batch_age=60, max_batch_items=300, on_error=told.append) as other,
        ):
            for subject, values, at in observations():
                await other.write(subject, values, at)
            await other.write("sources/c", {"n": 1}, T0)
            await other.flush()
            stats = other.stats
    assert calls.frames >= 1
    assert (stats.accepted, stats.rejected, stats.queued) == (299, 2, 0)
    (failure,) = told
    assert [error.index for error in failure.errors] == [17, 230]
    assert [observation.values["n"] for observation in failure.observations()] == [17, 230]
    found = {
        (frame.subject, frame.times[row], metric): value
        for frame in server.client().metrics.export(subject_kind="sources")
        for metric, column in frame.columns.items()
        for row, value in zip(column.rows, column.values, strict=True)
    }
    assert len(found) == 3 * 298 + 1


def test_later_observations_stand_over_earlier_ones(server: testing.RunningServer) -> None:
    with MetricWriter(server.client(), max_batch_age=60) as writer:
        for number in range(100):
            writer.write("sources/a", {"n": number}, T0, start_time=T0 - timedelta(days=number // 50))
    (frame,) = server.client().metrics.export(["sources/a"])
    assert list(frame.columns["n"].values) == [99]
