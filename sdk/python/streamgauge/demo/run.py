"""Runs a server with the recorded run in it, says what to try, and stops it in the end: what `make run` does."""

from __future__ import annotations

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from streamgauge.client import Client
from streamgauge.demo import loader, next_steps, recorded_run
from streamgauge.demo.local_server import LocalServer, free_port
from streamgauge.errors import SourceNotFoundError, UnauthenticatedError

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def run(directory: Path, wanted_port: int, wanted_http_port: int) -> None:
    """Serves from `directory` until Ctrl-C. ServerFailed when the server does not start or ends by itself.

    The run is moved to end now: a question that names no range asks for the last 24 hours.
    """
    # SIGINT too: a shell starts what it puts into the background with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    port, http_port = free_port(wanted_port), free_port(wanted_http_port)
    server = LocalServer(directory, port, http_port)
    try:
        server.start()
        with Client(server.target) as client:
            steps = _prepare(client, server.http_url)
        for wanted, taken in ((wanted_port, port), (wanted_http_port, http_port)):
            if taken != wanted:
                print(f"Port {wanted} is taken, so the port is {taken}.")
        print(f"The server listens on {server.target}; its store and its log are in {directory}.")
        print(f"Its HTTP gateway is {server.http_url}, with the documentation of all APIs at {server.http_url}/docs.")
        print(f"What to try in another terminal:\n\n{steps}\n\nStop the server with Ctrl-C.", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print("\nStopping the server.", flush=True)
    finally:
        server.stop()


def _prepare(client: Client, http_url: str) -> str:
    """Fills an empty store, and returns what can be tried."""
    programs = next_steps.Programs.beside(Path(sys.executable), Path.cwd())
    try:
        if next(iter(client.sources.list(page_size=1)), None) is None:
            _fill(client)
        return next_steps.lines(programs, client.target, http_url, _seen(client))
    except UnauthenticatedError:  # somebody has created an access token in this store: it is in use, and not ours
        return next_steps.lines_with_token(programs, client.target)


def _fill(client: Client) -> None:
    """Imports the run. One that does not finish is taken back, or the next start would take it for done."""
    moved = recorded_run.load().moved_to(datetime.now(UTC))
    try:
        loader.load_with_progress(client, moved, Console(file=sys.stderr))
    except BaseException:
        for source in moved.sources:
            try:
                client.sources.delete(source.source_id)
            except SourceNotFoundError:
                continue
        raise


def _seen(client: Client) -> tuple[datetime, datetime] | None:
    """Returns the first and last moment of the recorded run in the server, None when it is not there."""
    try:
        summary = client.sources.timesummary(
            recorded_run.MAIN_SOURCE, start=_BEGINNING, metrics=["sourceRecordWriteTotal"]
        )
    except SourceNotFoundError:
        return None
    written = summary["sourceRecordWriteTotal"]
    if written.first_time is None or written.last_time is None:
        return None
    return written.first_time, written.last_time


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
