"""What a collector remembers of the runs that it follows on one cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamgauge_server.flink.cluster import JobSummary
from streamgauge_server.model.jobs import Job, JobRun, RunUpdate, run_of_status
from streamgauge_server.services.job_observer import speaks_after_end

LOST_AFTER = 2
"""A run that goes on is lost when a cluster that answers has not known it so many times in a row."""

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
"""Seconds before a run whose details could not be read is looked at again; the pause doubles every time."""

GIVE_UP_SECONDS = 600.0
"""For how long an ended run is looked at until all of its figures have been gathered. Then it is what it is."""


@dataclass(slots=True)
class Followed:
    """A run that goes on, or that has ended without its last figures being stored.

    `news`: something happened to it since its details were last read. `due` is when they may be read, by the monotonic
    clock. `absent` counts polls in a row in which the cluster did not know it.
    """

    job: Job
    run: JobRun
    modified_ms: int | None = None
    news: bool = True
    due: float = 0.0
    pause: float = FIRST_PAUSE
    absent: int = 0
    ended_at: float | None = None
    """When it was first seen to have ended, by the monotonic clock."""

    def seen(self, summary: JobSummary) -> None:
        """Takes note of its entry in the overview of jobs."""
        self.absent = 0
        if summary.last_modification_ms != self.modified_ms:
            self.modified_ms = summary.last_modification_ms
            self.news = True

    def stored(self, run: JobRun, refresh_seconds: float) -> None:
        """Takes over what the store has made of it. An ended run is read when the cluster's copy of it is fresh."""
        if run.ended and self.ended_at is None:
            self.ended_at = time.monotonic()
            self.due = self.ended_at + refresh_seconds
            self.pause = FIRST_PAUSE
        if run.state_text != self.run.state_text:
            self.news = True
        self.run = run

    def put_off(self) -> None:
        """Lets it be for a while after its details could not be read, each time for longer."""
        self.due = time.monotonic() + self.pause
        self.pause = min(2 * self.pause, LONGEST_PAUSE)

    @property
    def accept_incomplete(self) -> bool:
        """Whether it has ended so long ago that nothing more will be gathered of it."""
        return self.ended_at is not None and time.monotonic() - self.ended_at > GIVE_UP_SECONDS

    def absence(self, cluster: str, now: int) -> RunUpdate | None:
        """Counts a poll in which the cluster did not know it; returns what that makes of it, if anything.

        A run that goes on is lost. One that has ended was forgotten: what is stored is all that there will be.
        """
        self.absent += 1
        if self.absent < LOST_AFTER:
            return None
        if self.run.ended:
            return RunUpdate(self.job.number, self.run.run_id, now, cluster=cluster, final_figures=True)
        return RunUpdate(self.job.number, self.run.run_id, now, cluster=cluster, lost=True)


def speakers(followed: Iterable[Followed]) -> Mapping[int, JobRun]:
    """Returns the active run whose figures are those of its job, by number of the job."""
    by_job: dict[int, list[JobRun]] = {}
    for one in followed:
        if one.run.active:
            by_job.setdefault(one.job.number, []).append(one.run)
    return {job: run for job, runs in by_job.items() if (run := run_of_status(runs)) is not None}


def speaks(run: JobRun, end_time: int | None, speaker: JobRun | None) -> bool:
    """Tells whether the figures of a run are those of its job, `speaker` being its active run if there is one."""
    if speaker is None or speaker.run_id == run.run_id:
        return True
    return speaks_after_end(end_time, speaker)


def reading_order(followed: Iterable[Followed]) -> list[Followed]:
    """Returns the runs whose details may be read now: those with news first, then those that waited longest."""
    now = time.monotonic()
    due = [one for one in followed if one.due <= now and not one.absent]
    return sorted(due, key=lambda one: (not one.news, one.run.details_time or 0))
