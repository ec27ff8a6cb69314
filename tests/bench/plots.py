"""(g) Plots of a month of runs against SQL over the runs, and reports of runs against plain rows. SQLite only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

from streamgauge.v1 import common_pb2
from streamgauge.v1 import job_service_pb2 as jobs_pb
from streamgauge.v1 import job_service_pb2_grpc as jobs_grpc
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge.v1 import metric_type_service_pb2_grpc as pb_grpc

from tests.bench import run_rows
from tests.bench.processes import Served, streamgauge_server
from tests.bench.report import Measurement, Pair, number
from tests.bench.session import SQLITE, Session
from tests.bench.workload import DAY, MICROS

PLOT, REPORT = "plot_30d_vs_sql_over_runs", "report_runs_vs_plain_insert"
TYPES = 1_000
DAYS = 30
CHOICES = 10
SQL_ROUNDS = 3
BATCH = 1_000
PROFILED = 200
"""Calls under the sampler."""


def plot_month(session: Session) -> list[Measurement]:
    """Measures all columns over 30 days by day, of all job types together and of ten, through the server."""
    if session.engine != SQLITE:
        return []
    found = []
    end_day = session.now // DAY + 1
    with session.store() as url:
        path = url.partition("///")[2]
        with streamgauge_server(url, session.directory / "plots-create.log") as served:
            _create_types(served)
        tenant = run_rows.load(path, session.scale.runs, session.now)
        run_rows.count(url, tenant, end_day - DAYS, end_day - 1)
        sql = run_rows.SqlPlots(path)
        with streamgauge_server(url, session.directory / "plots.log") as served, served.channel() as channel:
            stub = pb_grpc.MetricTypeServiceStub(channel)
            first = pb.GetMetricTypeRequest(name="metricTypes/job-types", page_size=CHOICES)
            choices = [choice.number for choice in stub.GetMetricType(first).choices]
            for name, chosen in ((PLOT, []), (f"{PLOT}_10_choices", choices)):
                found.append(_plots(session, name, served, stub, sql, chosen, end_day))
        sql.close()
    return found


def _plots(
    session: Session,
    name: str,
    served: Served,
    stub: pb_grpc.MetricTypeServiceStub,
    sql: run_rows.SqlPlots,
    choices: Sequence[int],
    end_day: int,
) -> Measurement:
    request = pb.GetPlotDataRequest(
        name="metricTypes/job-types",
        choices=choices,
        window=common_pb2.Window(count=1, unit=common_pb2.WINDOW_UNIT_DAY),
    )
    request.time_range.start_time.FromMicroseconds((end_day - DAYS) * DAY)
    request.time_range.end_time.FromMicroseconds(end_day * DAY)
    answer = stub.GetPlotData(request)
    told = _values(answer)
    expected = sql.plot(choices, end_day - DAYS, end_day)
    if told != expected or not told:
        differing = sorted(key for key in told.keys() | expected.keys() if told.get(key) != expected.get(key))
        raise AssertionError(f"{len(differing)} values differ, first {differing[:5]}")
    pairs, processor = [], []
    for _ in range(SQL_ROUNDS):
        session.noise.take()
        used = served.cpu()
        asked = _median(lambda: stub.GetPlotData(request, timeout=60), session.scale.latest_calls)
        processor.append((served.cpu() - used) / session.scale.latest_calls)
        selected = _median(lambda: sql.plot(choices, end_day - DAYS, end_day), 1)
        pairs.append(Pair(asked * 1e3, selected * 1e3))
    profile = session.profile(name, served, lambda: _median(lambda: stub.GetPlotData(request, timeout=60), PROFILED))
    note = (
        f"{len(answer.series)} columns, {len(told):,} values, {session.scale.runs:,} runs of {TYPES:,} job types in a "
        f"year, figures of these {DAYS} days kept; one caller; all values equal; "
        f"server processor time {number(median(processor) * 1e3)} ms a call"
    )
    return Measurement(session.name(name), "ms", "SQL over the runs in the same file", None, pairs, [note, *profile])


def _values(answer: pb.GetPlotDataResponse) -> run_rows.Plot:
    return {
        (series.column.column, value.time.ToMicroseconds() // DAY, value.choice): value.value.int64_value
        for series in answer.series
        for value in series.values
    }


def _create_types(served: Served) -> None:
    """Registers the job types, and a job of each. Listing the errors lets the built-in ones be."""
    with served.channel() as channel:
        stub = jobs_grpc.JobServiceStub(channel)
        stub.ListErrors(jobs_pb.ListErrorsRequest())
        for place in range(TYPES):
            id_ = f"type-{place:04}"
            job_type = jobs_pb.JobType(type_name=id_, version="1")
            stub.CreateJobType(jobs_pb.CreateJobTypeRequest(job_type_id=id_, job_type=job_type))
            job = jobs_pb.Job(job_type=f"jobTypes/{id_}")
            stub.CreateJob(jobs_pb.CreateJobRequest(job_id=f"job-{place:04}", job=job))


def _median(call: Callable[[], object], calls: int) -> float:
    """Returns the median time of a call in seconds."""
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def report_runs(session: Session) -> list[Measurement]:
    """Measures runs per second until they are durable, counted, and in the figures: a thousand in a request."""
    if session.engine != SQLITE:
        return []
    batches = session.scale.report_batches
    pairs: list[Pair] = []
    processor: list[float] = []
    with session.store() as rows_url, session.server() as served, served.channel() as channel:
        stub = jobs_grpc.JobServiceStub(channel)
        table = run_rows.SqliteRuns(rows_url.partition("///")[2])
        _create_types(served)

        def report(requests: Sequence[jobs_pb.ReportJobRequest]) -> float:
            begun = time.perf_counter()
            for request in requests:
                stub.ReportJob(request, timeout=60)
            return time.perf_counter() - begun

        report([_reports(session.now, 0)])
        for turn in range(session.scale.asset_rounds):
            requests = [_reports(session.now, 1 + turn * batches + batch) for batch in range(batches)]
            rows = [_rows(request) for request in requests]
            session.noise.take()
            used = served.cpu()
            reported = report(requests)
            processor.append((served.cpu() - used) / (BATCH * batches))
            begun = time.perf_counter()
            for batch in rows:
                table.insert(batch)
            inserted = time.perf_counter() - begun
            pairs.append(Pair(BATCH * batches / reported, BATCH * batches / inserted))
        table.close()
        more = [_reports(session.now, 1_000_000 + batch) for batch in range(batches)]
        profile = session.profile(REPORT, served, lambda: report(more))
    note = (
        f"runs that have ended, {BATCH:,} a request, of {TYPES:,} jobs of as many types, in the hours of a day; "
        f"one caller; server processor time {number(median(processor) * 1e6)} us a run"
    )
    return [Measurement(session.name(REPORT), "runs/s", "INSERT of a row per run", None, pairs, [note, *profile])]


def _reports(now: int, batch: int) -> jobs_pb.ReportJobRequest:
    """Returns a request with one run of every job, which ended within the last day."""
    request = jobs_pb.ReportJobRequest()
    for place in range(BATCH):
        end = now - (batch * 7_919 + place * 104_729) % 86_400 * MICROS
        report = request.reports.add(
            job=f"jobs/job-{place % TYPES:04}", run_id=f"run-{batch:08}", state=jobs_pb.JOB_STATE_FINISHED
        )
        report.queue_time.FromMicroseconds(end - (20 + place % 50) * MICROS)
        report.start_time.FromMicroseconds(end - (10 + place % 7) * MICROS)
        report.end_time.FromMicroseconds(end)
    return request


def _rows(request: jobs_pb.ReportJobRequest) -> list[run_rows.Row]:
    """Returns the same as rows."""
    return [
        (
            *(report.job, report.run_id, report.state, f"type-{report.job[-4:]}"),
            *(moment.ToMicroseconds() for moment in (report.queue_time, report.start_time, report.end_time)),
        )
        for report in request.reports
    ]
