"""The grpcurl calls of the page on the API, made one after the other as they are printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, json_format, message_factory
from streamgauge_server.model.clock import FixedClock

from tests.rpc.messages import DAY
from tests.rpc.serving import Stubs

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
CALLS = [shlex.split(line) for line in re.findall(r"^grpcurl .*$", PAGE, re.MULTILINE)]


async def call(stubs: Stubs, words: list[str]) -> dict[str, Any]:
    """Makes the call of a grpcurl line and returns the answer as grpcurl prints it."""
    program, plaintext, option, body, target, method = words
    assert (program, plaintext, option, target) == ("grpcurl", "-plaintext", "-d", "127.0.0.1:50051")
    found = descriptor_pool.Default().FindMethodByName(method.replace("/", "."))
    request, answer = (message_factory.GetMessageClass(kind) for kind in (found.input_type, found.output_type))
    unary = stubs.channel.unary_unary(f"/{method}", type(request()).SerializeToString, answer.FromString)
    return json_format.MessageToDict(await unary(json_format.Parse(body, request())))


async def test_the_calls_work_in_the_order_of_the_page(stubs: Stubs, clock: FixedClock) -> None:
    clock.micros += 100 * DAY
    # The page asks about a job before it shows how this one came to be known; to tell it twice changes nothing.
    await call(stubs, next(words for words in CALLS if "nightly-load" in words[3] and words[-1].endswith("/ReportJob")))
    answers = {words[-1].rpartition("/")[2] + str(n): await call(stubs, words) for n, words in enumerate(CALLS)}
    assert list(answers) == [
        "ExportMetrics0",
        "EmitAssetMetrics1",
        "UpdateMetricDescriptor2",
        "ListAssetMetrics3",
        "GetLatestAssetMetrics4",
        "ListAssets5",
        "QueryMetrics6",
        "DeleteAssetMetrics7",
        "DeleteAssetMetrics8",
        "UpdateMetricDescriptor9",
        "ApplyRetention10",
        "GetJobStatus11",
        "ListJobs12",
        "ReportJob13",
        "CreateJobType14",
        "ReportJob15",
        "ReportIngests16",
        "GetPlotData17",
        "CreateMetricType18",
        "CreateMetricTypeChoice19",
        "WriteMetricTypeValues20",
        "GetPlotData21",
    ]
    emitted = [(m["name"], m["value"], m.get("guessed")) for m in answers["EmitAssetMetrics1"]["metrics"]]
    assert emitted == [
        ("rows", {"int64Value": "1204"}, True),
        ("nullFraction", {"doubleValue": 0.25}, True),
        ("badge", {"stringValue": "007"}, True),
    ]
    (moment,) = answers["ListAssetMetrics3"]["moments"]
    assert [metric["name"] for metric in moment["metrics"]] == ["rows", "nullFraction", "badge"]
    (latest,) = answers["GetLatestAssetMetrics4"]["assets"]
    assert [metric["name"] for metric in latest["metrics"]] == ["rows"]
    assert answers["ListAssets5"]["totalSize"] == "1"
    (series,) = answers["QueryMetrics6"]["series"]
    (column,) = series["columns"]
    assert column["ofValue"] == {"stringValue": "007"}
    assert column["doubles"] == {"values": [18 * 3_600.0]}
    assert answers["DeleteAssetMetrics7"]["deletedValueCount"] == "3"
    assert answers["DeleteAssetMetrics8"]["deletedValuesByMetric"] == {"badge": "1"}
    assert answers["UpdateMetricDescriptor9"]["metricDescriptor"]["sampleRetention"] == "2592000s"
    assert answers["ApplyRetention10"] == {}
    assert answers["ReportIngests16"] == {"createdCount": "1"}
    plot = {series["column"]["column"]: series.get("values", []) for series in answers["GetPlotData17"]["series"]}
    assert list(plot)[:4] == ["run_time_avg", "failed_rate", "run_time_p95", "completed_count"]
    (average,), (rate,) = plot["run_time_avg"], plot["failed_rate"]
    assert average == {"time": "2026-03-02T00:00:00Z", "value": {"int64Value": "192"}}
    assert rate["value"] == {"doubleValue": 1.0}
    kwh, load = answers["GetPlotData21"]["series"]
    assert (kwh["total"], load["total"]) == ({"int64Value": "12"}, {"doubleValue": 1.5})
