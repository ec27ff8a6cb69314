"""`kill -9` of the program or the server amid exports and imports of files: the same call goes on, nothing is lost."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamgauge import Client, Frame, UnavailableError, files, testing
from streamgauge.files import importing

from tests.faults.server_process import START_SECONDS

T0 = datetime(2026, 1, 1, tzinfo=UTC)
SOURCES, DAYS, ROWS = 3, 6, 200

# The program kills itself at its nth step, between any two of them, or in the middle of one.
PROGRAM = """\
import os, signal, sys
from streamgauge import Client, files
from streamgauge.files import exporting, importing, parquet

what, target, path, steps, inside = sys.argv[1:]
exporting._SAVE_SECONDS, exporting._SAVE_SAMPLES, exporting._SEGMENT_ROWS = 0.0, 1, 100
importing.BATCH_SAMPLES = 500
left = int(steps)

def step(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

if inside == "True":
    kept = exporting.runs_of
    exporting.runs_of = lambda frame: (step(), kept(frame))[1]
    sent = importing._Batch._sent
    importing._Batch._sent = lambda self, pieces: (sent(self, pieces), step())[0]
with Client(target) as client:
    progress = None if inside == "True" else step
    if what == "export":
        files.export_to(client, path, subject_kind="sources", on_progress=progress)
    else:
        files.import_from(client, path, on_progress=progress)
"""


def run(what: str, target: str, path: Path, steps: int, *, inside: bool) -> int:
    """Runs the program and returns its exit code: that of SIGKILL unless it was done before."""
    arguments = [sys.executable, "-c", PROGRAM, what, target, str(path), str(steps), str(inside)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def store() -> Iterator[testing.RunningServer]:
    with testing.server(limits={"max_response_bytes": 20_000}) as server:
        fill(server.client())
        yield server


def fill(client: Client) -> None:
    client.metrics.import_frames(
        Frame(
            f"sources/s{source}",
            [T0 + timedelta(days=day, seconds=row) for row in range(ROWS)],
            {"n": range(ROWS), "x": [row / 7 for row in range(ROWS)]},
            part=f"task={day % 2}",
        )
        for source in range(SOURCES)
        for day in range(DAYS)
    ).raise_for_rejected()


def samples(client: Client) -> dict[tuple[object, ...], object]:
    """Every sample that stands; there must be one of each."""
    found: dict[tuple[object, ...], object] = {}
    for frame in client.metrics.export(subject_kind="sources"):
        for metric, column in frame.columns.items():
            for row, value in zip(column.rows, column.values, strict=True):
                at = (frame.subject, frame.part, metric, frame.times[row])
                assert at not in found
                found[at] = value
    return found


@pytest.mark.parametrize("inside", [False, True], ids=["between", "inside"])
@pytest.mark.parametrize("ending", ["csv", "jsonl.gz", "parquet"])
def test_an_export_that_is_killed_goes_on(
    store: testing.RunningServer, tmp_path: Path, ending: str, inside: bool
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet is an extra")
    path = tmp_path / f"x.{ending}"
    kills = 0
    while run("export", store.target, path, 4, inside=inside) and kills < 2:
        kills += 1
        assert not path.exists()
    assert kills == 2
    files.export_to(store.client(), path, subject_kind="sources")
    with testing.server() as empty:
        outcome = files.import_from(empty.client(), path)
        wanted = samples(store.client())
        assert (outcome.rows, outcome.accepted, outcome.rejected) == (len(wanted), len(wanted), 0)
        assert samples(empty.client()) == wanted
    assert sorted(left.name for left in tmp_path.iterdir()) == [path.name, f"{path.name}.catalog.json"]


@pytest.mark.parametrize("inside", [False, True], ids=["between", "inside"])
def test_an_import_that_is_killed_goes_on_after_the_last_answer(
    store: testing.RunningServer, tmp_path: Path, inside: bool
) -> None:
    path = tmp_path / "x.csv"
    files.export_to(store.client(), path, subject_kind="sources")
    with testing.server() as empty:
        assert run("import", empty.target, path, 3, inside=inside)
        assert run("import", empty.target, path, 3, inside=inside)
        first = samples(empty.client())
        outcome = files.import_from(empty.client(), path)
        wanted = samples(store.client())
        assert 0 < len(first) < len(wanted)
        assert (outcome.resumed, outcome.rows, outcome.accepted) == (True, len(wanted), len(wanted))
        assert samples(empty.client()) == wanted
    assert not Path(f"{path}.import.json").exists()


def test_a_file_that_has_changed_begins_anew_when_asked(store: testing.RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    files.export_to(store.client(), path, subject_kind="sources")
    with testing.server() as empty:
        assert run("import", empty.target, path, 2, inside=False)
        path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])
        with pytest.raises(files.FileError, match="another changed, size"):
            files.import_from(empty.client(), path)
        assert files.import_from(empty.client(), path, restart=True).rows == len(samples(store.client())) + 1


@contextmanager
def served(port: int, database: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a server as a process."""
    arguments = ["serve", "--listen", f"127.0.0.1:{port}", "--database", f"sqlite:///{database}", "--migrate"]
    with (database.parent / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge_server", *arguments], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        with Client(f"127.0.0.1:{port}") as client:
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    client.server.info(timeout=5)
                    break
                except UnavailableError:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
        yield process
    finally:
        process.kill()
        process.wait()


def test_an_import_goes_on_when_the_server_is_killed_and_comes_back(
    store: testing.RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    files.export_to(store.client(), path, subject_kind="sources")
    monkeypatch.setattr(importing, "BATCH_SAMPLES", 500)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    database = tmp_path / "store.db"
    with served(port, database) as first, Client(f"127.0.0.1:{port}") as client:
        steps = 0

        def step(progress: files.ImportProgress) -> None:
            nonlocal steps
            steps += 1
            if steps == 3:
                first.kill()

        with pytest.raises(UnavailableError):
            files.import_from(client, path, on_progress=step, give_up_after=timedelta(0))
        assert steps == 3
        with served(port, database):
            outcome = files.import_from(client, path)
            assert outcome.resumed
            assert samples(client) == samples(store.client())
