"""Reports real runs as runs of jobs: those of a command, or every test of a pytest session.

A command is a run of the job that you name: queued, started, ended, with its exit code as the outcome and the end of
what it wrote to stderr as the exception. A test is a run of a job with the name of its module, and of one execution:
its setup is the task that prepares, its call the work, its teardown what cleans up. A test that is skipped, or that
Ctrl-C ends, is CANCELED. Runs are counted by their job type, which is created when it is missing:

    streamgauge jobs list
    streamgauge metric-types plot job-types --unit day

What is recorded never fails for the sake of its report: a server that is away costs it some seconds and a warning.
As a pytest plugin, with this file's directory on the PYTHONPATH: `pytest -p record_runs`.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge import Client, JobTypeAlreadyExistsError, JobTypeNotFoundError
from streamgauge.v1 import job_service_pb2 as pb

if TYPE_CHECKING:
    import pytest

BATCH = 500
"""How many runs of tests are reported at once."""
KEPT = 20_000
"""How many runs are kept while the server is away; of more the newest."""
REPORT_SECONDS = 5.0
"""How long the work waits for a report at most; after one that failed it waits again only at its end."""
END_SECONDS = 15.0
"""How long the last reports may take, each."""
TAIL_BYTES = 32 * 1024
"""How much of the end of stderr, or of a test's failure, is reported."""
PUMP_SECONDS = 2.0
"""How long to wait for the rest of stderr after the command has ended: a child of it may hold it open."""
NOT_FOUND, NOT_EXECUTABLE = 127, 126


def now() -> int:
    """Returns the moment in microseconds."""
    return time.time_ns() // 1_000


def stamp(micros: int) -> Timestamp:
    """Returns a moment as the contract has it."""
    message = Timestamp()
    message.FromMicroseconds(micros)
    return message


def sendable(text: str) -> str:
    """Returns the end of a text as UTF-8 without NUL."""
    if len(text) > TAIL_BYTES:
        text = f"... cut ...\n{text[-TAIL_BYTES:]}"
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def new_run_id() -> str:
    """Returns an id that no other run has, and that tells when it was."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


def warn(text: str) -> None:
    """Tells a person what could not be reported."""
    print(f"record_runs: {text}", file=sys.stderr, flush=True)


class Reporter:
    """Sends reports; keeps what did not arrive for the end. Nothing that it does raises."""

    def __init__(self, target: str | None, job_type: str, on_problem: Callable[[str], None] = warn) -> None:
        self.reported = 0
        self.problem = ""
        """What went wrong last; empty while all is well."""
        self._job_type = job_type
        self._on_problem = on_problem
        self._type_exists = False
        self._waiting: list[pb.JobReport] = []
        self._client: Client | None = None
        try:
            self._client = Client.from_env(**({"target": target} if target else {}))
        except Exception as error:  # a wrong setting, or a file that is not there
            self._failed(error)

    @property
    def waiting(self) -> int:
        """How many reports have not arrived."""
        return len(self._waiting)

    def add(self, report: pb.JobReport) -> None:
        """Keeps a report, and sends what is kept when it is enough."""
        report.job_type = f"jobTypes/{self._job_type}"
        self._waiting.append(report)
        del self._waiting[:-KEPT]
        if len(self._waiting) >= BATCH:
            self.send()

    def send(self, *, last: bool = False) -> None:
        """Sends what is kept; after a failure only with `last`."""
        if self._client is None or (self.problem and not last):
            return
        timeout = END_SECONDS if last else REPORT_SECONDS
        try:
            self._create_type(self._client, timeout)
            while self._waiting:
                reports = self._waiting[:BATCH]
                self._client.stubs.jobs.ReportJob(pb.ReportJobRequest(reports=reports), timeout=timeout)
                del self._waiting[: len(reports)]
                self.reported += len(reports)
            self.problem = ""
        except Exception as error:  # whatever it is, it is not the work's
            self._failed(error)

    def close(self) -> None:
        """Sends what is left, and tells if something did not arrive."""
        if self._waiting:
            self.send(last=True)
        if self._waiting:
            self._on_problem(f"{len(self._waiting)} reports did not arrive: {self.problem}")
        if self._client is not None:
            self._client.close()

    def _create_type(self, client: Client, timeout: float) -> None:
        if self._type_exists:
            return
        try:
            client.job_types.get(self._job_type, timeout=timeout)
        except JobTypeNotFoundError:
            try:
                client.job_types.create(self._job_type, self._job_type, timeout=timeout)
            except JobTypeAlreadyExistsError:  # somebody else was faster
                client.job_types.get(self._job_type, timeout=timeout)
        self._type_exists = True

    def _failed(self, error: Exception) -> None:
        first = not self.problem
        self.problem = str(error) or type(error).__name__
        if first:
            self._on_problem(f"cannot report: {self.problem}")


# A command


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: its exit code, whether somebody stopped it, and the end of what it wrote to stderr."""

    code: int
    canceled: bool = False
    tail: str = ""
    error: str = ""
    """The error of the server's catalog that it failed of."""


class Command:
    """A command as a child process that shares stdin and stdout, and whose stderr is passed on and kept in part."""

    def __init__(self, words: Sequence[str]) -> None:
        self._canceled = False
        self._process: subprocess.Popen[bytes] | None = None
        self._tail = bytearray()
        self._handlers = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._process = subprocess.Popen(  # one word is a line for the shell
                words[0] if len(words) == 1 else list(words), shell=len(words) == 1, stderr=subprocess.PIPE
            )
        except OSError:
            self._restore()
            raise
        if self._canceled:
            self._process.terminate()
        assert self._process.stderr is not None
        self._pump = threading.Thread(target=self._pass_on, args=(self._process.stderr,), daemon=True)
        self._pump.start()

    def wait(self) -> Ended:
        """Waits for the end. Ctrl-C, which the child gets too, and SIGTERM, which it is sent, make it canceled."""
        assert self._process is not None
        code = self._process.wait()
        self._restore()
        self._pump.join(PUMP_SECONDS)
        canceled = self._canceled and code != 0
        tail = bytes(self._tail).decode("utf-8", "replace").strip()
        return Ended(128 - code if code < 0 else code, canceled, tail, "algorithm-unknown")

    def _stop(self, number: int, _: object) -> None:
        self._canceled = True
        if number == signal.SIGTERM and self._process is not None:
            self._process.terminate()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _pass_on(self, stream: IO[bytes]) -> None:
        descriptor = stream.fileno()
        while part := os.read(descriptor, 64 * 1024):
            self._tail += part
            del self._tail[:-TAIL_BYTES]
            try:
                sys.stderr.buffer.write(part)
                sys.stderr.buffer.flush()
            except OSError:  # nobody reads it; the command goes on
                continue


def record_command(arguments: argparse.Namespace) -> int:
    """Runs a command and reports it. Returns its exit code."""
    queued = now() if arguments.queued_at is None else arguments.queued_at
    run_id = arguments.run_id or new_run_id()
    reporter = Reporter(arguments.target, arguments.job_type)

    def report(state: pb.JobState.ValueType, **fields: Any) -> pb.JobReport:
        return pb.JobReport(job=arguments.job, run_id=run_id, state=state, queue_time=stamp(queued), **fields)

    def tell(told: pb.JobReport) -> None:
        reporter.add(told)
        reporter.send()

    tell(report(pb.JOB_STATE_QUEUED))
    started = max(now(), queued)
    try:
        command = Command(arguments.command)
    except OSError as error:
        warn(f"cannot run {arguments.command[0]}: {error}")
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        ended = Ended(code, tail=f"{type(error).__name__}: {error}", error="task-launch")
    else:
        tell(report(pb.JOB_STATE_RUNNING, start_time=stamp(started)))
        ended = command.wait()
    end = max(now(), started)
    outcome, state = (
        (pb.JOB_OUTCOME_COMPLETED, pb.JOB_STATE_FINISHED)
        if ended.code == 0
        else (pb.JOB_OUTCOME_CANCELED, pb.JOB_STATE_CANCELED)
        if ended.canceled
        else (pb.JOB_OUTCOME_FAILED, pb.JOB_STATE_FAILED)
    )
    times: dict[str, Any] = {"start_time": stamp(started), "end_time": stamp(end)}
    execution = pb.JobExecution(
        execution_id="1",
        outcome=outcome,
        queue_time=stamp(queued),
        tasks=[pb.ExecutionTask(kind=pb.TASK_KIND_MAIN, **times)],
        **times,
    )
    last = report(state, executions=[execution], **times)
    if state == pb.JOB_STATE_FAILED:
        last.error = last.executions[0].error = ended.error
        text = f"exit code {ended.code}\n{ended.tail}".strip()
        last.exceptions.add(time=stamp(end), exception_class="ExitCode", stacktrace=sendable(text))
    reporter.add(last)
    reporter.close()
    return ended.code


# A pytest session

TASKS = {"setup": pb.TASK_KIND_PRE, "call": pb.TASK_KIND_MAIN, "teardown": pb.TASK_KIND_POST}


class Recorder:
    """The plugin: one for each session."""

    def __init__(self, target: str | None, job_type: str) -> None:
        self._problems: list[str] = []
        self._reporter = Reporter(target, job_type, self._problems.append)
        self._session = new_run_id()
        self._count = 0
        self._queued = now()
        self._tests: dict[str, list[pytest.TestReport]] = {}

    def pytest_collection_finish(self) -> None:
        """Takes the end of the collection as the moment from which tests wait for their turn."""
        self._queued = now()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps each phase of a test; with the last one the test is reported."""
        self._tests.setdefault(report.nodeid, []).append(report)
        if report.when == "teardown":
            self._record(report.nodeid, self._tests.pop(report.nodeid))

    def pytest_sessionfinish(self) -> None:
        """Reports what is left; tests that have not ended were interrupted."""
        while self._tests:
            self._record(*self._tests.popitem(), interrupted=True)
        self._reporter.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tells how many runs were reported, and what went wrong."""
        terminalreporter.write_line(f"record_runs: {self._reporter.reported} runs reported, session {self._session}")
        for problem in self._problems:
            terminalreporter.write_line(f"record_runs: {problem}")

    def _record(self, test: str, phases: Iterable[pytest.TestReport], *, interrupted: bool = False) -> None:
        try:
            self._count += 1
            run_id = f"{self._session}-{self._count:06}"
            self._reporter.add(report_of(test, run_id, self._queued, list(phases), interrupted=interrupted))
        except Exception as error:  # a bug here is not the session's
            self._problems.append(f"{test}: {error!r}")


def report_of(
    test: str, run_id: str, queued: int, phases: Sequence[pytest.TestReport], *, interrupted: bool
) -> pb.JobReport:
    """Returns the report of a test that has ended."""
    times = [(int(phase.start * 1e6), int(phase.stop * 1e6)) for phase in phases]
    start, end = min(first for first, _ in times), max(last for _, last in times)
    end = max(start, end)
    failures = [phase for phase in phases if phase.failed]
    if failures:
        outcome, state = pb.JOB_OUTCOME_FAILED, pb.JOB_STATE_FAILED
    elif interrupted or any(phase.skipped and not hasattr(phase, "wasxfail") for phase in phases):
        outcome, state = pb.JOB_OUTCOME_CANCELED, pb.JOB_STATE_CANCELED
    else:
        outcome, state = pb.JOB_OUTCOME_COMPLETED, pb.JOB_STATE_FINISHED
    execution = pb.JobExecution(
        execution_id="1",
        outcome=outcome,
        queue_time=stamp(min(queued, start)),
        start_time=stamp(start),
        end_time=stamp(end),
        tasks=[
            pb.ExecutionTask(kind=TASKS[phase.when], start_time=stamp(first), end_time=stamp(last))
            for phase, (first, last) in zip(phases, times, strict=True)
            if phase.when in TASKS
        ],
    )
    module = test.partition("::")[0].removesuffix(".py").replace("/", ".")
    report = pb.JobReport(
        job=sendable(module)[:255],
        run_id=run_id,
        state=state,
        queue_time=execution.queue_time,
        start_time=execution.start_time,
        end_time=execution.end_time,
    )
    for phase, (_, last) in zip(phases, times, strict=True):
        if phase.failed:
            crash = getattr(phase.longrepr, "reprcrash", None)
            headline = getattr(crash, "message", "") or f"{phase.when} failed"
            report.exceptions.add(
                time=stamp(last),
                exception_class=re.split(r"[:\s]", headline, maxsplit=1)[0][:255],
                stacktrace=f"{sendable(headline.partition(chr(10))[0])}\n{sendable(phase.longreprtext)}",
                task=sendable(test).encode()[:1_000].decode("utf-8", "ignore"),
            )
    if failures:
        in_call = any(phase.when == "call" for phase in failures)
        report.error = execution.error = "algorithm-unknown" if in_call else "unknown"
    report.executions.append(execution)
    return report


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of the plugin."""
    group = parser.getgroup("record_runs", "reporting tests to streamgauge")
    group.addoption("--record-job-type", default="pytest", metavar="ID", type=job_type_id, help="type of the jobs")
    group.addoption("--record-target", metavar="HOST:PORT", help="the streamgauge server (default: STREAMGAUGE_TARGET)")


def pytest_configure(config: pytest.Config) -> None:
    """Begins to record; not in the processes of pytest-xdist, whose controller sees all tests."""
    if not hasattr(config, "workerinput"):
        recorder = Recorder(config.getoption("--record-target"), config.getoption("--record-job-type"))
        config.pluginmanager.register(recorder, "record_runs_recorder")


def record_pytest(arguments: argparse.Namespace) -> int:
    """Runs pytest in this process and reports its tests. Returns its exit code."""
    try:
        import pytest
    except ImportError:
        print("Error: --pytest needs pytest: pip install pytest", file=sys.stderr)
        return 2
    options = [f"--record-job-type={arguments.job_type}"]
    if arguments.target:
        options.append(f"--record-target={arguments.target}")
    return int(pytest.main([*options, *arguments.pytest], plugins=[sys.modules[__name__]]))


# The command line


def job_type_id(text: str) -> str:
    """Returns the id of a job type. ArgumentTypeError for what cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9._~-]{1,128}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 128 characters out of letters, digits, . _ ~ -")
    return text


def run_id(text: str) -> str:
    """Returns the id of a run. ArgumentTypeError for what cannot be one."""
    if not re.fullmatch(r"[!-~]{1,128}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 128 printable ASCII characters")
    return text


def moment(text: str) -> int:
    """Returns a moment in microseconds. ArgumentTypeError for what is none."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if given.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no offset from UTC, such as Z")
    return int(given.timestamp() * 1e6)


EXAMPLES = """examples:
  python record_runs.py --job nightly-load --job-type load -- python load.py --all
  python record_runs.py --job backup -- 'pg_dump shop | gzip > shop.gz'
  python record_runs.py --target metrics.example:50051 --pytest tests -q
"""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Reads the command line; what follows `--`, or `--pytest`, is not ours."""
    ours, rest, mode = list(words), [], ""
    for place, word in enumerate(words):
        if word in ("--", "--pytest"):
            ours, rest, mode = list(words[:place]), list(words[place + 1 :]), word
            break
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES,
        usage="%(prog)s [options] --job NAME -- COMMAND ...\n       %(prog)s [options] --pytest [ARGUMENT ...]",
        allow_abbrev=False,
    )
    parser.add_argument("--job", metavar="NAME", help="what the job is called; an unknown one is registered")
    parser.add_argument(
        "--job-type", type=job_type_id, metavar="ID", help="its type (default: command, or pytest); created if missing"
    )
    parser.add_argument("--run-id", type=run_id, metavar="ID", help="the id of the run (default: a new one)")
    parser.add_argument(
        "--queued-at", type=moment, metavar="TIME", help="since when it was to run, as 2026-03-01T02:00:00Z"
    )
    parser.add_argument("--target", metavar="HOST:PORT", help="the streamgauge server (default: STREAMGAUGE_TARGET)")
    parser.add_argument("--pytest", action="store_true", help="run pytest with the arguments that follow")
    arguments = parser.parse_args(ours)
    if mode == "--pytest":
        if arguments.job or arguments.run_id or arguments.queued_at:
            parser.error("--job, --run-id and --queued-at are of a command: with --pytest jobs are named by modules")
        arguments.pytest, arguments.command = rest, []
    else:
        if not rest:
            parser.error("say what to run: -- COMMAND ..., or --pytest")
        if not arguments.job or len(arguments.job) > 255 or "\0" in arguments.job:
            parser.error("--job must name the job, in at most 255 characters")
        if not rest[0]:
            parser.error("the command is empty")
        if arguments.queued_at is not None and arguments.queued_at > now():
            parser.error("--queued-at is in the future")
        arguments.pytest, arguments.command = None, rest
    arguments.job_type = arguments.job_type or ("command" if arguments.pytest is None else "pytest")
    return arguments


def main(words: Sequence[str] | None = None) -> int:
    """Runs what is asked for. Returns its exit code, 2 for wrong usage."""
    arguments = parse(sys.argv[1:] if words is None else words)
    return record_command(arguments) if arguments.pytest is None else record_pytest(arguments)


if __name__ == "__main__":
    sys.exit(main())
