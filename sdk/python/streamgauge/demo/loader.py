"""Writes the recorded run into a server, through its API as any other writer does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from streamgauge.client import Client
from streamgauge.demo.recorded_run import RecordedRun
from streamgauge.errors import SourceAlreadyExistsError
from streamgauge.v1 import metrics_service_pb2

if TYPE_CHECKING:
    from rich.console import Console

FRAMES_PER_CALL = 4
"""Few, so that progress is what the server has stored and not what was sent."""


class RunRefused(Exception):
    """The server refused a part of the run."""


def load(client: Client, run: RecordedRun, stored: Callable[[int], None] = lambda samples: None) -> int:
    """Writes sources and frames, and calls `stored` with the number of samples after each call that stored some.

    Returns the number of samples. Sources that exist are left as they are; writing the same run again changes nothing.
    Raises RunRefused, and StreamgaugeError when a call fails.
    """
    for source in run.sources:
        try:
            client.stubs.sources.CreateSource(source)
        except SourceAlreadyExistsError:
            continue
    total = 0
    for request in _requests(run):
        response = client.stubs.metrics.ImportMetrics(iter([request]))
        if response.rejected_frame_count:
            raise RunRefused(response.errors[0].message)
        total += response.accepted_sample_count
        stored(response.accepted_sample_count)
    return total


def load_with_progress(client: Client, run: RecordedRun, console: Console) -> int:
    """Does what `load` does, with a progress bar on a console. Needs the extra `cli`."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("values"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Importing the recorded run", total=run.sample_count)
        return load(client, run, lambda samples: progress.advance(task, samples))


def _requests(run: RecordedRun) -> Iterator[metrics_service_pb2.ImportMetricsRequest]:
    for start in range(0, len(run.frames), FRAMES_PER_CALL):
        yield metrics_service_pb2.ImportMetricsRequest(frames=run.frames[start : start + FRAMES_PER_CALL])
