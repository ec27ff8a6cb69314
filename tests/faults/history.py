"""Observations that show whether they were stored whole: the n-th one of a source holds n in each of its metrics."""

from __future__ import annotations

from streamgauge.v1 import common_pb2, metrics_service_pb2

from tests.rpc.messages import MINUTE, NOW, Scalar, columns_of, latest_of, query, row
from tests.rpc.serving import Stubs

ORIGIN = NOW - 5_000 * MINUTE
METRICS = 12
MOST = 3_000


def values(n: int) -> dict[str, Scalar]:
    return {"text": f"v{n}", "double": n + 0.5, **{f"int{i}": n for i in range(METRICS - 2)}}


def observation(source: str, n: int, part: str = "") -> common_pb2.Observation:
    return row(values(n), subject=source, part=part, at=ORIGIN + n * MINUTE)


async def stored(stubs: Stubs, *sources: str) -> dict[str, set[int]]:
    """Returns the numbers that each source holds, and fails where one is not whole or the latest values disagree.

    A source is written to as a whole or in one part, with numbers below `MOST`.
    """
    found: dict[str, set[int]] = {source: set() for source in sources}
    request = query(*sources, start=ORIGIN, end=ORIGIN + MOST * MINUTE, window=(1, "MINUTE"), aggregates=["LAST"])
    read: dict[str, dict[int, dict[str, Scalar]]] = {source: {} for source in sources}
    for (source, _, metric, _), column in columns_of(await stubs.metrics.QueryMetrics(request)).items():
        for n, value in enumerate(column):
            if value is not None:
                read[source].setdefault(n, {})[metric] = value
    newest = await stubs.metrics.GetLatestMetrics(metrics_service_pb2.GetLatestMetricsRequest(subjects=sources))
    latest = {entry.subject: latest_of(entry) for entry in newest.subjects}
    for source in sources:
        for n, of_moment in read[source].items():
            assert of_moment == values(n), f"number {n} of {source} is not whole"
        found[source] = set(read[source])
        assert latest.get(source, {}) == (values(max(found[source])) if found[source] else {})
    return found
