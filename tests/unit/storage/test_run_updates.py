"""What updates make of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamgauge_server.model.jobs import OUTCOMES, JobRun, JobState, RunUpdate, TaskCounts
from streamgauge_server.storage.run_updates import first_sight, is_change, merge, takes_figures

NOW = 1_700_000_000_000_000
RUNNING = JobRun(7, "r", 3, "c", JobState.RUNNING, "RUNNING", start_time=NOW - 100, observe_time=NOW, details_time=NOW)
FINISHED = replace(RUNNING, state=JobState.FINISHED, state_text="FINISHED", end_time=NOW, duration=100)


def told(after: int = 1, **fields: object) -> RunUpdate:
    return RunUpdate(job=1, run_id="r", observe_time=NOW + after, **fields)  # type: ignore[arg-type]


def test_a_new_run_is_as_it_was_told() -> None:
    run = first_sight(
        told(cluster="c", state=JobState.RUNNING, start_time=5, duration=9, restarts=2, tasks=TaskCounts(1, 2, 3))
    )
    assert (run.number, run.ordinal, run.run_id, run.cluster, run.state_text) == (0, 0, "r", "c", "RUNNING")
    assert (run.state, run.start_time, run.duration, run.tasks) == (JobState.RUNNING, 5, 9, TaskCounts(1, 2, 3))
    assert (run.restarts, run.recent_restarts) == (2, ())
    assert run.observe_time == NOW + 1


def test_a_new_run_of_which_no_state_is_told_is_in_another_one() -> None:
    assert first_sight(told()).state == JobState.OTHER


@pytest.mark.parametrize("final", OUTCOMES)
@pytest.mark.parametrize("later", list(JobState))
def test_a_final_state_is_never_left(final: JobState, later: JobState) -> None:
    run = replace(RUNNING, state=final, state_text=final.name, end_time=NOW)
    assert merge(run, told(state=later, restarts=9, end_time=NOW + 7, lost=True)).state == final


def test_of_what_contradicts_a_final_state_nothing_is_taken() -> None:
    contradiction = told(state=JobState.RUNNING, restarts=9, tasks=TaskCounts(1), details=True, duration=10**9)
    assert merge(FINISHED, contradiction) == FINISHED
    assert not takes_figures(FINISHED, contradiction)


def test_a_run_that_has_ended_may_still_be_completed() -> None:
    run = replace(FINISHED, end_time=None, duration=40, start_time=NOW - 100)
    run = merge(run, told(end_time=NOW + 5))
    assert (run.end_time, run.duration) == (NOW + 5, 105)
    run = merge(run, told(state=JobState.FINISHED, tasks=TaskCounts(0, 4, 4), details=True, final_figures=True))
    assert (run.tasks, run.final_figures, run.details_time) == (TaskCounts(0, 4, 4), True, NOW + 1)
    assert merge(run, told(history_truncated=True)).history_truncated


def test_final_figures_give_way_to_final_ones_only() -> None:
    run = replace(FINISHED, final_figures=True, tasks=TaskCounts(0, 4, 4))
    assert merge(run, told(tasks=TaskCounts(1, 1, 1), restarts=5, details=True)) == run
    assert merge(run, told(tasks=TaskCounts(0, 5, 5), final_figures=True)).tasks == TaskCounts(0, 5, 5)


def test_figures_of_a_run_that_goes_on_are_not_final() -> None:
    assert not merge(RUNNING, told(final_figures=True)).final_figures


def test_a_run_that_has_ended_keeps_its_time_of_observation_while_nothing_is_new() -> None:
    assert merge(FINISHED, told(100, state=JobState.FINISHED)) == FINISHED
    assert merge(RUNNING, told(100, state=JobState.RUNNING)).observe_time == NOW + 100


def test_a_stale_update_changes_nothing_but_that_exceptions_are_missing() -> None:
    stale = told(-1, state=JobState.FAILED, duration=10**9, restarts=5, history_truncated=True)
    assert merge(RUNNING, stale) == replace(RUNNING, history_truncated=True)


def test_times_stand_once_they_are_told() -> None:
    run = merge(RUNNING, told(start_time=1, queue_time=2))
    assert (run.start_time, run.queue_time) == (NOW - 100, 2)
    assert merge(run, told(queue_time=1)).queue_time == 2
    assert merge(FINISHED, told(end_time=NOW + 9)).end_time == NOW


def test_an_end_counts_with_a_final_state_only() -> None:
    assert merge(RUNNING, told(end_time=NOW)).end_time is None
    ended = merge(RUNNING, told(state=JobState.FAILED, end_time=NOW))
    assert (ended.end_time, ended.duration) == (NOW, 100)


def test_a_duration_never_shrinks_while_a_run_goes_on_and_is_exact_in_the_end() -> None:
    run = merge(RUNNING, told(duration=500))
    assert merge(run, told(2, duration=400)).duration == 500
    assert merge(run, told(2, state=JobState.FINISHED, end_time=NOW)).duration == 100
    assert merge(run, told(2, state=JobState.FINISHED, end_time=NOW - 200)).duration == 0


def test_a_lost_run_is_found_by_a_state_and_not_by_silence() -> None:
    lost = merge(RUNNING, told(lost=True))
    assert (lost.lost, lost.state, lost.active) == (True, JobState.RUNNING, False)
    assert merge(lost, told(2, duration=7)).lost
    assert not merge(lost, told(2, state=JobState.RUNNING)).lost
    assert not merge(lost, told(2, lost=False)).lost
    assert not merge(lost, told(2, state=JobState.FAILED)).lost
    assert not merge(FINISHED, told(lost=True)).lost


def test_rising_restarts_have_their_times_the_last_ten_of_them() -> None:
    run = merge(RUNNING, told(1, restarts=2))
    assert (run.restarts, run.recent_restarts) == (2, (NOW + 1,) * 2)
    run = merge(run, told(2, restarts=2))
    assert run.recent_restarts == (NOW + 1,) * 2
    run = merge(run, told(3, restarts=11))
    assert run.recent_restarts == (NOW + 1, *(NOW + 3,) * 9)
    run = merge(run, told(4, restarts=10**9))
    assert run.recent_restarts == (NOW + 4,) * 10


def test_restarts_before_the_first_figures_have_no_times() -> None:
    run = replace(RUNNING, details_time=None)
    assert merge(run, told(restarts=7, details=True)).recent_restarts == ()
    assert merge(replace(run, cluster=""), told(restarts=1)).recent_restarts == (NOW + 1,)


def test_a_state_without_a_text_is_written_as_its_name() -> None:
    assert merge(RUNNING, told(state=JobState.FAILING)).state_text == "FAILING"
    assert merge(RUNNING, told(state=JobState.OTHER, state_text="MELTING")).state_text == "MELTING"


def test_what_the_log_tells_of() -> None:
    assert is_change(None, RUNNING)
    assert not is_change(RUNNING, replace(RUNNING, observe_time=NOW + 1, duration=7, tasks=TaskCounts(1)))
    assert is_change(RUNNING, replace(RUNNING, state=JobState.FAILING))
    assert is_change(RUNNING, replace(RUNNING, lost=True))
    assert is_change(RUNNING, replace(RUNNING, restarts=1))
    assert not is_change(replace(RUNNING, restarts=1), RUNNING)
    other = replace(RUNNING, state=JobState.OTHER, state_text="a")
    assert is_change(other, replace(other, state_text="b"))


@pytest.mark.parametrize("final", OUTCOMES)
def test_a_correction_replaces_the_times_and_the_final_state_of_a_run_that_has_ended(final: JobState) -> None:
    run = replace(FINISHED, queue_time=1)
    right = told(state=final, queue_time=2, start_time=NOW - 50, end_time=NOW + 7, corrects=True)
    corrected = merge(run, right)
    assert (corrected.state, corrected.state_text) == (final, final.name)
    assert (corrected.queue_time, corrected.start_time, corrected.end_time) == (2, NOW - 50, NOW + 7)
    assert corrected.duration == 57
    assert merge(run, told(start_time=NOW - 1, corrects=True)).end_time == NOW


def test_a_correction_neither_revives_a_run_nor_counts_once_it_is_stale() -> None:
    assert merge(FINISHED, told(state=JobState.RUNNING, start_time=1, corrects=True)) == FINISHED
    assert merge(FINISHED, told(-1, state=JobState.FAILED, start_time=1, corrects=True)) == FINISHED


def test_an_error_stands_until_another_one_is_told_or_it_is_taken_back() -> None:
    run = merge(FINISHED, told(error="timeout"), 7)
    assert run.error_number == 7
    assert merge(run, told(state=JobState.FINISHED)).error_number == 7
    assert merge(run, told(error="pull"), 8).error_number == 8
    assert merge(run, told(error="")).error_number is None
