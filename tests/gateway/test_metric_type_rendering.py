"""Answers of the metric types API out of messages, as golden files have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge_server.gateway.legacy import metric_type_rendering as rendering
from streamgauge_server.gateway.legacy.rest_framework import answer

from tests.gateway.golden_files import check_golden, golden_cases
from tests.rpc.messages import value

TEN = 1_420_106_400
"""2015-01-01T10:00:00Z."""


def column(name: str, aggregate: str, **fields: Any) -> pb.MetricTypeColumn:
    return pb.MetricTypeColumn(
        column=name, aggregate=pb.ColumnAggregate.Value(f"COLUMN_AGGREGATE_{aggregate}"), **fields
    )


RUN_TIME = column(
    "run_time_max", "MAX", title="Run Time (Max)", description="The largest.", units="seconds", group="run_time"
)
BUILT_IN = pb.MetricType(
    name="metricTypes/job-types",
    title="Job Types",
    description="Figures about jobs.",
    filters=[pb.MetricTypeFilter(param="version", type="string"), pb.MetricTypeFilter(param="name", type="string")],
    groups=[pb.MetricTypeGroup(group="run_time", title="Run Time", description="Whole executions.")],
    columns=[
        RUN_TIME,
        column("total_count", "SUM", title="Total Count", units="count", group="run_time"),
        column("run_time_p95", "P95", title="P95", units="seconds", group="run_time", derived=True),
    ],
    built_in=True,
    etag="x",
)
CUSTOM = pb.MetricType(
    name="metricTypes/power.v1~x",
    title="Strom \u2028 „Küche\u201d",
    filters=[pb.MetricTypeFilter(param="phase", type="int")],
    groups=[pb.MetricTypeGroup(group="use")],
    columns=[column("kwh", "SUM"), column("price", "AVG", units="€")],
)


def choice(metric_type: str, id: str, number: int, title: str, /, **fields: Any) -> pb.MetricTypeChoice:
    message = pb.MetricTypeChoice(name=f"metricTypes/{metric_type}/choices/{id}", number=number, title=title)
    message.fields.update(fields)
    return message


def plot_value(seconds: int, number: int | float, choice: int = 0, nanos: int = 0) -> pb.PlotValue:
    return pb.PlotValue(time=Timestamp(seconds=seconds, nanos=nanos), value=value(number), choice=choice)


def series(*values: pb.PlotValue, of: pb.MetricTypeColumn = RUN_TIME) -> pb.PlotSeries:
    message = pb.PlotSeries(column=of, values=values)
    if values:
        message.min_x.CopyFrom(values[0].time)
        message.max_x.CopyFrom(values[-1].time)
        message.min_y.CopyFrom(values[0].value)
        message.max_y.CopyFrom(values[-1].value)
        message.total.CopyFrom(values[-1].value)
    return message


def job_type_choices() -> list[pb.MetricTypeChoice]:
    told = choice(
        *("job-types", "copy-1", 2**53 + 1, "Copy"),
        unmet_resources="gpu",
        icon_code="f0f6",
        name="copy",
        version="1.0",
        title="Copy",
        description="Copies.",
        category="files",
        author_name="A",
        author_url="https://example.com",
        is_active=True,
        is_system=True,
        is_paused=True,
        is_published=True,
        is_long_running=True,
        is_operational=True,
        later_field="is not shown",
    )
    return [choice("job-types", "bare", 1, "bare", name="bare", title=""), told]


def custom_choices() -> list[pb.MetricTypeChoice]:
    fields = {"whole": 3.0, "zeta": 1.5, "big": 2.0**60, "flag": True, "none": None, "id": 9, "text": "9"}
    return [
        choice("power.v1~x", "hall", 4, "", **fields),
        choice("power.v1~x", "shed", 5, "Shed", name="Own name", title="Own title"),
    ]


CASES: Mapping[str, Callable[[], Any]] = {
    "listed-built-in": lambda: rendering.metric_type(BUILT_IN),
    "listed-custom": lambda: rendering.metric_type(CUSTOM),
    "details-job-types": lambda: rendering.details(BUILT_IN, job_type_choices()),
    "details-ingests": lambda: rendering.details(
        pb.MetricType(name="metricTypes/ingests", built_in=True),
        [choice("ingests", "landing", 2, "Landing", name="landing", title="Landing", connector_class="x.Y")],
    ),
    "details-errors": lambda: rendering.details(
        pb.MetricType(name="metricTypes/errors", built_in=True),
        [
            choice(
                *("errors", "timeout", 3, "Timeout"),
                name="timeout",
                title="Timeout",
                description="Took too long.",
                job_type_name=None,
                category="ALGORITHM",
                is_builtin=True,
                should_be_retried=False,
            )
        ],
    ),
    "details-custom": lambda: rendering.details(CUSTOM, custom_choices()),
    "details-without-choices": lambda: rendering.details(CUSTOM, []),
    "plot-together": lambda: rendering.plot(
        [series(plot_value(TEN, -3), plot_value(TEN + 3_600, 0), plot_value(TEN + 7_200, 2**63 - 1))], apart=False
    ),
    "plot-apart": lambda: rendering.plot([series(plot_value(TEN, 1, 2), plot_value(TEN, 4, 7))], apart=True),
    "plot-without-values": lambda: rendering.plot([series(), series(of=CUSTOM.columns[0])], apart=False),
    "plot-of-doubles": lambda: rendering.plot(
        [
            series(
                *(plot_value(TEN + hour * 3_600, one) for hour, one in enumerate((0.1, 5.0, 1e300, float("inf")))),
                of=CUSTOM.columns[1],
            )
        ],
        apart=False,
    ),
    "plot-moments": lambda: rendering.plot(
        [series(plot_value(-1, 1), plot_value(0, 2), plot_value(TEN, 3, nanos=123_456_000))], apart=False
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_messages_become_what_the_golden_file_has(case: str) -> None:
    check_golden("metric-types", case, bytes(answer(CASES[case]()).body))


def test_every_golden_file_is_of_a_case() -> None:
    assert golden_cases("metric-types") == set(CASES)


def test_json_is_compact_utf8_that_ends_no_line_of_javascript() -> None:
    body = bytes(answer(rendering.metric_type(CUSTOM)).body)
    assert body.startswith(b'{"name":"power.v1~x","title":"Strom \\u2028 \xe2\x80\x9eK\xc3\xbcche')
    assert b": " not in body.replace(b"Strom \\u2028 ", b"")
