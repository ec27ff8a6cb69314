"""What a server under the metric types API is told: jobs and files of the first days of 2015, a metric type of its own.

The figures are those of the examples in the description of the original API.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from streamgauge.v1 import job_service_pb2 as jobs
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge.v1 import source_service_pb2 as sources

from tests.gateway.serving import Gateway
from tests.rpc.figure_messages import ingest
from tests.rpc.messages import DAY, HOUR, MINUTE, SECOND, value
from tests.rpc.messages import stamp as timestamp
from tests.rpc.test_custom_metric_types import column
from tests.rpc.test_job_figures import ended, execution

FIRST = round(datetime(2015, 1, 1, tzinfo=UTC).timestamp()) * SECOND
"""Midnight of the 1st of January, a Thursday."""

SIZES = [
    *((0, 10, "north", size) for size in (200, 100, 100, 100, 101)),
    *((2, 5, source, size) for source, size in (("north", 220), ("south", 1_100))),
    *((3, 0, source, size) for source, size in (("north", 110), ("south", 550))),
    *((3, 1, source, size) for source, size in (("north", 10), ("south", 11))),
    *((4, 0, source, size) for source, size in (("north", 0), ("south", 7))),
    *((4, 1, source, size) for source, size in (("north", 7), ("south", 0))),
    *((5, 0, source, size) for source, size in (("north", 10), ("north", 10), ("north", 10), ("south", 50))),
    *((40, hour, "north", 1) for hour in (0, 23)),
]
"""Files: day, hour, source, bytes."""


@dataclass(frozen=True)
class History:
    """The server, and the numbers of its choices by name."""

    gateway: Gateway
    job_types: dict[str, int]
    sources: dict[str, int]
    halls: dict[str, int]


def tell_history(gateway: Gateway) -> History:
    """Tells a server everything."""
    job_types = {}
    for name in ("copy", "sort"):
        job_type = jobs.JobType(type_name=name, version="1.0", title=name.title())
        made = gateway.jobs.CreateJobType(jobs.CreateJobTypeRequest(job_type_id=name, job_type=job_type))
        job_types[name] = made.job_type.number
        gateway.jobs.CreateJob(jobs.CreateJobRequest(job_id=name, job=jobs.Job(job_type=f"jobTypes/{name}")))
    gateway.jobs.ReportJob(jobs.ReportJobRequest(reports=_runs()))
    files = [
        ingest(f"file-{place}", source=source, at=FIRST + day * DAY + hour * HOUR + place * SECOND, size=size)
        for place, (day, hour, source, size) in enumerate(SIZES)
    ]
    for source in ("north", "south"):  # one after the other, so that they are numbered in this order
        of_source = [file for file in files if file.source == f"sources/{source}"]
        gateway.sources.ReportIngests(sources.ReportIngestsRequest(ingests=of_source))
    of_ingests = gateway.metric_types.GetMetricType(pb.GetMetricTypeRequest(name="metricTypes/ingests"))
    numbers = {str(choice.fields["name"]): choice.number for choice in of_ingests.choices}
    return History(gateway, job_types, numbers, _power(gateway))


def _runs() -> list[jobs.JobReport]:
    ten_thirty = FIRST + 10 * HOUR + 30 * MINUTE
    runs = []
    for run, state, length in (("1", "FINISHED", 1_790), ("2", "FAILED", 0), ("3", "FINISHED", 1_788)):
        end = ten_thirty + (int(run) - 1) * HOUR
        executions = [execution(f"x{run}", end=end, start=end - length * SECOND)] if length else []
        error = "" if length else "node-lost"
        runs.append(ended(run, state, job="copy", end=end, start=end - HOUR, executions=executions, error=error))
    # Waits of 1.9 s and 1.8 s, runs of 3.1 s and 3.2 s.
    end = FIRST + DAY
    waited = [
        execution("w1", end=end, start=end - 3_100_000, queued=end - 5_000_000),
        execution("w2", end=end, start=end - 3_200_000, queued=end - 5_000_000),
    ]
    runs.append(ended("w", job="sort", end=end, start=end - 10 * SECOND, executions=waited))
    return runs


def _power(gateway: Gateway) -> dict[str, int]:
    told = pb.MetricType(
        title="Power",
        filters=[pb.MetricTypeFilter(param="site"), pb.MetricTypeFilter(param="phase", type="int")],
        groups=[pb.MetricTypeGroup(group="use", title="Use", description="What was used.")],
        columns=[column("kwh", "SUM", "use"), column("kwh_min", "MIN", "use"), column("price", "AVG")],
    )
    gateway.metric_types.CreateMetricType(pb.CreateMetricTypeRequest(metric_type_id="power", metric_type=told))
    numbers = {}
    for name, site in (("hall", "north"), ("yard", "south")):
        choice = pb.MetricTypeChoice(title=name.title())
        choice.fields.update({"site": site, "phase": 3})
        asked = pb.CreateMetricTypeChoiceRequest(parent="metricTypes/power", choice_id=name, choice=choice)
        numbers[name] = gateway.metric_types.CreateMetricTypeChoice(asked).choice.number
    values = [
        pb.MetricTypeValues(choice=choice, time=timestamp(at), values={name: value(one) for name, one in of.items()})
        for choice, at, of in (
            ("hall", FIRST, {"kwh": 5, "kwh_min": 0, "price": 0.25}),
            ("yard", FIRST + MINUTE, {"kwh": 7, "kwh_min": 4, "price": 0.75}),
            ("hall", FIRST + DAY + HOUR, {"kwh": 2, "kwh_min": -2, "price": 3.0}),
        )
    ]
    gateway.metric_types.WriteMetricTypeValues(pb.WriteMetricTypeValuesRequest(name="metricTypes/power", values=values))
    return numbers
