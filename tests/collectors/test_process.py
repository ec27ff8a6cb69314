"""`streamgauge-server collect flink` as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from streamgauge_server.model.clock import SystemClock
from streamgauge_server.storage.store import Store

from tests.flink.fake import FakeFlink
from tests.flink.fake_jobs import FakeJobs
from tests.rpc.processes import SECONDS, command, environment, run

SECRET = "s3cr3t-t0ken"


async def test_it_follows_a_cluster_and_gives_its_lease_up_at_the_end(tmp_path: Path, fake: FakeFlink) -> None:
    fake.respond = FakeJobs.many(2).respond
    (tmp_path / "token").write_text(SECRET)
    line = f"orders={fake.base_url} poll_seconds=0.2 token_file={tmp_path / 'token'}"
    process = await asyncio.create_subprocess_exec(
        *command("collect", "flink", "--cluster", line, "--metrics-port", "0", "--log-format", "json"),
        cwd=tmp_path,
        env=environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            await fake.received(20)
            process.send_signal(signal.SIGTERM)
            _, log = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, log
    assert b'"event": "collecting"' in log
    assert b'"event": "stopped"' in log
    assert SECRET.encode() not in log
    assert fake.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    store = await Store.open(f"sqlite:///{tmp_path}/streamgauge.db", clock=SystemClock())
    assert [job.id for job in await store.jobs.of_cluster("default", "orders")] == ["job-0", "job-1"]
    assert await store.collectors.acquire("default", "orders", "anybody", 1)
    await store.close()


def test_it_says_what_is_missing(tmp_path: Path) -> None:
    done = run("collect", "flink", cwd=tmp_path)
    assert (done.returncode, "--cluster NAME=URL" in done.stderr) == (2, True)
    done = run("collect", "flink", "--cluster", "a=http://x token_file=/no/such/file", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        3,
        "streamgauge-server: cluster a: cannot read /no/such/file: No such file or directory\n",
    )


def test_its_help_has_examples(tmp_path: Path) -> None:
    told = run("collect", "flink", "--help", cwd=tmp_path).stdout
    assert "streamgauge-server collect flink --cluster orders=http://jobmanager:8081\n" in told
    assert "registration=known" in told
