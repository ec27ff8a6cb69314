"""Writers and clients at the end of a program and across forks: real processes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from datetime import UTC, datetime, timedelta

import pytest
from streamgauge import testing

PRELUDE = """
import asyncio, multiprocessing, os, sys, threading, time
from datetime import UTC, datetime, timedelta
from streamgauge import *
target = sys.argv[1]
T0 = datetime(2026, 11, 1, tzinfo=UTC)
def write(writer, source, count=1, first=0):
    for number in range(first, first + count):
        writer.write("sources/" + source, {"a": number}, T0 + timedelta(seconds=number))
def wait(pid):
    _, status = os.waitpid(pid, 0)
    if status:
        sys.exit(f"the child ended with {status}")
"""


def run(server: testing.RunningServer, program: str, *, expect: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PRELUDE + textwrap.dedent(program), server.target],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done


def counts(server: testing.RunningServer) -> dict[str, int]:
    client = server.client()
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=1)
    return {
        source.id: client.sources.timesummary(source.id, start=start, end=end, metrics=["a"])["a"].sample_count
        for source in client.sources.list()
    }


@pytest.fixture
def server(streamgauge_server: testing.RunningServer) -> testing.RunningServer:
    return streamgauge_server


def test_the_end_of_the_program_sends_what_is_left(server: testing.RunningServer) -> None:
    run(server, 'writer = MetricWriter(Client(target), max_batch_age=60); write(writer, "orders", 1200)')
    assert counts(server) == {"orders": 1200}


def test_an_uncaught_exception_does_not_lose_what_was_written(server: testing.RunningServer) -> None:
    done = run(
        server,
        """
        writer = MetricWriter(Client(target), max_batch_age=60)
        write(writer, "orders", 3)
        raise SystemError("boom")
        """,
        expect=1,
    )
    assert "boom" in done.stderr
    assert counts(server) == {"orders": 3}


def test_the_end_of_the_program_says_what_it_could_not_send(server: testing.RunningServer) -> None:
    done = run(
        server,
        """
        writer = MetricWriter(Client("127.0.0.1:1"), max_batch_age=60, close_timeout=0.3)
        write(writer, "orders", 3)
        """,
    )
    assert "3 observations were not stored (unsent)" in done.stderr


def test_an_asyncio_program_that_forgets_to_close_says_what_it_could_not_send(server: testing.RunningServer) -> None:
    for end in ("asyncio.run(main())", "loop = asyncio.new_event_loop(); loop.run_until_complete(main())"):
        done = run(
            server,
            f"""
            kept = []
            async def main():
                writer = AsyncMetricWriter(AsyncClient(target), max_batch_age=60)
                kept.append(writer)
                await writer.write("sources/orders", {{"a": 1}}, T0)
            {end}
            """,
        )
        assert "1 observations were not stored (unsent)" in done.stderr, end


def test_a_forked_child_begins_empty_and_the_parent_keeps_what_it_had(server: testing.RunningServer) -> None:
    run(
        server,
        """
        client = Client(target)
        client.sources.create("made")
        writer = MetricWriter(client, max_batch_age=60)
        write(writer, "parent", 5)
        pid = os.fork()
        if pid == 0:
            assert writer.stats == WriterStats(), writer.stats
            write(writer, "child", 7)
            writer.flush(20)
            assert writer.stats.accepted == 7, writer.stats
            client.sources.create("made-by-child")
            sys.exit(0)
        wait(pid)
        assert writer.stats.queued == 5, writer.stats
        client.sources.get("made-by-child")
        writer.close()
        assert writer.stats.accepted == 5, writer.stats
        """,
    )
    assert counts(server) == {"child": 7, "made": 0, "made-by-child": 0, "parent": 5}


def test_a_fork_amid_a_write_of_another_thread_neither_hangs_nor_doubles(server: testing.RunningServer) -> None:
    run(
        server,
        """
        writer = MetricWriter(Client(target), max_batch_items=7)
        thread = threading.Thread(target=write, args=(writer, "parent", 3000))
        thread.start()
        children = []
        for number in range(5):
            pid = os.fork()
            if pid == 0:
                write(writer, f"child{number}", 11)
                writer.close()
                os._exit(0 if writer.stats.accepted == 11 else 1)
            children.append(pid)
        for pid in children:
            wait(pid)
        thread.join()
        writer.close()
        assert writer.stats.accepted == 3000, writer.stats
        """,
    )
    assert counts(server) == {"parent": 3000, **{f"child{number}": 11 for number in range(5)}}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_of_multiprocessing_sends_what_is_left_at_its_end(
    server: testing.RunningServer, method: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # A spawned child imports the program's main module, so this one is a file.
    program = tmp_path_factory.mktemp("program") / "program.py"
    program.write_text(
        PRELUDE
        + textwrap.dedent(f"""
        def child(target):
            global writer
            writer = MetricWriter(Client(target), max_batch_age=60)
            write(writer, "orders", 4)
        if __name__ == "__main__":
            process = multiprocessing.get_context("{method}").Process(target=child, args=(target,))
            process.start()
            process.join(30)
            sys.exit(process.exitcode)
        """)
    )
    subprocess.run([sys.executable, str(program), server.target], check=True, timeout=60)
    assert counts(server) == {"orders": 4}


def test_a_writer_made_before_the_fork_is_flushed_at_the_end_of_the_process(server: testing.RunningServer) -> None:
    run(
        server,
        """
        writer = MetricWriter(Client(target), max_batch_age=60)
        write(writer, "parent", 2)
        def child():
            write(writer, "child", 3)
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(30)
        sys.exit(process.exitcode)
        """,
    )
    assert counts(server) == {"child": 3, "parent": 2}


def test_an_asyncio_client_that_was_closed_before_the_fork_can_be_made_anew_in_the_child(
    server: testing.RunningServer,
) -> None:
    run(
        server,
        """
        async def use(name):
            async with AsyncClient(target) as client, AsyncMetricWriter(client) as writer:
                await writer.write("sources/" + name, {"a": 1}, T0)
            assert writer.stats.accepted == 1
        asyncio.run(use("parent"))
        pid = os.fork()
        if pid == 0:
            asyncio.run(use("child"))
            os._exit(0)
        wait(pid)
        asyncio.run(use("after"))
        """,
    )
    assert counts(server) == {"after": 1, "child": 1, "parent": 1}


def test_a_child_forked_amid_asyncio_calls_is_told_and_can_use_the_sync_client(server: testing.RunningServer) -> None:
    run(
        server,
        """
        async def use():
            async with AsyncClient(target) as client:
                await client.server.info()
        def child():
            try:
                asyncio._set_running_loop(None)
                asyncio.run(use())
            except RuntimeError as error:
                assert "forked while an AsyncClient was open" in str(error), error
            else:
                raise AssertionError("no error")
            with MetricWriter(Client(target)) as writer:
                write(writer, "child")
            assert writer.stats.accepted == 1
        async def main():
            async with AsyncClient(target) as client, AsyncMetricWriter(client, max_batch_age=60) as writer:
                await client.server.info()
                await writer.write("sources/parent", {"a": 1}, T0)
                pid = os.fork()
                if pid == 0:
                    code = 1
                    try:
                        assert writer.stats == WriterStats(), writer.stats
                        child()
                        code = 0
                    finally:
                        os._exit(code)
                await asyncio.to_thread(wait, pid)
                await client.sources.create("after")
        asyncio.run(main())
        """,
    )
    assert counts(server) == {"after": 0, "child": 1, "parent": 1}


def test_forks_amid_the_calls_of_many_threads_leave_children_that_work(server: testing.RunningServer) -> None:
    run(
        server,
        """
        client = Client(target)
        threads = [threading.Thread(target=lambda: [client.server.info() for _ in range(150)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    assert client.server.info().version
                    code = 0
                finally:
                    os._exit(code)
            wait(pid)
        for thread in threads:
            thread.join()
        """,
    )


def test_a_fork_amid_a_watch_leaves_the_child_working_and_the_watch_loses_nothing(
    server: testing.RunningServer,
) -> None:
    run(
        server,
        """
        client = Client(target)
        seen, began, ended = [], threading.Event(), threading.Event()
        def watch():
            with client.jobs.watch() as changes:
                next(changes.messages())
                began.set()
                for change in changes:
                    seen.append(change.job)
                    if len(seen) == 30:
                        break
            ended.set()
        threading.Thread(target=watch, daemon=True).start()
        assert began.wait(20)
        for number in range(30):
            pid = os.fork()
            if not pid:
                client.jobs.report(f"jobs/j{number}", "running")
                os._exit(0)
            wait(pid)
        assert ended.wait(20)
        assert seen == [f"jobs/j{number}" for number in range(30)], seen
        """,
    )
