"""The figures of a job, from recorded answers and from made-up ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from streamgauge_server.flink import catalog
from streamgauge_server.flink.figures import Readings, compute, questions
from streamgauge_server.flink.job_details import JobDetails
from streamgauge_server.flink.metric_values import Aggregate, parse_aggregates, parse_names, parse_values
from streamgauge_server.flink.operators import sink_counts, source_counts
from streamgauge_server.model import job_catalog
from streamgauge_server.model.values import MetricKind

from tests.flink.recordings import recording

SOURCE, FLAT_MAP, SINK = (
    "bc764cd8ddf7a0cff126f51c16239658",
    "0a448493b4782967b150582570326227",
    "ea632d67b7d595e5b851708ae9ad79d6",
)
CHAINED = "cbc357ccb763df2852fee8c4fc7d55f2"
NAMES = {
    SOURCE: parse_names(recording("vertex_source_subtasks_metrics_names").answer),
    FLAT_MAP: parse_names(recording("vertex_flatmap_subtasks_metrics_names").answer),
    SINK: parse_names(recording("vertex_sink_subtasks_metrics_names").answer),
}
LONG_MIN, LONG_MAX = -float(2**63), float(2**63)


def details(name: str, version: str = "v2_3") -> JobDetails:
    return JobDetails.parse(recording(name, version).answer)


def chained_readings() -> Readings:
    names = parse_names(recording("vertex_chained_subtasks_metrics_names").answer)
    return Readings(names, parse_aggregates(recording("vertex_chained_agg_sum").answer))


def pipeline(*vertices: tuple[str, tuple[str, ...], dict[str, int]]) -> JobDetails:
    """Details of a running job of vertices: id, inputs, counts; complete."""
    return JobDetails.parse(
        {
            "jid": "0" * 32,
            "state": "RUNNING",
            "now": 10_000,
            "vertices": [
                {
                    "id": id,
                    "name": id,
                    "parallelism": 2,
                    "metrics": {
                        f"{key}{complete}": True if complete else counts.get(key, 0)
                        for key in ("read-records", "write-records", "read-bytes", "write-bytes")
                        for complete in ("", "-complete")
                    },
                }
                for id, _, counts in vertices
            ],
            "plan": {"nodes": [{"id": id, "inputs": [{"id": i} for i in inputs]} for id, inputs, _ in vertices]},
        }
    )


def test_records_are_counted_at_sources_and_sinks_over_all_subtasks() -> None:
    figures = compute(details("job_long_warm"), {}, {})
    assert (figures["numRecordsRead"], figures["numRecordsProcessed"]) == (2095, 1046)
    assert (figures["tasksRunning"], figures["tasksTotal"]) == (6, 6)
    assert (figures["busyTime"], figures["backPressuredTime"]) == (1196 + 858 + 758, 0)


def test_flink_1_20_is_counted_alike() -> None:
    figures = compute(details("job_long_warm", "v1_20"), {}, {})
    assert figures["numRecordsRead"] > figures["numRecordsProcessed"] > 0


def test_an_ended_job_has_its_final_figures() -> None:
    figures = compute(details("job_finite"), {}, {})
    assert (figures["numRecordsRead"], figures["numRecordsProcessed"], figures["tasksRunning"]) == (300, 150, 0)


@pytest.mark.parametrize("name", ["job_long", "job_noslots"])
def test_counts_that_are_not_complete_are_absent(name: str) -> None:
    figures = compute(details(name), {}, {})
    assert figures.keys() == {"tasksRunning", "tasksTotal"}


def test_several_sources_and_sinks_are_summed() -> None:
    job = pipeline(
        ("a", (), {"write-records": 10}),
        ("b", (), {"write-records": 5, "read-records": 1_000}),
        ("join", ("a", "b"), {"read-records": 15, "write-records": 7}),
        ("x", ("join",), {"read-records": 7}),
        ("y", ("join",), {"read-records": 3, "write-records": 1_000}),
    )
    figures = compute(job, {}, {})
    assert (figures["numRecordsRead"], figures["numRecordsProcessed"]) == (15, 10)


def test_without_a_plan_nobody_knows_sources_and_sinks() -> None:
    job = details("job_long_warm")
    without = replace(job, vertices=tuple(replace(vertex, inputs=None) for vertex in job.vertices))
    assert compute(without, {}, {}).keys().isdisjoint({"numRecordsRead", "numRecordsProcessed"})


def test_a_chained_job_is_counted_at_its_operators() -> None:
    figures = compute(details("job_chained"), {}, {CHAINED: chained_readings()})
    assert (figures["numRecordsRead"], figures["numRecordsProcessed"]) == (106, 54)


def test_a_chained_job_without_readings_has_no_counts_instead_of_its_zeros() -> None:
    assert compute(details("job_chained"), {}, {}).keys().isdisjoint({"numRecordsRead", "numRecordsProcessed"})


def test_a_chained_vertex_that_has_not_reported_fully_is_not_counted() -> None:
    job = details("job_chained")
    (vertex,) = job.vertices
    partial = replace(job, vertices=(replace(vertex, metrics=replace(vertex.metrics, write_records=None)),))
    assert "numRecordsRead" not in compute(partial, {}, {CHAINED: chained_readings()})


def test_questions_name_nothing_that_is_not_listed() -> None:
    asked = questions(details("job_long_warm"), NAMES)
    for vertex, told in asked.items():
        assert set(told.aggregates) <= NAMES[vertex]
    assert asked[FLAT_MAP].values == ("0.Flat_Map.currentEventTs", "1.Flat_Map.currentEventTs")
    assert set(asked[SINK].aggregates) >= {"currentInputWatermark", "Sink__Writer.numRecordsSendErrors"}
    assert "currentInputWatermark" not in asked[FLAT_MAP].aggregates
    assert questions(details("job_long_warm"), {}) == {}


def test_a_chained_vertex_is_asked_for_what_its_ends_count() -> None:
    asked = questions(details("job_chained"), {CHAINED: chained_readings().names})[CHAINED]
    assert set(asked.aggregates) >= {
        "Source__Source.numRecordsOut",
        "Sink__Writer.numRecordsIn",
        "Sink__Writer.currentInputWatermark",
    }
    assert "Flat_Map.numRecordsIn" not in asked.aggregates


def test_the_event_time_is_the_newest_of_all_subtasks_and_exact() -> None:
    values = parse_values(recording("vertex_flatmap_metrics_get_currentEventTs").answer)
    figures = compute(details("job_long_warm"), {}, {FLAT_MAP: Readings(NAMES[FLAT_MAP], {}, values)})
    assert figures["currentEventTs"] == 1538573876000


@pytest.mark.parametrize("value", ["0", "-1", str(-(2**63)), "NaN", ""])
def test_an_event_time_that_is_none_is_absent(value: str) -> None:
    readings = {FLAT_MAP: Readings(frozenset(), {}, {"0.Flat_Map.currentEventTs": value})}
    assert "currentEventTs" not in compute(details("job_long_warm"), {}, readings)


def watermark(low: float) -> Readings:
    return Readings(NAMES[SINK], {"currentInputWatermark": Aggregate(low, low + 5, None)})


def test_the_watermark_lag_is_that_of_the_slowest_subtask_of_the_slowest_sink() -> None:
    job = pipeline(("s", (), {}), ("x", ("s",), {}), ("y", ("s",), {}))
    figures = compute(job, {}, {"x": watermark(9_000.0), "y": watermark(7_500.0)})
    assert figures["watermarkLag"] == 2_500


@pytest.mark.parametrize("low", [LONG_MIN, LONG_MAX])
def test_no_watermark_yet_and_the_end_of_the_stream_are_no_lag(low: float) -> None:
    job = pipeline(("s", (), {}), ("x", ("s",), {}), ("y", ("s",), {}))
    assert "watermarkLag" not in compute(job, {}, {"x": watermark(9_000.0), "y": watermark(low)})


def test_metrics_of_the_job_are_those_of_the_allow_list() -> None:
    told = parse_values(recording("job_long_metrics_all").answer)
    figures = compute(details("job_long_warm"), told, {})
    assert (figures["numRestarts"], figures["numberOfCompletedCheckpoints"]) == (0, 28)
    assert (figures["lastCheckpointDuration"], figures["lastCheckpointSize"]) == (41, 530)
    assert figures.keys() <= {metric.metric for metric in catalog.JOB_METRICS}


@pytest.mark.parametrize("value", ["-1", "NaN", "<checkpoint-not-externally-addressable>"])
def test_metrics_of_the_job_that_say_nothing_are_absent(value: str) -> None:
    assert "lastCheckpointDuration" not in compute(details("job_long_warm"), {"lastCheckpointDuration": value}, {})


def test_back_pressure_is_that_of_the_worst_subtask_of_the_worst_vertex() -> None:
    def pressed(high: float | None) -> Readings:
        return Readings(frozenset(), {"backPressuredTimeMsPerSecond": Aggregate(0.0, high, 1.0)})

    figures = compute(
        details("job_long_warm"), {}, {SOURCE: pressed(850.4), FLAT_MAP: pressed(120.0), SINK: pressed(None)}
    )
    assert figures["backPressuredTimeMsPerSecond"] == 850


def test_what_operators_report_is_summed_over_operators_and_vertices() -> None:
    def pending(**sums: float) -> Readings:
        aggregates = {f"{name}.pendingRecords": Aggregate(None, None, value) for name, value in sums.items()}
        return Readings(frozenset(), aggregates)

    job = pipeline(("a", (), {}), ("b", (), {}), ("x", ("a", "b"), {}))
    figures = compute(job, {}, {"a": pending(Source__one=3.0, Source__two=4.0), "b": pending(Source__three=5.0)})
    assert figures["pendingRecords"] == 12


NEW_SOURCE = {"S.numRecordsOut", "S.numRecordsInErrors", "S.numRecordsIn"}
WRITER = {"W.numRecordsIn", "W.numRecordsSend", "W.numRecordsOut"}
OLD = {f"{name}.numRecords{way}" for name in ("Source__Old", "Map", "Sink__Old") for way in ("In", "Out")}


@pytest.mark.parametrize(
    ("vertex", "names", "sources", "sinks"),
    [
        ("whatever", NEW_SOURCE | WRITER, ["S.numRecordsOut"], ["W.numRecordsIn"]),
        ("Source: Old -> Map -> Sink: Old", OLD, ["Source__Old.numRecordsOut"], ["Sink__Old.numRecordsIn"]),
        ("Source: Old -> Map -> W", OLD | WRITER, ["Source__Old.numRecordsOut"], ["W.numRecordsIn"]),
        ("Source: Old -> (Map, Sink: Old)", OLD, ["Source__Old.numRecordsOut"], []),
        ("Other", OLD, [], []),
        ("Source: Old", {"Source__Old.group.numRecordsOut", "numRecordsOut"}, [], []),
        (f"{'n' * 90} -> Map", {f"{'n' * 80}.numRecordsOut"}, [f"{'n' * 80}.numRecordsOut"], []),
        (f"Map -> {'n' * 90}", {f"{'n' * 80}.numRecordsIn"}, [], [f"{'n' * 80}.numRecordsIn"]),
        ("", set(), [], []),
    ],
)
def test_operators_at_the_ends_of_a_chain(vertex: str, names: Any, sources: list[str], sinks: list[str]) -> None:
    assert source_counts(vertex, names) == tuple(sources)
    assert sink_counts(vertex, names) == tuple(sinks)


def test_every_built_in_metric_of_a_job_comes_from_somewhere() -> None:
    assert [metric.metric for metric in catalog.JOB_METRICS] == [metric.metric for metric in job_catalog.JOB_METRICS]


def test_the_built_in_metrics_of_a_job_are_described_once() -> None:
    names = [metric.metric for metric in job_catalog.JOB_METRICS]
    assert len(set(names)) == len(names) == 25
    assert all(metric.unit and metric.description.endswith(".") for metric in job_catalog.JOB_METRICS)
    of_run = [metric.kind for metric in job_catalog.JOB_METRICS if metric.metric in job_catalog.OF_RUN]
    assert of_run == [MetricKind.COUNTER] * 3
