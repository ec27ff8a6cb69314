"""`streamgauge jobs` and `streamgauge job-types`, against a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from datetime import timedelta

import pytest
from streamgauge import (
    Client,
    ClusterStatus,
    Job,
    JobException,
    JobExceptionCause,
    JobOverview,
    JobReport,
    JobRun,
    JobState,
    JobStatus,
    JobVertex,
    ReportedException,
    StatusOrigin,
    StopResult,
    TaskCounts,
)
from streamgauge.cli import job_answers, output
from streamgauge.job_results import ExceptionPage

from tests.cli.conftest import CommandLine
from tests.unit.sdk.test_job_codec import T0


@pytest.fixture
def job() -> str:
    """The id of a job of the test's own."""
    return f"j-{uuid.uuid4().hex}"


# --- Reports and reads -----------------------------------------------------------------------------------------------


def test_a_run_is_reported_and_shown(cli: CommandLine, client: Client, job: str) -> None:
    times = ("--queued", "2026-11-21T05:59:00Z", "--start", "2026-11-21T06:00:00Z")
    out = cli.ok("jobs", "report", f"jobs/{job}", "running", "rows=5", "ok=true", "--run-id", "1", *times)
    assert out == f"jobs/{job} reported: run 1 is running\n"
    end = ("--end", "2026-11-21T08:00:00Z", "--tasks", "0", "1", "2", "--restarts", "3")
    error = ("--error", "Oops: no\n  at a", "--error-class", "Oops")
    told = json.loads(cli.ok("jobs", "report", job, "failed", "rows=7", "--run-id", "1", *end, *error, "-o", "json"))
    assert told == {"job": f"jobs/{job}", "run_id": "1", "state": "failed"}

    lines = dict(line.split(maxsplit=1) for line in cli.ok("jobs", "status", job).splitlines() if " " in line)
    assert lines["JOB"] == f"jobs/{job}"
    assert (lines["state"], lines["error"], lines["restarts"]) == ("failed", "Oops: no", "3")
    assert (lines["started"], lines["ended"]) == ("2026-11-21 06:00:00Z", "2026-11-21 08:00:00Z")
    assert (lines["lasted"], lines["tasks"]) == ("2 h", "0 running, 1 finished, of 2")

    document = json.loads(cli.ok("jobs", "status", job, "--metrics", "-o", "json"))
    assert document["job"]["run"]["duration"] == 7200.0
    assert document["metrics"]["rows"]["value"] == 7
    assert json.loads(cli.ok("jobs", "status", job, "-m", "rows", "-o", "jsonl"))["rows"] == 7
    assert "rows" in cli.ok("jobs", "status", job, "-m", "rows", "--max-age", "1h")

    (run,) = json.loads(cli.ok("jobs", "runs", job, "-o", "json"))
    assert (run["run_id"], run["tasks"]) == ("1", {"running": 0, "finished": 1, "total": 2})
    assert "Oops: no" in cli.ok("jobs", "runs", job, "--limit", "1")

    assert "  at a" in cli.ok("jobs", "exceptions", job, "--stack")
    assert "  at a" not in cli.ok("jobs", "exceptions", job)
    found = json.loads(cli.ok("jobs", "exceptions", job, "--run-id", "1", "-o", "json"))
    assert (found["run_id"], found["exceptions"][0]["exception_class"]) == ("1", "Oops")
    assert json.loads(cli.ok("jobs", "show", job, "-o", "json"))["run"]["state"] == "failed"
    assert "failed" in cli.ok("jobs", "show", job)


def test_an_error_is_read_from_a_file(cli: CommandLine, client: Client, job: str) -> None:
    cli.ok("jobs", "report", job, "failed", "--error-file", "-", stdin="E: x\n  at b\n")
    (error,) = client.jobs.exceptions(job)
    assert error.stacktrace == "E: x\n  at b\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "a", "other"), "'other' is not one of"),
        (("report", "a", "running", "rows"), "'rows' is not metric=value"),
        (("report", "a", "failed", "--error", "x", "--error-file", "-"), "not both"),
        (("report", "a", "failed", "--error-class", "x"), "goes with --error"),
        (("stop", "a", "--drain", "--yes"), "go with --savepoint"),
        (("stop", "a", "--wait", "30", "--yes"), "'30' is no length of time"),
        (("status", "a", "--max-age", "-1s"), "no length of time"),
        (("watch", "-o", "json"), "use --output table or jsonl"),
        (("watch", "-o", "csv"), "use --output table or jsonl"),
    ],
)
def test_wrong_usage_exits_with_2(cli: CommandLine, arguments: tuple[str, ...], message: str) -> None:
    result = cli("jobs", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_what_the_server_refuses_exits_with_1_and_a_server_that_is_away_with_3(cli: CommandLine, job: str) -> None:
    result = cli("jobs", "status", job)
    assert (result.exit_code, result.stderr.split(":")[1].strip()) == (1, "JOB_NOT_FOUND")
    result = CommandLine("127.0.0.1:1")("jobs", "watch", "--timeout", "0.1")
    assert result.exit_code == 3
    assert result.stderr.startswith("Error: UNAVAILABLE: no answer from 127.0.0.1:1")


def test_jobs_are_created_listed_and_deleted(cli: CommandLine, client: Client, job: str) -> None:
    label = ("--label", f"mark={job}")
    made = json.loads(cli.ok("jobs", "create", job, "--job-name", "to lake", *label, "-o", "json"))
    assert (made["job_name"], made["labels"], made["run"]) == ("to lake", {"mark": job}, None)
    cli.ok("jobs", "create", f"{job}-2", *label)
    client.jobs.report(f"jobs/{job}", "running")
    listed = json.loads(cli.ok("jobs", "list", *label, "-o", "json"))
    assert [one["name"] for one in listed["jobs"]] == [f"jobs/{job}", f"jobs/{job}-2"]
    assert (listed["total"], listed["state_counts"]) == (2, {"running": 1, "no run": 1})
    out = cli.ok("jobs", "list", *label)
    assert "2 jobs: 1 running, 1 no run" in out
    assert "to lake" in out
    assert len(cli.ok("jobs", "list", *label, "--limit", "1", "-o", "jsonl").splitlines()) == 1
    assert f"{job}-2" not in cli.ok("jobs", "list", *label, "--active", "--state", "running")
    declined = cli("jobs", "delete", job, stdin="n\n")
    assert declined.exit_code == 1
    assert f"Delete {job} with its runs, exceptions and metrics?" in declined.stderr
    assert cli.ok("jobs", "delete", job, "--yes") == f"jobs/{job} deleted\n"
    assert cli("jobs", "show", job).exit_code == 1


def test_all_pages_of_a_long_list_are_shown(cli: CommandLine, client: Client, job: str) -> None:
    client.jobs.report_many(JobReport(f"jobs/{job}-{n}", "running", run_id="r") for n in range(1_003))
    lines = cli.ok("jobs", "list", "--state", "running", "-o", "jsonl").splitlines()
    assert sum(job in line for line in lines) == 1_003


def test_job_types_are_created_listed_and_shown(cli: CommandLine, job: str) -> None:
    arguments = ("--version", "2", "--title", "Night", "--published", "--not-operational", "--inactive")
    made = json.loads(cli.ok("job-types", "create", job, job, *arguments, "-o", "json"))
    assert (made["name"], made["is_active"], made["is_operational"], made["is_paused"]) == (
        f"jobTypes/{job}",
        False,
        False,
        False,
    )
    assert json.loads(cli.ok("job-types", "show", job, "-o", "json")) == made
    assert json.loads(cli.ok("job-types", "list", "--type-name", job, "-o", "json")) == [made]
    assert "inactive, published" in cli.ok("job-types", "list", "--type-name", job, "--version", "2")
    assert cli.ok("job-types", "list", "--type-name", job, "--active", "-o", "jsonl") == ""
    assert "Night" in cli.ok("job-types", "show", f"jobTypes/{job}")


# --- Stopping --------------------------------------------------------------------------------------------------------


def test_stopping_asks_first_and_says_what(cli: CommandLine, client: Client, job: str) -> None:
    client.jobs.report(job, "running", run_id="1")
    declined = cli("jobs", "stop", job, stdin="n\n")
    assert declined.exit_code == 1
    assert f"Cancel: jobs/{job} (running)?" in declined.stderr
    declined = cli("jobs", "stop", job, "--savepoint", "--drain", stdin="n\n")
    assert "Drain and stop with a savepoint: " in declined.stderr
    refused = cli("jobs", "stop", job, "--yes")
    assert (refused.exit_code, refused.stderr.split(":")[1].strip()) == (1, "JOB_NOT_STOPPABLE")
    client.jobs.report(job, "failed", run_id="1")
    assert "run 1 of" in cli.ok("jobs", "stop", job, "--yes", "--wait", "1s")
    assert "had ended already: failed" in cli.ok("jobs", "stop", job, stdin="y\n")


def test_the_line_for_grpcurl_asks_nothing(cli: CommandLine) -> None:
    out = cli.ok("jobs", "stop", "a", "--savepoint", "--wait", "2m", "--show-grpcurl")
    assert '{"job": "a", "mode": "STOP_MODE_SAVEPOINT", "wait": "120s"}' in out
    assert "JobService/WatchJobs" in cli.ok("jobs", "watch", "--show-grpcurl")


# --- Watching --------------------------------------------------------------------------------------------------------


def test_a_watch_prints_changes_until_ctrl_c_and_says_where_to_go_on(
    target: str, client: Client, cli: CommandLine, job: str
) -> None:
    client.jobs.report(job, "running", run_id="1")
    command = [sys.executable, "-m", "streamgauge.cli", "jobs", "watch", job, "--target", target, "--current"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().endswith(f"  jobs/{job}  running  (run 1)\n")
        client.jobs.report(job, "failed", run_id="1", restart_count=2)
        assert process.stdout.readline().endswith(f"  jobs/{job}  running -> failed  (run 1, 2 restarts)\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        told = process.stderr.read()
    cursor = told.split("--cursor ")[1].strip()
    client.jobs.report(job, "running", run_id="2")
    arguments = [*command[:-1], "--cursor", cursor, "--output", "jsonl"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        change = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert (change["job"], change["run_id"], change["previous_state"], change["state"]) == (
        f"jobs/{job}",
        "2",
        None,
        "running",
    )


# --- What the server may say, in words -------------------------------------------------------------------------------


def run(**told: object) -> JobRun:
    fields: dict[str, object] = {
        "run_id": "r", "ordinal": 2, "state": JobState.RUNNING, "state_text": "RUNNING", "outcome": None, "lost": False,
        "degraded": False, "flapping": False, "queue_time": None, "start_time": T0, "end_time": None,
        "duration": timedelta(hours=3), "restart_count": 1, "tasks": TaskCounts(3, 0, 4), "vertices": (),
        "observe_time": T0, "final_figures": False, "error": "",
    }  # fmt: skip
    return JobRun(**(fields | told))  # type: ignore[arg-type]


def job_of(run: JobRun | None) -> Job:
    return Job("jobs/orders", "to lake", "main", "", {}, run, "e", T0, T0)


def printed(answer: output.Answer, capsys: pytest.CaptureFixture[str]) -> str:
    for format_ in output.Format:
        output.show(answer, format_)
        text = capsys.readouterr().out
        assert text or not answer.records
        if format_ is output.Format.TABLE:
            table = text
    return table


def test_a_status_tells_in_words_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    vertices = (JobVertex("v", "Source -> Map", 2, "RUNNING", 0, None, 0, 12_345),)
    troubled = run(degraded=True, flapping=True, lost=True, vertices=vertices, error="Oops: no")
    status = JobStatus(job_of(troubled), StatusOrigin.STORED, True, ("cluster main does not answer",), ("r", "q"))
    text = printed(job_answers.of_status(status, None), capsys)
    for words in (
        "some of its tasks are neither running nor finished",
        "restarted several times",
        "does not know this run any more",
        "3 running, 0 finished, of 4",
        "running for   3 h",
        "STALE, the cluster could not be asked",
        "cluster main does not answer",
        "Oops: no",
        "r (number 2)",
    ):
        assert words in text
    (line,) = [line for line in text.splitlines() if line.startswith("Source -> Map")]
    assert line.split()[-5:] == ["2", "0", "-", "0", "12,345"]


def test_a_job_without_a_run_has_a_status_and_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    status = JobStatus(job_of(None), StatusOrigin.STORED, False, (), ())
    assert "no run is known" in printed(job_answers.of_status(status, {}), capsys)
    overview = JobOverview((), 1, {None: 1}, ())
    assert "no run" in printed(job_answers.of_jobs([job_of(None)], overview), capsys)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "running"),
        ({"degraded": True}, "running, degraded"),
        ({"flapping": True}, "running, flapping"),
        ({"lost": True, "degraded": True}, "lost (was running)"),
        ({"state": JobState.OTHER, "state_text": "HIBERNATING"}, "HIBERNATING"),
        ({"state": JobState.UNKNOWN, "state_text": ""}, "unknown"),
    ],
)
def test_a_state_in_words(told: dict[str, object], words: str) -> None:
    assert job_answers.state_text(run(**told)) == words


def test_a_list_tells_which_cluster_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    clusters = (
        ClusterStatus("main", True, T0, T0, "", "2.3.0", timedelta(seconds=1), 1),
        ClusterStatus("other", False, None, T0, "refused", "", timedelta(), 0),
    )
    text = printed(job_answers.of_jobs([], JobOverview((), 0, {}, clusters)), capsys)
    assert "cluster main: reachable, 1 active run" in text
    assert "cluster other: NOT reachable (never was): refused" in text


def test_exceptions_tell_cause_and_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    error = JobException(T0, "A", "A: b", "A: b\n", False, "", "", JobExceptionCause("C", "C: d", "t"))
    page = ExceptionPage((error,), "", run_id="r", history_truncated=True, stale=True, messages=("main is away",))
    text = printed(job_answers.of_exceptions([error], page, stacks=False), capsys)
    assert "C: d" in text
    assert "1 exception of run r" in text
    assert "had forgotten older ones" in text
    assert "main is away" in text


@pytest.mark.parametrize(
    ("ended", "words"), [(True, "run r of orders has ended: finished"), (False, "accepted; run r of orders is running")]
)
def test_a_stop_tells_how_far_it_has_come(capsys: pytest.CaptureFixture[str], ended: bool, words: str) -> None:
    state = JobState.FINISHED if ended else JobState.RUNNING
    result = StopResult(run(state=state), True, False, ended, "file:/sp" if ended else "", ("m",))
    text = printed(job_answers.of_stop("orders", result), capsys)
    assert words in text
    assert ("savepoint: file:/sp" in text) == ended


def test_a_reported_exception_of_python_is_told_by_its_headline(cli: CommandLine, client: Client, job: str) -> None:
    try:
        raise LookupError("gone")
    except LookupError as error:
        client.jobs.report(job, "failed", exceptions=[ReportedException.of(error)])
    assert "LookupError: gone" in cli.ok("jobs", "status", job)
