"""Watches of jobs against a real server, which is stopped and started again."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from streamgauge import (
    AsyncClient,
    AsyncJobWatch,
    Client,
    InvalidArgumentError,
    JobChange,
    JobState,
    PageTokenMismatchError,
    testing,
)

from tests.sdk.conftest import done


async def some(watch: Any, count: int) -> list[tuple[str, str, str]]:
    """Returns so many changes of either client's watch."""

    def told(change: JobChange) -> tuple[str, str, str]:
        return change.job, change.previous_state or "-", change.state

    if isinstance(watch, AsyncJobWatch):
        return [told(await anext(watch)) for _ in range(count)]
    return [told(next(watch)) for _ in range(count)]


async def first_cursor(watch: Any) -> str:
    """Waits for the first message of either client's watch."""
    if isinstance(watch, AsyncJobWatch):
        return (await anext(watch.messages())).cursor
    message: str = next(watch.messages()).cursor
    return message


async def test_changes_come_as_they_are_reported_from_now_on(api: Any) -> None:
    await done(api.jobs.report("a", "running", run_id="1"))
    watch = api.jobs.watch()
    await first_cursor(watch)
    await done(api.jobs.report("b", "running", run_id="1"))
    await done(api.jobs.report("a", "finished", run_id="1"))
    assert await some(watch, 2) == [("jobs/b", "-", "running"), ("jobs/a", "running", "finished")]
    await done(watch.close())


async def test_the_present_state_comes_first_where_it_is_asked_for(api: Any) -> None:
    for job in ("a", "b"):
        await done(api.jobs.report(job, "running"))
    watch = api.jobs.watch(["b"], include_current=True)
    assert await some(watch, 1) == [("jobs/b", "-", "running")]
    await done(api.jobs.report("a", "failed"))
    await done(api.jobs.report("b", "failed"))
    assert await some(watch, 1) == [("jobs/b", "running", "failed")]
    await done(watch.close())


async def test_a_later_watch_goes_on_at_the_cursor(api: Any) -> None:
    watch = api.jobs.watch()
    cursor = await first_cursor(watch)
    await done(watch.close())
    await done(api.jobs.report("a", "running"))
    later = api.jobs.watch(cursor=cursor)
    assert await some(later, 1) == [("jobs/a", "-", "running")]
    assert later.cursor != cursor
    await done(later.close())


async def test_a_wrong_question_is_an_error_at_once(api: Any) -> None:
    with pytest.raises(PageTokenMismatchError):
        await some(api.jobs.watch(cursor="nonsense"), 1)
    with pytest.raises(InvalidArgumentError):
        await some(api.jobs.watch(["no such name"]), 1)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_watch_outlives_the_server_and_loses_nothing(kind: str, tmp_path: Path, free_port: int) -> None:
    settings = {"listen": f"127.0.0.1:{free_port}", "database": f"sqlite:///{tmp_path}/store.db"}
    target = f"127.0.0.1:{free_port}"
    found: list[tuple[str, str]] = []
    began, ended = threading.Event(), threading.Event()

    def take(change: JobChange) -> bool:
        found.append((change.run_id, change.state))
        began.set()
        return len(found) == 6

    def watch_in_thread() -> None:
        with Client(target) as client, client.jobs.watch() as watch:
            next(watch.messages())
            began.set()
            for change in watch:
                if take(change):
                    break
        ended.set()

    async def watch_in_task() -> None:
        async with AsyncClient(target) as client, client.jobs.watch() as watch:
            await anext(watch.messages())
            began.set()
            async for change in watch:
                if take(change):
                    break
        ended.set()

    def scenario() -> None:
        for round_ in range(3):
            with testing.server(**settings) as server:
                if round_ == 0:
                    start.set()
                    assert began.wait(20)
                with server.client() as client:
                    for state in ("running", "finished"):
                        client.jobs.report("a", state, run_id=str(round_))
                if round_ == 2:
                    assert ended.wait(30)

    start = threading.Event()
    playing = asyncio.create_task(asyncio.to_thread(scenario))
    await asyncio.to_thread(start.wait, 20)
    if kind == "sync":
        await asyncio.to_thread(watch_in_thread)
    else:
        await watch_in_task()
    await playing
    assert found == [(str(n), state) for n in range(3) for state in (JobState.RUNNING, JobState.FINISHED)]
