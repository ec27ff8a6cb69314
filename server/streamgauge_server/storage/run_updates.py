"""What an update makes of a run, without the SQL."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from streamgauge_server.model.jobs import OUTCOMES, JobRun, JobState, RunUpdate

MAX_RECENT_RESTARTS = 10
"""How many times of restarts are kept."""


def first_sight(update: RunUpdate, error: int | None = None) -> JobRun:
    """Returns the run that an update makes known, without number and ordinal. Restarts before that have no times.

    `error` is the number of the update's error.
    """
    run = JobRun(
        number=0,
        run_id=update.run_id,
        ordinal=0,
        cluster=update.cluster,
        state=JobState.OTHER,
        state_text="",
        restarts=update.restarts or 0,
        observe_time=update.observe_time,
    )
    return merge(run, update, error)


def merge(run: JobRun, update: RunUpdate, error: int | None = None) -> JobRun:
    """Returns a run after an update; number, ordinal, vertices, executions and the line of error stay as they are.

    `error` is the number of the update's error.

    - What was observed before what is stored, and what contradicts a final state, is a stale read: of it only
      `history_truncated` counts.
    - Times stand once they are told, unless the update corrects them; an end only counts with a final state. Durations
      only grow, but that of a run whose ends are known is what lies between them.
    - Figures are replaced, final ones only by final ones. When restarts rise, that is when it restarted.
    - A run of which nothing else is new after its end keeps its time of observation.
    """
    if update.history_truncated and not run.history_truncated:
        run = replace(run, history_truncated=True)
    if is_stale(run, update):
        return run
    state, state_text = run.state, run.state_text
    if update.state is not None and (not run.ended or update.state != run.state):
        state, state_text = update.state, update.state_text or update.state.name
    ended = state in OUTCOMES
    known = _told_last if update.corrects else _first
    start_time = known(run.start_time, update.start_time)
    end_time = known(run.end_time, update.end_time) if ended else None
    duration = max(run.duration, update.duration or 0)
    if start_time is not None and end_time is not None:
        duration = max(0, end_time - start_time)
    merged = replace(
        run,
        cluster=run.cluster or update.cluster,
        state=state,
        state_text=state_text,
        lost=not ended and _is_lost(run, update),
        queue_time=known(run.queue_time, update.queue_time),
        start_time=start_time,
        end_time=end_time,
        duration=duration,
        final_figures=ended and (run.final_figures or update.final_figures),
        observe_time=update.observe_time,
        error_number=run.error_number if update.error is None else error,
        **_figures(run, update),
    )
    return run if run.ended and replace(merged, observe_time=run.observe_time) == run else merged


def is_stale(run: JobRun, update: RunUpdate) -> bool:
    """Tells whether an update is older than what is stored, or contradicts a final state without correcting it."""
    if update.observe_time < run.observe_time:
        return True
    contradicts = run.ended and update.state not in (None, run.state)
    return contradicts and not (update.corrects and update.state in OUTCOMES)


def takes_figures(run: JobRun, update: RunUpdate) -> bool:
    """Tells whether the figures (tasks, restarts, vertices) of an update replace those of a run."""
    return not is_stale(run, update) and (update.final_figures or not run.final_figures)


def is_change(before: JobRun | None, after: JobRun) -> bool:
    """Tells whether the log of changes has to tell of what became of a run, None if it was not known."""
    return (
        before is None
        or (before.state, before.state_text, before.lost) != (after.state, after.state_text, after.lost)
        or before.restarts < after.restarts
    )


def _is_lost(run: JobRun, update: RunUpdate) -> bool:
    if update.lost is not None:
        return update.lost
    return run.lost and update.state is None


def _figures(run: JobRun, update: RunUpdate) -> dict[str, Any]:
    """Returns the fields that the figures of an update change."""
    if update.restarts is None and update.tasks is None and not update.details:
        return {}
    if not takes_figures(run, update):
        return {}
    restarts = run.restarts if update.restarts is None else update.restarts
    recent = run.recent_restarts
    # A run on a cluster is known before its figures: what they count first happened no one knows when.
    counted = run.details_time is not None or run.restarts > 0 or not run.cluster
    if counted and restarts > run.restarts:
        news = min(restarts - run.restarts, MAX_RECENT_RESTARTS)
        recent = (*recent, *(update.observe_time,) * news)[-MAX_RECENT_RESTARTS:]
    return {
        "restarts": restarts,
        "recent_restarts": recent,
        "tasks": run.tasks if update.tasks is None else update.tasks,
        "details_time": update.observe_time if update.details else run.details_time,
    }


def _first(known: int | None, told: int | None) -> int | None:
    return told if known is None else known


def _told_last(known: int | None, told: int | None) -> int | None:
    return known if told is None else told
