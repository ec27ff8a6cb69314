"""Tasks of a server that die are told of; those that are ended are not."""

from __future__ import annotations

import asyncio

from streamgauge_server.collectors.background import begin, end
from structlog.testing import capture_logs


async def test_a_task_that_dies_is_told_with_its_name_and_one_that_is_ended_is_not() -> None:
    async def dying() -> None:
        raise LookupError("gone")

    async def lasting() -> None:
        await asyncio.Event().wait()

    with capture_logs() as lines:
        dead, alive = begin(dying(), "dying"), begin(lasting(), "lasting")
        await asyncio.wait([dead])
        await end([dead, alive])
    assert [(line["task"], str(line["exc_info"])) for line in lines] == [("dying", "gone")]
    assert alive.cancelled()
