"""The real Flink of the session, and a client to it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest
from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.flink.errors import NotFound, Refused

from tests.flink.cluster import FlinkCluster
from tests.flink.package import FETCH_SECONDS, flink_home, program

FIRST_TEST_SECONDS = FETCH_SECONDS + 300
"""The first test that needs the cluster may have to fetch and to start it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("flink") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(FIRST_TEST_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the ends of Flink's logs with a test that fails."""
    report = yield
    cluster = getattr(item, "funcargs", {}).get("flink_cluster")
    if report.failed and isinstance(cluster, FlinkCluster):
        report.sections.append(("Flink's logs", cluster.logs()))
    return report


@pytest.fixture(scope="session")
def flink_session() -> Iterator[FlinkCluster]:
    """A cluster of its own for the session."""
    program("java")
    program("javac")
    home = flink_home()
    cluster = FlinkCluster(home, Path(tempfile.mkdtemp(prefix="sg-flink-")))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture
async def flink_cluster(flink_session: FlinkCluster) -> AsyncIterator[FlinkCluster]:
    """The session's cluster, running. Jobs that a test leaves behind are cancelled."""
    flink_session.revive()
    yield flink_session
    flink_session.revive()
    async with FlinkClient([flink_session.base_url]) as client:
        for job in await client.jobs():
            if not job.state.terminal:
                try:
                    await client.cancel(job.jid)
                except (NotFound, Refused):
                    continue  # it has ended meanwhile


@pytest.fixture
async def flink_client(flink_cluster: FlinkCluster) -> AsyncIterator[FlinkClient]:
    """A client of the cluster."""
    async with FlinkClient([flink_cluster.base_url]) as client:
        yield client
