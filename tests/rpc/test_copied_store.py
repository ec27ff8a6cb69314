"""A store with everything in it, copied from SQLite to PostgreSQL and back: equal tables, equal answers."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.message import Message
from grpc import StatusCode
from streamgauge.v1 import (
    asset_metric_service_pb2,
    common_pb2,
    job_service_pb2,
    metric_type_service_pb2,
    metrics_service_pb2,
    source_service_pb2,
    token_service_pb2,
)
from streamgauge_server.storage.copying import copy_store

from tests.conformance.test_copy import Silent, tables_of
from tests.conftest import Postgres
from tests.rpc.asset_messages import URN, emit, question
from tests.rpc.figure_messages import asked, ingest
from tests.rpc.figure_messages import report as report_ingests
from tests.rpc.job_messages import report, tell
from tests.rpc.messages import DAY, HOUR, MINUTE, NOW, TODAY, ask, batch, column, frame, query, row, write
from tests.rpc.serving import Start, Stubs, refused
from tests.rpc.test_custom_metric_types import choose, create, put, values
from tests.rpc.test_job_figures import ended, execution

EMPTY = {"collector_leases", "job_stops", "compactions"}
"""Tables that only collectors, stops of real jobs, and time fill."""


async def fill(stubs: Stubs) -> None:
    """Writes something to every part of the contract."""
    source = source_service_pb2.Source(display_name="Größe", labels={"env": "prod", "a": 'x"y'})
    await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id="a", source=source))
    times = [TODAY - DAY + n * 10 * MINUTE for n in range(144)]
    day = frame(times, column("byteTotal", [7 * n for n in range(144)]), column("lag", [n / 3 for n in range(144)]))
    await stubs.metrics.ImportMetrics(iter([batch(day)]))
    await stubs.metrics.WriteMetrics(
        write(row({"byteTotal": 2**62, "lag": -0.0, "connector_status": "ü"}, part="task=0"), request_id="r-1")
    )
    descriptor = common_pb2.MetricDescriptor(name="metricDescriptors/sources/lag", min_value=-1, unit="s")
    update = metrics_service_pb2.UpdateMetricDescriptorRequest(metric_descriptor=descriptor)
    update.update_mask.paths.extend(["min_value", "unit"])
    await stubs.metrics.UpdateMetricDescriptor(update)
    await emit(stubs, {"rows": 5, "state": "late"}, run="run-1")
    await emit(stubs, {"rows": True, "size": 2.5}, at=NOW + 1)
    job_type = job_service_pb2.CreateJobTypeRequest(
        job_type_id="copy", job_type=job_service_pb2.JobType(type_name="copy", version="1", is_paused=True)
    )
    await stubs.jobs.CreateJobType(job_type)
    job = job_service_pb2.CreateJobRequest(
        job_id="a", job=job_service_pb2.Job(job_type="jobTypes/copy", labels={"team": "x"})
    )
    await stubs.jobs.CreateJob(job)
    error = job_service_pb2.CatalogError(error="disk", category=job_service_pb2.ERROR_CATEGORY_SYSTEM)
    await stubs.jobs.CreateError(job_service_pb2.CreateErrorRequest(error=error))
    await tell(
        stubs,
        ended("1", executions=[execution("x", start=NOW - 5 * MINUTE, tasks=[("MAIN", 8_000_000)])]),
        ended("2", "FAILED", exceptions=["java.lang.Error: x\n\tat y"], end=NOW - HOUR),
        report("jobs/b", metrics={"numRecordsIn": 5}, run_id="9"),
    )
    await report_ingests(stubs, ingest("f1", source="a", size=10), ingest("f2", "DEFERRED", source="a", at=NOW - DAY))
    await create(stubs)
    await choose(stubs, "hall", site="north", phase=1, cold=True)
    await put(stubs, values("hall", kwh=5, price=1.5))
    for scopes in (["admin"], ["read:source_metrics"]):
        token = token_service_pb2.CreateTokenRequest(token=token_service_pb2.Token(scopes=scopes, display_name="x"))
        await stubs.tokens.CreateToken(token)


async def answers(stubs: Stubs) -> list[Message]:
    """Returns what a server says of everything that was written."""
    start, end = TODAY - DAY, NOW + HOUR
    return [
        await stubs.sources.ListSources(source_service_pb2.ListSourcesRequest()),
        await stubs.sources.GetSourceMetrics(ask(every=(1, "HOUR"), start=start, end=end)),
        await stubs.sources.GetSourceMetrics(ask("LATEST")),
        await stubs.metrics.QueryMetrics(query(window=(1, "DAY"), by_part=True, start=start, end=end)),
        await stubs.metrics.ListMetricDescriptors(metrics_service_pb2.ListMetricDescriptorsRequest()),
        await stubs.assets.ListAssets(asset_metric_service_pb2.ListAssetsRequest()),
        await stubs.assets.ListAssetMetrics(question(URN)),
        await stubs.jobs.ListJobs(job_service_pb2.ListJobsRequest()),
        await stubs.jobs.ListJobRuns(job_service_pb2.ListJobRunsRequest(job="jobs/a")),
        await stubs.jobs.ListJobExceptions(job_service_pb2.ListJobExceptionsRequest(job="jobs/a")),
        await stubs.jobs.GetJobStatusAndMetrics(job_service_pb2.GetJobStatusAndMetricsRequest(job="jobs/b")),
        await stubs.jobs.ListErrors(job_service_pb2.ListErrorsRequest()),
        await stubs.metric_types.ListMetricTypes(metric_type_service_pb2.ListMetricTypesRequest()),
        await stubs.metric_types.GetMetricType(metric_type_service_pb2.GetMetricTypeRequest(name="metricTypes/power")),
        *[
            await stubs.metric_types.GetPlotData(asked(name, every="DAY", start=start, end=end))
            for name in ("job-types", "errors", "ingests", "power")
        ],
        await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest()),
    ]


async def test_a_store_with_everything_is_copied_to_the_other_engine_and_back(
    start: Start, sqlite_url: str, pg_cluster: Postgres, tmp_path: Path
) -> None:
    there = await start(database=sqlite_url, auth="off")
    await fill(there)
    said = await answers(there)
    assert there.app is not None
    watching = there.metrics.WatchMetrics(metrics_service_pb2.WatchMetricsRequest(subjects=["sources/a"]))
    cursor = await anext(message.cursor async for message in watching)
    watching.cancel()
    await there.app.stop(0)
    rows = await tables_of(sqlite_url)
    assert {name for name, held in rows.items() if not held} == EMPTY

    postgresql, back = pg_cluster.create_database(migrated=False), f"sqlite:///{tmp_path / 'back.db'}"
    await copy_store(sqlite_url, postgresql, Silent())
    assert await tables_of(postgresql) == rows
    await copy_store(postgresql, back, Silent())
    assert await tables_of(back) == rows

    for url in (postgresql, back):
        copy = await start(database=url, auth="off")
        for one, other in zip(said, await answers(copy), strict=True):
            assert one == other
        # What was acknowledged under a request id is known, and a cursor of the other store is not taken for one's own.
        known = write(row({"byteTotal": 2**62, "lag": -0.0, "connector_status": "ü"}, part="task=0"), request_id="r-1")
        assert (await copy.metrics.WriteMetrics(known)).accepted_count == 1
        watched = metrics_service_pb2.WatchMetricsRequest(subjects=["sources/new"], cursor=cursor)
        with refused(StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED") as refusal:
            await copy.metrics.WatchMetrics(watched).read()
        await copy.metrics.WriteMetrics(write(row({"byteTotal": 1}, subject="sources/new")))
        watched.cursor = refusal.metadata["oldest_cursor"]
        watching = copy.metrics.WatchMetrics(watched)
        told = await anext(frame async for message in watching for frame in message.frames)
        assert told.columns[0].metric == "byteTotal"
        watching.cancel()
        assert copy.app is not None
        await copy.app.stop(0)
    pg_cluster.drop_database(postgresql)
