"""Runs that report themselves: how they begin and end, and what becomes of the work when its report cannot be made."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from streamgauge import (
    AsyncClient,
    AsyncReportedRun,
    Client,
    JobNotFoundError,
    JobOutcome,
    JobState,
    JobTypeNotFoundError,
    StreamgaugeError,
    TaskCounts,
    UnavailableError,
    ValueTypeMismatchError,
    job_runs,
    testing,
)

from tests.sdk.conftest import done, everything


@asynccontextmanager
async def entered(run: Any) -> AsyncIterator[Any]:
    """Enters the run of either client."""
    if isinstance(run, AsyncReportedRun):
        async with run:
            yield run
    else:
        with run:
            yield run


async def status_of(api: Any, run: Any) -> Any:
    return (await done(api.jobs.status(run.job))).run


async def test_work_that_succeeds_is_reported_from_beginning_to_end(api: Any) -> None:
    await done(api.job_types.create("load", "Load"))
    queued = datetime.now(UTC) - timedelta(minutes=1)
    async with entered(api.jobs.run("nightly load", job_type="load", queue_time=queued)) as run:
        await done(run.metrics(rows=5))
        await done(run.metrics({"rows.read": 2**63 - 1, "ok": True}, rows=6))
        await done(run.tasks(running=1, finished=2, total=3))
        during = await status_of(api, run)
        assert (during.state, during.run_id, during.queue_time) == (JobState.RUNNING, run.run_id, queued)
        assert during.tasks == TaskCounts(1, 2, 3)
    after = await status_of(api, run)
    assert (after.state, after.outcome, after.error) == (JobState.FINISHED, JobOutcome.COMPLETED, "")
    assert (after.start_time, after.queue_time) == (during.start_time, queued)
    assert after.end_time >= after.start_time
    metrics = await done(api.jobs.job("nightly load").metrics())
    assert {name: value.value for name, value in metrics.items()} == {"rows": 6, "rows.read": 2**63 - 1, "ok": True}
    assert (await done(api.jobs.get("nightly load"))).job_type == "jobTypes/load"


async def test_work_that_fails_is_reported_with_its_traceback_and_its_exception_goes_on(api: Any) -> None:
    run = api.jobs.job("nightly").run(run_id="2026-11-22")

    async def work() -> None:
        async with entered(run):
            await done(run.exception(KeyError("survived"), task="t"))
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        await work()
    assert run.run_id == "2026-11-22"
    ended = await status_of(api, run)
    assert (ended.state, ended.error) == (JobState.FAILED, "ZeroDivisionError: division by zero")
    last, first = await everything(api.jobs.exceptions(run.job))
    assert (last.exception_class, last.summary) == ("ZeroDivisionError", "ZeroDivisionError: division by zero")
    assert "_ = 1 / 0" in last.stacktrace
    assert (first.exception_class, first.task) == ("KeyError", "t")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (KeyboardInterrupt(), JobState.CANCELED),
        (SystemExit(0), JobState.FINISHED),
        (SystemExit(3), JobState.FAILED),
    ],
)
async def test_work_that_is_ended_goes_on_ending(api: Any, error: BaseException, state: JobState) -> None:
    with pytest.raises(type(error)):
        async with entered(api.jobs.run("a")) as run:
            raise error
    assert (await status_of(api, run)).state is state


async def test_a_task_that_is_cancelled_reports_so(server: testing.RunningServer) -> None:
    async with server.async_client() as client:
        began = asyncio.Event()

        async def work() -> None:
            async with client.jobs.run("a"):
                began.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await client.jobs.status("a")).state is JobState.CANCELED


async def test_each_block_is_a_run_of_its_own(api: Any) -> None:
    for _ in range(2):
        async with entered(api.jobs.run("a")):
            pass
    assert [run.state for run in await everything(api.jobs.runs("a"))] == [JobState.FINISHED] * 2


# --- What cannot be reported -----------------------------------------------------------------------------------------


async def test_a_metric_that_is_refused_is_told_and_the_run_reported_without_it(api: Any) -> None:
    told: list[Exception] = []
    async with entered(api.jobs.run("a", on_error=told.append)) as run:
        await done(run.metrics(rows=5))
        await done(run.metrics({"rows": "many", "lost": 1}))
        await done(run.metrics(bad=None, kept=1))
    assert [type(error) for error in told] == [ValueTypeMismatchError, TypeError]
    assert (await status_of(api, run)).state is JobState.FINISHED
    assert sorted(await done(api.jobs.job("a").metrics())) == ["kept", "rows"]


async def test_a_run_that_is_refused_leaves_the_work_alone(api: Any, caplog: pytest.LogCaptureFixture) -> None:
    told: list[Exception] = []
    async with entered(api.jobs.run("a", job_type="nobody", on_error=told.append)) as run:
        await done(run.metrics(rows=5))
    assert run.job == ""
    assert {type(error) for error in told} == {JobTypeNotFoundError}
    with pytest.raises(JobNotFoundError):
        await done(api.jobs.get("a"))
    with caplog.at_level(logging.WARNING, "streamgauge"):
        async with entered(api.jobs.run("")):
            pass
    assert "of job '' could not be reported: INVALID_FIELD" in caplog.text


async def test_work_that_must_not_run_unseen_raises_in_on_error(api: Any) -> None:
    def strict(error: Exception) -> None:
        raise error

    with pytest.raises(JobTypeNotFoundError):
        async with entered(api.jobs.run("a", job_type="nobody", on_error=strict)):
            raise AssertionError("the work must not begin")


async def test_a_closed_client_leaves_the_work_alone(server: testing.RunningServer) -> None:
    told: list[Exception] = []
    client = Client(server.target)
    with client.jobs.run("a", on_error=told.append):
        client.close()
    aio = AsyncClient(server.target)
    async with aio.jobs.run("b", on_error=told.append):
        await aio.close()
    assert [str(error) for error in told] == ["the client is closed"] * 2


async def test_while_the_server_is_away_the_work_waits_once_and_its_end_is_told_on_return(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    monkeypatch.setattr(job_runs, "REPORT_SECONDS", 0.5)
    settings = {"listen": f"127.0.0.1:{free_port}", "database": f"sqlite:///{tmp_path}/store.db"}
    told: list[Exception] = []
    with Client(f"127.0.0.1:{free_port}") as client:
        with testing.server(**settings):
            work = client.jobs.run("a", on_error=told.append)
            work.__enter__()
        began = time.monotonic()
        for number in range(1_000):
            work.metrics({"rows": number, f"m{number % 3}": number})
        assert time.monotonic() - began < 5
        assert [type(error) for error in told] == [UnavailableError]
        with testing.server(**settings):
            work.__exit__(None, None, None)
            status = client.jobs.status("a")
            assert status.state is JobState.FINISHED
            metrics = client.jobs.job("a").metrics()
            assert {name: value.value for name, value in metrics.items()} == {
                "rows": 999,
                "m0": 999,
                "m1": 997,
                "m2": 998,
            }


async def test_an_end_that_nobody_hears_is_told_in_the_log_and_the_work_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free_port: int
) -> None:
    monkeypatch.setattr(job_runs, "REPORT_SECONDS", 0.2)
    monkeypatch.setattr(job_runs, "END_SECONDS", 0.4)
    with caplog.at_level(logging.WARNING, "streamgauge"), Client(f"127.0.0.1:{free_port}") as client:
        with pytest.raises(ValueError, match="mine"), client.jobs.run("a"):
            raise ValueError("mine")
        with pytest.raises(StreamgaugeError):
            client.jobs.get("a", timeout=0.2)
    async with AsyncClient(f"127.0.0.1:{free_port}") as aio:
        with pytest.raises(ValueError, match="mine"):
            async with aio.jobs.run("b"):
                raise ValueError("mine")
    # A call that was not refused in time has run out of time.
    assert len(re.findall("could not be reported: (?:UNAVAILABLE|DEADLINE_EXCEEDED)", caplog.text)) == 4
