"""pytest fixtures: `pytest_plugins = ["streamgauge.testing.fixtures"]` in a `conftest.py` makes them known.

def test_my_exporter(streamgauge_server, streamgauge_client):
my_exporter.run(target=streamgauge_server.target)
assert streamgauge_client.sources.latest("orders")["byteTotal"].value == 1
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamgauge import testing
from streamgauge.client import Client


@pytest.fixture
def streamgauge_server() -> Iterator[testing.RunningServer]:
    """A server with an empty store, of the test's own."""
    with testing.server() as server:
        yield server


@pytest.fixture
def streamgauge_client(streamgauge_server: testing.RunningServer) -> Client:
    """A client of the test's own server."""
    return streamgauge_server.client()
