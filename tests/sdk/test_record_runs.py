"""The example that records runs, run as anybody would, against a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from streamgauge import Client, testing
from streamgauge.v1 import common_pb2
from streamgauge.v1 import metric_type_service_pb2 as pb
from streamgauge.v1.metric_type_service_pb2_grpc import MetricTypeServiceStub

EXAMPLE = Path(__file__).parents[2] / "sdk/python/examples/record_runs.py"
MODULE = """
import pytest

@pytest.mark.parametrize("n", range({passing}))
def test_passes(n):
    assert n >= 0
"""
ENDINGS = """
import time
import pytest

@pytest.fixture
def slow():
    time.sleep(1.0)
    yield
    time.sleep(1.0)

@pytest.fixture
def broken():
    raise OSError("no such place")

def test_takes_a_second_in_each_phase(slow):
    time.sleep(1.0)

def test_fails():
    assert 1 == 2, "one is not two \\udcff \\0"

def test_cannot_be_set_up(broken):
    pass

@pytest.mark.skip
def test_is_skipped():
    pass

@pytest.mark.xfail
def test_is_known_to_fail():
    assert False
"""


def run(
    *arguments: str, target: str, cwd: Path, program: tuple[str, ...] = (str(EXAMPLE),), **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs the example against a server."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("STREAMGAUGE_", "PYTEST_"))
    }
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env={**environment, "STREAMGAUGE_TARGET": target, **variables},
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )


def totals(server: testing.RunningServer, *columns: str, job_type: str | None = None) -> dict[str, int]:
    """Returns the totals of columns of a job type over the days of now."""
    request = pb.GetPlotDataRequest(
        name="metricTypes/job-types",
        columns=columns,
        choices=[] if job_type is None else [server.client().job_types.get(job_type).number],
        window=common_pb2.Window(count=1, unit=common_pb2.WINDOW_UNIT_DAY),
    )
    request.time_range.start_time.FromSeconds(int(time.time()) - 2 * 86_400)
    request.time_range.end_time.FromSeconds(int(time.time()) + 2 * 86_400)
    with grpc.insecure_channel(server.target) as channel:
        answer = MetricTypeServiceStub(channel).GetPlotData(request, timeout=10)
    return {series.column.column: series.total.int64_value for series in answer.series if series.HasField("total")}


def write_tests(directory: Path, modules: int = 4, passing: int = 30) -> None:
    """Writes a session: modules of tests that pass, and one with every other ending."""
    (directory / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    for number in range(modules):
        (directory / f"test_small_{number}.py").write_text(MODULE.format(passing=passing))
    (directory / "test_endings.py").write_text(ENDINGS, encoding="utf-8")


def test_every_test_of_a_session_is_a_run_with_its_times(server: testing.RunningServer, tmp_path: Path) -> None:
    write_tests(tmp_path)
    begun = time.monotonic()
    done = run("--pytest", "-q", target=server.target, cwd=tmp_path)
    took = time.monotonic() - begun
    assert done.returncode == 1, done.stdout + done.stderr
    assert "record_runs: 125 runs reported" in done.stdout

    counts = totals(server, "completed_count", "failed_count", "canceled_count", "total_count", job_type="pytest")
    assert counts == {"completed_count": 122, "failed_count": 2, "canceled_count": 1, "total_count": 125}
    assert totals(server, "error_algorithm_count", "error_system_count") == {
        "error_algorithm_count": 1,
        "error_system_count": 1,
    }
    longest = totals(server, "pre_time_max", "job_time_max", "post_time_max", "run_time_max", "stage_time_max")
    assert longest == {
        "pre_time_max": 1,
        "job_time_max": 1,
        "post_time_max": 1,
        "run_time_max": 3,
        "stage_time_max": 0,
    }
    sums = totals(server, "run_time_sum", "queue_time_max")
    assert 3 <= sums["run_time_sum"] <= took
    assert 3 <= sums["queue_time_max"] <= took  # those after the slow one waited for it

    client = server.client()
    assert {job.job_name for job in client.jobs.list()} == {"test_endings", *(f"test_small_{n}" for n in range(4))}
    assert failures(client, "test_endings") == {
        "AssertionError: one is not two \\udcff \\x00",
        "OSError: no such place",
    }


def failures(client: Client, job_name: str) -> set[str]:
    """Returns what went wrong in the runs of a job."""
    (job,) = [job for job in client.jobs.list() if job.job_name == job_name]
    return {run.error for run in client.jobs.runs(job.name) if run.error}


def test_it_is_a_pytest_plugin(server: testing.RunningServer, tmp_path: Path) -> None:
    write_tests(tmp_path, modules=1, passing=3)
    done = run(
        *("-p", "record_runs", "--record-job-type", "unit", "-q", "test_small_0.py"),
        target=server.target,
        cwd=tmp_path,
        program=("-m", "pytest"),
        PYTHONPATH=os.pathsep.join(filter(None, (str(EXAMPLE.parent), os.environ.get("PYTHONPATH")))),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "record_runs: 3 runs reported" in done.stdout
    assert totals(server, "completed_count", job_type="unit") == {"completed_count": 3}


def test_a_session_goes_on_without_a_server(free_port: int, tmp_path: Path) -> None:
    write_tests(tmp_path, modules=1, passing=3)
    done = run("--pytest", "-q", "test_small_0.py", target=f"127.0.0.1:{free_port}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert "record_runs: 3 reports did not arrive" in done.stdout


def test_a_command_is_a_run(server: testing.RunningServer, tmp_path: Path) -> None:
    good = run("--job", "load", "--", "echo done; echo note >&2", target=server.target, cwd=tmp_path)
    assert (good.returncode, good.stdout, good.stderr) == (0, "done\n", "note\n")
    bad = run(
        *("--job", "load", "--run-id", "r2", "--", sys.executable, "-c", "import sys; sys.exit('no rows\\nat all')"),
        target=server.target,
        cwd=tmp_path,
    )
    assert (bad.returncode, bad.stderr) == (1, "no rows\nat all\n")

    counts = totals(server, "completed_count", "failed_count", "error_algorithm_count", job_type="command")
    assert counts == {"completed_count": 1, "failed_count": 1, "error_algorithm_count": 1}
    client = server.client()
    (job,) = client.jobs.list()
    last, first = client.jobs.runs(job.name)
    assert (last.run_id, last.state.name, first.state.name) == ("r2", "FAILED", "FINISHED")
    assert last.queue_time is not None
    assert last.start_time is not None
    assert last.end_time is not None
    assert last.queue_time <= last.start_time <= last.end_time
    (exception,) = client.jobs.exceptions(job.name, run_id="r2")
    assert exception.stacktrace == "exit code 1\nno rows\nat all"


def test_the_time_since_it_was_to_run_is_queue_time(server: testing.RunningServer, tmp_path: Path) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 100))
    done = run(
        *("--job", "load", "--job-type", "nightly", "--queued-at", since, "--", "true"),
        target=server.target,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert 100 <= totals(server, "queue_time_max", job_type="nightly")["queue_time_max"] < 160


def test_a_command_that_is_stopped_is_a_canceled_run(server: testing.RunningServer, tmp_path: Path) -> None:
    words = [
        sys.executable,
        str(EXAMPLE),
        "--target",
        server.target,
        "--job",
        "load",
        "--",
        "echo ready; exec sleep 60",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert totals(server, "canceled_count", "total_count") == {"canceled_count": 1, "total_count": 1}


def test_a_command_that_is_not_there_is_a_failed_run(server: testing.RunningServer, tmp_path: Path) -> None:
    done = run("--job", "load", "--", "no-such-program", "--now", target=server.target, cwd=tmp_path)
    assert done.returncode == 127
    assert "no-such-program" in done.stderr
    assert totals(server, "failed_count", "error_system_count") == {"failed_count": 1, "error_system_count": 1}


def test_a_command_does_not_fail_for_its_report(free_port: int, tmp_path: Path) -> None:
    away = run("--job", "load", "--", "echo done", target=f"127.0.0.1:{free_port}", cwd=tmp_path)
    assert (away.returncode, away.stdout) == (0, "done\n")
    assert "record_runs: 3 reports did not arrive" in away.stderr
    wrong = run("--job", "load", "--", "echo done", target="127.0.0.1:1", cwd=tmp_path, STREAMGAUGE_TLS="perhaps")
    assert (wrong.returncode, wrong.stdout) == (0, "done\n")
    assert "STREAMGAUGE_TLS" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "say what to run"),
        (("--job", "load"), "say what to run"),
        (("--", "true"), "--job must name the job"),
        (("--job", "load", "--job-type", "a b", "--", "true"), "--job-type"),
        (("--job", "load", "--queued-at", "2026-01-01T00:00:00", "--", "true"), "no offset from UTC"),
        (("--job", "load", "--queued-at", "2999-01-01T00:00:00Z", "--", "true"), "in the future"),
        (("--job", "load", "--pytest"), "are of a command"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    done = run(*arguments, target="127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 2
    assert problem in done.stderr
