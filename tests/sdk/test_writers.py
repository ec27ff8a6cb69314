"""The writers against a real server: what was written is there once, also when the server goes away in between."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from streamgauge import (
    AsyncClient,
    AsyncMetricWriter,
    Client,
    FailureKind,
    MetricWriter,
    Observation,
    WriteFailure,
    WriterStats,
    testing,
)

from tests.sdk.conftest import done

T0 = datetime(2026, 11, 1, tzinfo=UTC)
SECONDS = 20.0


async def until(predicate: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not predicate():  # noqa: ASYNC110 (what it looks at changes in another thread)
            await asyncio.sleep(0.005)


def writer_of(client: Any, **arguments: Any) -> Any:
    kind = MetricWriter if isinstance(client, Client) else AsyncMetricWriter
    return kind(client, **arguments)


def sample_count(client: Client, source: str = "orders", metric: str = "a") -> int:
    summary = client.sources.timesummary(
        source, start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime.now(UTC) + timedelta(hours=1), metrics=[metric]
    )
    return summary[metric].sample_count


async def test_everything_written_is_there_with_its_time_and_part(api: Any, server: testing.RunningServer) -> None:
    writer = writer_of(api, max_batch_items=100, max_batch_age=60)
    for number in range(250):
        await done(
            writer.write("sources/orders", {"a": number}, T0 + timedelta(seconds=number), part="p", start_time=T0)
        )
    await done(writer.write_observation(Observation("sources/orders", {"b": "text"}, T0)))
    await done(writer.flush(SECONDS))
    assert writer.stats == WriterStats(accepted=251, batches=3)
    client = server.client()
    assert sample_count(client) == 250
    latest = client.metrics.latest(["sources/orders"], by_part=True)
    assert {found.part: set(found.values) for found in latest.subjects} == {"": {"b"}, "p": {"a"}}
    assert latest.subjects[1]["a"].time == T0 + timedelta(seconds=249)
    await done(writer.close())


async def test_without_a_time_an_observation_is_of_the_moment_it_was_written(api: Any) -> None:
    writer = writer_of(api, max_batch_age=60)
    before = datetime.now(UTC)
    await done(writer.write("sources/orders", {"a": 1}))
    after = datetime.now(UTC)
    await done(writer.close())
    moment = (await done(api.sources.latest("orders", metrics=["a"])))["a"].time
    assert before - timedelta(microseconds=1) <= moment <= after


async def test_leaving_the_with_block_sends_what_is_left(server: testing.RunningServer) -> None:
    with server.client() as client, MetricWriter(client, max_batch_age=60) as writer:
        writer.write("sources/orders", {"a": 1})
    async with server.async_client() as aio, AsyncMetricWriter(aio, max_batch_age=60) as aio_writer:
        await aio_writer.write("sources/orders", {"a": 2})
    assert writer.stats.accepted == aio_writer.stats.accepted == 1
    assert sample_count(server.client()) == 2


async def test_refused_observations_are_told_with_the_servers_reasons(api: Any) -> None:
    failures: list[WriteFailure] = []
    writer = writer_of(api, on_error=failures.append)
    await done(writer.write("sources/orders", {"a": 1}))
    await done(writer.write("sources/orders", {"a": float("nan")}))
    await done(writer.write("nonsense", {"a": 1}, T0))
    await done(writer.close())
    assert writer.stats == WriterStats(accepted=1, rejected=2, batches=1)
    (failure,) = failures
    assert [(error.subject, error.metric, error.reason) for error in failure.errors] == [
        ("sources/orders", "a", "INVALID_FIELD"),
        ("nonsense", "", "INVALID_FIELD"),
    ]
    assert [observation.subject for observation in failure.observations()] == ["sources/orders", "nonsense"]


async def test_a_batch_of_a_writer_without_permission_is_reported_and_not_tried_again(
    server: testing.RunningServer,
) -> None:
    admin = server.client().tokens.create(["admin"])
    reader = server.client(token=admin.secret).tokens.create(["read:source_metrics"])
    failures: list[WriteFailure] = []
    with MetricWriter(server.client(token=reader.secret), on_error=failures.append) as writer:
        writer.write("sources/orders", {"a": 1})
    assert writer.stats == WriterStats(failed=1, batches=1)
    assert failures[0].kind is FailureKind.FAILED
    assert "SCOPE_MISSING" in str(failures[0])


async def test_a_value_that_cannot_be_sent_is_refused_by_write_itself(api: Any) -> None:
    writer = writer_of(api)
    with pytest.raises(TypeError, match=r"values\['a'\]"):
        await done(writer.write("sources/orders", {"a": None}))
    with pytest.raises(ValueError, match="time must be timezone-aware"):
        await done(writer.write("sources/orders", {"a": 1}, datetime(2026, 1, 1)))  # noqa: DTZ001 (the point)
    await done(writer.close())
    assert writer.stats == WriterStats()


def test_many_threads_share_one_writer(server: testing.RunningServer) -> None:
    with MetricWriter(server.client(), max_batch_items=50, max_queue_items=60) as writer:

        def work(name: int) -> None:
            for number in range(200):
                writer.write(f"sources/s{name}", {"a": number}, T0 + timedelta(seconds=number))

        threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert writer.stats.accepted == 800
    assert [sample_count(server.client(), f"s{name}") for name in range(4)] == [200] * 4


@contextmanager
def restartable(path: Path) -> Iterator[tuple[Callable[[], None], Callable[[], None], str]]:
    """Yields how to start a server over a file, how to stop it, and where it is."""
    running: list[Any] = []
    settings: dict[str, Any] = {"database": f"sqlite:///{path}"}

    def start() -> None:
        context = testing.server(**settings)
        running.append(context)
        settings["listen"] = context.__enter__().target

    def stop() -> None:
        running.pop().__exit__(None, None, None)

    start()
    try:
        yield start, stop, settings["listen"]
    finally:
        while running:
            stop()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_server_that_goes_away_and_comes_back_has_everything_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[WriteFailure] = []
    with restartable(tmp_path / "store.db") as (start, stop, target):
        client: Any = Client(target) if kind == "sync" else AsyncClient(target)
        writer = writer_of(client, max_batch_items=10, on_error=failures.append)
        for number in range(20):
            await done(writer.write("sources/orders", {"a": number}, T0 + timedelta(seconds=number)))
        await done(writer.flush(SECONDS))
        stop()
        with caplog.at_level(logging.WARNING, "streamgauge"):
            for number in range(20, 50):
                await done(writer.write("sources/orders", {"a": number}, T0 + timedelta(seconds=number)))
            await until(lambda: bool(writer.stats.retries))
        assert writer.stats.queued == 30
        start()
        await done(writer.flush(SECONDS))
        assert writer.stats.accepted == 50
        await done(writer.close())
        await done(client.close())
        with Client(target) as reader:
            assert sample_count(reader) == 50
    assert failures == []
    assert any("cannot write metrics" in record.getMessage() for record in caplog.records)


async def test_a_writer_whose_client_was_closed_reports_what_it_could_not_send(server: testing.RunningServer) -> None:
    failures: list[WriteFailure] = []
    with server.client() as client:
        writer = MetricWriter(client, max_batch_age=60, on_error=failures.append)
        writer.write("sources/orders", {"a": 1})
    writer.close()
    assert [(failure.kind, failure.count) for failure in failures] == [(FailureKind.FAILED, 1)]
    assert "the client is closed" in str(failures[0])


async def test_a_writer_that_nobody_holds_any_more_sends_the_rest_and_ends(server: testing.RunningServer) -> None:
    def threads() -> int:
        return sum(thread.name == "streamgauge-writer" for thread in threading.enumerate())

    before = threads()
    writer = MetricWriter(server.client(), max_batch_age=0.05)
    writer.write("sources/orders", {"a": 1})
    assert threads() == before + 1
    del writer
    gc.collect()
    await until(lambda: threads() == before)
    assert sample_count(server.client()) == 1


async def test_an_asyncio_writer_that_nobody_holds_any_more_sends_the_rest(server: testing.RunningServer) -> None:
    async with server.async_client() as client:
        writer = AsyncMetricWriter(client, max_batch_age=60)
        await writer.write("sources/orders", {"a": 1})
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == "streamgauge-writer"]
        del writer
        gc.collect()
        async with asyncio.timeout(SECONDS):
            await task
    assert sample_count(server.client()) == 1
