"""Answers that lack fields, have others, or are not Flink's at all."""

from __future__ import annotations

from typing import Any

import pytest
from streamgauge_server.flink import fields
from streamgauge_server.flink.cluster import ClusterConfig, ClusterOverview, parse_jobs, parse_status
from streamgauge_server.flink.failures import FailureHistory
from streamgauge_server.flink.ids import flink_id
from streamgauge_server.flink.job_details import JobDetails
from streamgauge_server.flink.metric_values import parse_aggregates, parse_names, parse_values, whole
from streamgauge_server.flink.savepoints import SavepointStatus
from streamgauge_server.flink.states import FlinkState

JID = "576cc71be43678de4371fbd6ac3c0503"
PARSERS = (
    ClusterConfig.parse,
    ClusterOverview.parse,
    parse_jobs,
    parse_status,
    FailureHistory.parse,
    JobDetails.parse,
    parse_aggregates,
    parse_names,
    parse_values,
    SavepointStatus.parse,
)


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("answer", [None, True, 1, "jobs", {}, {"jobs": None}, {"error": "login"}])
def test_json_of_another_shape_is_malformed(parse: Any, answer: object) -> None:
    with pytest.raises(fields.MalformedAnswer):
        parse(answer)


@pytest.mark.parametrize("entry", [{}, "job", {"jid": "x", "state": "RUNNING"}, {"jid": JID}, {"state": "RUNNING"}])
def test_an_overview_with_a_job_that_cannot_be_read_is_malformed_rather_than_without_that_job(entry: object) -> None:
    with pytest.raises(fields.MalformedAnswer):
        parse_jobs({"jobs": [{"jid": JID, "state": "RUNNING"}, entry]})


def test_a_job_needs_no_more_than_id_and_state() -> None:
    (job,) = parse_jobs({"jobs": [{"jid": JID.upper(), "state": "RUNNING"}]})
    assert (job.jid, job.name, job.start_ms, job.duration_ms, job.tasks.total) == (JID, "", None, None, 0)
    details = JobDetails.parse({"jid": JID, "state": "RUNNING", "vertices": [{"id": "1"}]})
    assert details.vertices[0].inputs is None
    assert not details.complete


def test_a_state_that_nobody_knows_yet_keeps_its_text() -> None:
    (job,) = parse_jobs({"jobs": [{"jid": JID, "state": "HIBERNATING"}]})
    assert (job.state, job.state_text) == (FlinkState.OTHER, "HIBERNATING")
    assert not job.state.terminal


def test_suspended_is_not_the_end() -> None:
    assert {state for state in FlinkState if state.terminal} == {
        FlinkState.FAILED,
        FlinkState.CANCELED,
        FlinkState.FINISHED,
    }


def test_fields_of_another_type_or_out_of_range_are_absent() -> None:
    job = {"jid": JID, "state": "RUNNING", "name": 7, "start-time": "soon", "end-time": 2**80, "duration": 1.5}
    (read,) = parse_jobs({"jobs": [{**job, "tasks": [1], "last-modification": True}]})
    assert (read.name, read.start_ms, read.end_ms, read.duration_ms) == ("", None, None, None)
    assert read.last_modification_ms is None


@pytest.mark.parametrize("name", ["", "a/b?c#d%", " ", "заказы", "🚀", "x" * 5_000])
def test_names_are_kept_as_they_are(name: str) -> None:
    assert parse_jobs({"jobs": [{"jid": JID, "state": "RUNNING", "name": name}]})[0].name == name


def test_what_no_store_can_hold_is_taken_out_of_texts() -> None:
    (job,) = parse_jobs({"jobs": [{"jid": JID, "state": "RUNNING", "name": "a\0b\ud800c"}]})
    assert job.name == "ab?c"


@pytest.mark.parametrize("value", ["NaN", "1.5", "", " 1", "1e3", "true", str(2**63), "9" * 5_000])
def test_texts_that_are_no_whole_number_of_64_bits_are_none(value: str) -> None:
    assert whole(value) is None


def test_whole_numbers_are_exact() -> None:
    assert whole(str(2**63 - 1)) == 2**63 - 1
    assert whole(str(-(2**63))) == -(2**63)


def test_aggregates_that_are_no_number_are_absent() -> None:
    answer = [{"id": "busyTimeMsPerSecond", "min": "NaN", "max": 3, "sum": None}, {"no": "id"}, 7]
    (aggregate,) = parse_aggregates(answer).values()
    assert (aggregate.min, aggregate.max, aggregate.sum) == (None, 3.0, None)


@pytest.mark.parametrize(
    "text", ["", JID[:-1], JID + "0", "576cc71b-e436-78de-4371-fbd6ac3c0503", "g" * 32, JID + "\n"]
)
def test_ids_that_flink_would_refuse_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id of Flink"):
        flink_id(text)


def test_ids_are_lower_case() -> None:
    assert flink_id(JID.upper()) == JID


@pytest.mark.parametrize("operation", [None, {}, {"location": ""}, {"failure-cause": {}}])
def test_a_completed_savepoint_without_an_outcome_is_malformed(operation: object) -> None:
    with pytest.raises(fields.MalformedAnswer):
        SavepointStatus.parse({"status": {"id": "COMPLETED"}, "operation": operation})
