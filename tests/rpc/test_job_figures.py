"""The figures of jobs: what runs and executions count, when, and how corrections move them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from streamgauge.v1 import job_service_pb2 as jobs
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.jobs import JobState, RunUpdate

from tests.rpc.figure_messages import by_choice, figures, plotted, points, totals
from tests.rpc.job_messages import create, report, tell
from tests.rpc.messages import DAY, HOUR, MINUTE, NOW, SECOND, TODAY, stamp
from tests.rpc.serving import Stubs, invalid

COUNTS = ("completed_count", "failed_count", "canceled_count", "total_count")
ERRORS = ("error_system_count", "error_data_count", "error_algorithm_count")
PARTS = ("sum", "min", "max", "avg")


@pytest.fixture
async def numbers(stubs: Stubs) -> Mapping[str, int]:
    """Numbers of the job types `copy`, of jobs `a` and `b`, and `sort`, of job `c`."""
    found: dict[str, int] = {}
    for name in ("copy", "sort"):
        request = jobs.CreateJobTypeRequest(job_type_id=name, job_type=jobs.JobType(type_name=name, version="1"))
        found[name] = (await stubs.jobs.CreateJobType(request)).job_type.number
    for job, job_type in (("a", "copy"), ("b", "copy"), ("c", "sort")):
        await create(stubs, job, job_type=f"jobTypes/{job_type}")
    return found


def ended(
    run: str, state: str = "FINISHED", *, job: str = "a", end: int = NOW, start: int | None = None, **fields: Any
) -> jobs.JobReport:
    """A report of a run that ended; it took a minute unless said otherwise."""
    start_time = end - MINUTE if start is None else start
    return report(f"jobs/{job}", state, run_id=run, start_time=start_time, end_time=end, **fields)


def execution(
    id: str,
    outcome: str = "COMPLETED",
    *,
    end: int = NOW,
    start: int | None = None,
    queued: int | None = None,
    tasks: Any = (),
    error: str = "",
) -> jobs.JobExecution:
    """An execution; tasks are kinds with their lengths, None for one without an end."""
    message = jobs.JobExecution(
        execution_id=id, outcome=jobs.JobOutcome.Value(f"JOB_OUTCOME_{outcome}"), end_time=stamp(end), error=error
    )
    if start is not None:
        message.start_time.CopyFrom(stamp(start))
    if queued is not None:
        message.queue_time.CopyFrom(stamp(queued))
    for kind, length in tasks:
        task = message.tasks.add(kind=jobs.TaskKind.Value(f"TASK_KIND_{kind}"))
        task.start_time.CopyFrom(stamp(end - HOUR))
        if length is not None:
            task.end_time.CopyFrom(stamp(end - HOUR + length))
    return message


async def measured(stubs: Stubs, measure: str) -> list[Any]:
    """Returns sum, smallest, largest and mean over everything."""
    found = await totals(stubs, "job-types", groups=[measure])
    assert list(found) == [f"{measure}_{part}" for part in PARTS]
    return list(found.values())


@pytest.mark.usefixtures("numbers")
async def test_runs_count_by_their_outcome_in_the_hour_of_their_end(stubs: Stubs) -> None:
    await tell(
        stubs,
        ended("1"),
        ended("2", job="b"),
        ended("3", "FAILED", job="c"),
        ended("4", "CANCELED"),
        ended("5", "FAILED", end=NOW - 1, start=NOW - DAY),
        report("jobs/a", "RUNNING", run_id="6", start_time=NOW - HOUR),
    )
    earlier = NOW - HOUR
    assert await figures(stubs, "job-types", *COUNTS) == {
        "completed_count": [(earlier, 0), (NOW, 2)],
        "failed_count": [(earlier, 1), (NOW, 1)],
        "canceled_count": [(earlier, 0), (NOW, 1)],
        "total_count": [(earlier, 1), (NOW, 4)],
    }


async def test_each_job_type_has_figures_of_its_own(stubs: Stubs, numbers: Mapping[str, int]) -> None:
    await tell(stubs, ended("1"), ended("2", job="b"), ended("3", job="c"))
    copy, sort = numbers["copy"], numbers["sort"]
    series = await plotted(stubs, "job-types", "total_count", choices=[sort, copy, 999])
    assert by_choice(series["total_count"]) == sorted([(NOW, copy, 2), (NOW, sort, 1)])
    assert series["total_count"].total.int64_value == 3
    only = await plotted(stubs, "job-types", "total_count", choices=[sort])
    assert by_choice(only["total_count"]) == [(NOW, sort, 1)]
    none = await plotted(stubs, "job-types", "total_count", choices=[0, 999, -5])
    assert by_choice(none["total_count"]) == []


@pytest.mark.usefixtures("numbers")
async def test_jobs_without_a_type_do_not_count_until_they_have_one(stubs: Stubs) -> None:
    await create(stubs, "loose")
    await tell(stubs, ended("1", job="loose", executions=[execution("x", start=NOW - 2 * SECOND)]))
    assert await totals(stubs, "job-types", "total_count", "run_time_sum") == {
        "total_count": None,
        "run_time_sum": None,
    }
    change = jobs.UpdateJobRequest(job=jobs.Job(name="jobs/loose", job_type="jobTypes/sort"))
    change.update_mask.paths.append("job_type")
    await stubs.jobs.UpdateJob(change)
    assert await totals(stubs, "job-types", "total_count", "run_time_sum") == {"total_count": 1, "run_time_sum": 2}


@pytest.mark.usefixtures("numbers")
async def test_errors_are_split_by_category_whatever_the_outcome(stubs: Stubs) -> None:
    await stubs.jobs.CreateError(
        jobs.CreateErrorRequest(error=jobs.CatalogError(error="bad-rows", category=jobs.ERROR_CATEGORY_DATA))
    )
    await tell(
        stubs,
        ended("1", "FAILED", error="node-lost"),
        ended("2", "CANCELED", error="timeout"),
        ended("3", "FINISHED", error="bad-rows"),
        ended("4", "FAILED", error="bad-rows"),
        ended("5", "FAILED"),
    )
    found = await totals(stubs, "job-types", groups=["errors"])
    assert found == dict(zip(ERRORS, (1, 2, 1), strict=True))


@pytest.mark.usefixtures("numbers")
async def test_times_are_of_completed_executions_in_the_hour_of_their_own_end(stubs: Stubs) -> None:
    late = NOW - 2 * HOUR
    await tell(
        stubs,
        ended(
            "1",
            executions=[
                execution("x", start=late - 10 * SECOND, end=late),
                execution("y", start=NOW - 20 * SECOND),
                execution("z", "FAILED", start=NOW - HOUR),
                execution("w", "CANCELED", start=NOW - HOUR),
            ],
        ),
    )
    found = await figures(stubs, "job-types", "total_count", "run_time_sum", "run_time_avg")
    assert found["total_count"] == [(late, 0), (NOW, 1)]
    assert found["run_time_sum"] == found["run_time_avg"] == [(late, 10), (NOW, 20)]


@pytest.mark.usefixtures("numbers")
async def test_an_execution_of_a_run_that_goes_on_is_measured(stubs: Stubs) -> None:
    going = report("jobs/a", "RUNNING", run_id="1", executions=[execution("x", start=NOW - 3 * SECOND)])
    await tell(stubs, going)
    assert await totals(stubs, "job-types", "total_count", "run_time_sum") == {"total_count": 0, "run_time_sum": 3}


@pytest.mark.usefixtures("numbers")
async def test_a_run_without_executions_stands_for_one(stubs: Stubs) -> None:
    await tell(
        stubs,
        ended("1", start=NOW - 30 * SECOND, queue_time=NOW - 35 * SECOND),
        ended("2", start=NOW - 10 * SECOND),
        ended("3", "FAILED", start=NOW - HOUR, queue_time=NOW - 2 * HOUR),
    )
    assert await measured(stubs, "run_time") == [40, 10, 30, 20]
    assert await measured(stubs, "queue_time") == [5, 5, 5, 5]
    for measure in ("pre_time", "job_time", "post_time", "stage_time"):
        assert await measured(stubs, measure) == [None] * 4


@pytest.mark.usefixtures("numbers")
async def test_executions_that_come_later_replace_what_their_run_stood_for(stubs: Stubs) -> None:
    await tell(stubs, ended("1", start=NOW - 30 * SECOND))
    await tell(stubs, ended("1", start=NOW - 30 * SECOND, executions=[execution("x", start=NOW - 7 * SECOND)]))
    assert await measured(stubs, "run_time") == [7, 7, 7, 7]
    assert (await totals(stubs, "job-types", "total_count"))["total_count"] == 1


@pytest.mark.usefixtures("numbers")
async def test_the_first_task_of_a_kind_counts_and_what_no_task_accounts_for_is_stage_time(stubs: Stubs) -> None:
    tasks = [
        ("PULL", 4 * SECOND),
        ("PRE", 5 * SECOND),
        ("MAIN", 60 * SECOND),
        ("MAIN", 600 * SECOND),
        ("POST", 6 * SECOND),
        ("PULL", 9 * SECOND),
    ]
    await tell(stubs, ended("1", executions=[execution("x", start=NOW - 100 * SECOND, tasks=tasks)]))
    assert await measured(stubs, "pre_time") == [5] * 4
    assert await measured(stubs, "job_time") == [60] * 4
    assert await measured(stubs, "post_time") == [6] * 4
    assert await measured(stubs, "run_time") == [100] * 4
    assert await measured(stubs, "stage_time") == [100 - 4 - 5 - 60 - 6] * 4


@pytest.mark.usefixtures("numbers")
async def test_missing_tasks_are_no_measurement_and_take_no_time(stubs: Stubs) -> None:
    first = execution("x", start=NOW - 50 * SECOND, tasks=[("MAIN", 20 * SECOND), ("POST", None)])
    second = execution("y", start=NOW - 10 * SECOND)
    await tell(stubs, ended("1", executions=[first, second]))
    assert await measured(stubs, "pre_time") == [None] * 4
    assert await measured(stubs, "post_time") == [None] * 4
    assert await measured(stubs, "job_time") == [20] * 4
    assert await measured(stubs, "stage_time") == [40, 10, 30, 20]
    assert await measured(stubs, "queue_time") == [None] * 4


@pytest.mark.usefixtures("numbers")
async def test_tasks_are_measured_without_the_start_of_the_execution(stubs: Stubs) -> None:
    await tell(stubs, ended("1", executions=[execution("x", tasks=[("PRE", 3 * SECOND), ("MAIN", 8 * SECOND)])]))
    assert await measured(stubs, "pre_time") == [3] * 4
    assert await measured(stubs, "job_time") == [8] * 4
    for measure in ("run_time", "stage_time", "queue_time"):
        assert await measured(stubs, measure) == [None] * 4


@pytest.mark.usefixtures("numbers")
async def test_zero_is_a_length_and_a_minimum_whatever_comes_after(stubs: Stubs) -> None:
    for number, wait in enumerate((0, 7, 3)):
        one = execution(str(number), queued=NOW - wait * SECOND, start=NOW, tasks=[("PRE", wait * SECOND)])
        await tell(stubs, ended(str(number), executions=[one]))
    assert await measured(stubs, "queue_time") == [10, 0, 7, 3]
    assert await measured(stubs, "pre_time") == [10, 0, 7, 3]
    assert await measured(stubs, "run_time") == [0, 0, 0, 0]


@pytest.mark.usefixtures("numbers")
async def test_negative_lengths_are_zero(stubs: Stubs) -> None:
    backwards = execution(
        "x", queued=NOW + 5 * MINUTE, start=NOW + MINUTE, end=NOW, tasks=[("PRE", -3 * SECOND), ("MAIN", 2 * SECOND)]
    )
    await tell(stubs, ended("1", executions=[backwards]))
    for measure in ("queue_time", "pre_time", "run_time", "stage_time"):
        assert await measured(stubs, measure) == [0, 0, 0, 0]
    assert await measured(stubs, "job_time") == [2, 2, 2, 2]


@pytest.mark.usefixtures("numbers")
async def test_values_are_cut_towards_zero_only_at_the_very_end(stubs: Stubs) -> None:
    waits = [execution(str(n), queued=NOW - wait, start=NOW) for n, wait in enumerate((1_900_000, 1_800_000))]
    await tell(stubs, ended("1", executions=waits))
    assert await measured(stubs, "queue_time") == [3, 1, 1, 1]


async def test_averages_over_choices_and_hours_weigh_every_execution_alike(
    stubs: Stubs, numbers: Mapping[str, int]
) -> None:
    quick = [execution(str(n), start=NOW - 10 * SECOND) for n in range(9)]
    slow = [execution("s", start=NOW - 110 * SECOND)]
    early = [execution("e", start=TODAY - 31 * SECOND, end=TODAY)]
    await tell(stubs, ended("1", executions=quick), ended("2", job="c", executions=slow))
    await tell(stubs, ended("3", executions=early))
    hours = await figures(stubs, "job-types", "run_time_avg")
    assert hours == {"run_time_avg": [(TODAY, 31), (NOW, 20)]}
    assert await figures(stubs, "job-types", "run_time_avg", every="DAY") == {"run_time_avg": [(TODAY, 21)]}
    apart = await plotted(stubs, "job-types", "run_time_avg", choices=[numbers["copy"], numbers["sort"]], every="DAY")
    assert by_choice(apart["run_time_avg"]) == sorted([(TODAY, numbers["copy"], 12), (TODAY, numbers["sort"], 110)])
    assert apart["run_time_avg"].total.int64_value == 21


@pytest.mark.usefixtures("numbers")
async def test_the_largest_stage_time_is_the_largest(stubs: Stubs) -> None:
    await tell(stubs, ended("1", executions=[execution("x", start=NOW - 10 * SECOND)]))
    await tell(stubs, ended("2", job="c", executions=[execution("x", start=NOW - 30 * SECOND)]))
    assert points((await plotted(stubs, "job-types", "stage_time_max"))["stage_time_max"]) == [(NOW, 30)]


@pytest.mark.usefixtures("numbers")
async def test_errors_count_per_execution_whatever_its_outcome(stubs: Stubs) -> None:
    custom = jobs.CatalogError(error="own", category=jobs.ERROR_CATEGORY_DATA)
    await stubs.jobs.CreateError(jobs.CreateErrorRequest(error=custom))
    tries = [
        execution("1", "FAILED", error="node-lost", end=NOW - HOUR),
        execution("2", "FAILED", error="node-lost"),
        execution("3", "CANCELED", error="timeout"),
        execution("4", "COMPLETED", error="timeout"),
        execution("5", "FAILED", error="own"),
    ]
    await create(stubs, "untyped")
    await tell(
        stubs,
        ended("1", "FAILED", error="database", executions=tries),
        ended("2", "FAILED", error="database"),
        ended("3", "CANCELED", error="database"),
        ended("4", "FAILED", job="untyped", error="missing-file"),
    )
    listed = (await stubs.jobs.ListErrors(jobs.ListErrorsRequest())).errors
    number = {error.error: error.number for error in listed}
    every = await figures(stubs, "errors")
    assert every == {"total_count": [(NOW - HOUR, 1), (NOW, 5)]}
    apart = await plotted(stubs, "errors", "total_count", choices=sorted(number.values()))
    assert by_choice(apart["total_count"]) == sorted(
        [
            (NOW - HOUR, number["node-lost"], 1),
            (NOW, number["node-lost"], 1),
            (NOW, number["timeout"], 2),
            (NOW, number["database"], 1),
            (NOW, number["missing-file"], 1),
        ]
    )


@pytest.mark.usefixtures("numbers")
async def test_a_report_that_comes_twice_changes_nothing(stubs: Stubs, clock: FixedClock) -> None:
    one = ended("1", "FAILED", error="timeout", executions=[execution("x", start=NOW - SECOND, error="timeout")])
    await tell(stubs, one)
    before = [await plotted(stubs, name) for name in ("job-types", "errors")]
    clock.micros += MINUTE
    await tell(stubs, one)
    assert [await plotted(stubs, name) for name in ("job-types", "errors")] == before


@pytest.mark.usefixtures("numbers")
async def test_a_correction_moves_a_run_to_another_hour(stubs: Stubs) -> None:
    await tell(stubs, ended("1", end=NOW - HOUR, start=NOW - 2 * HOUR), ended("2", end=NOW - HOUR))
    await tell(stubs, ended("1", end=NOW - 30 * HOUR, start=NOW - 31 * HOUR - 5 * SECOND))
    assert await figures(stubs, "job-types", "completed_count", "run_time_sum") == {
        "completed_count": [(NOW - 30 * HOUR, 1), (NOW - HOUR, 1)],
        "run_time_sum": [(NOW - 30 * HOUR, 3605), (NOW - HOUR, 60)],
    }
    assert await figures(stubs, "job-types", "total_count", every="DAY") == {
        "total_count": [(TODAY - DAY, 1), (TODAY, 1)]
    }


@pytest.mark.usefixtures("numbers")
async def test_a_correction_changes_an_error_or_takes_it_back(stubs: Stubs) -> None:
    await tell(stubs, ended("1", "FAILED", error="node-lost"), ended("2", "FAILED", error="node-lost"))
    await tell(stubs, ended("1", "FAILED", error="timeout"))
    assert await totals(stubs, "job-types", groups=["errors"]) == dict(zip(ERRORS, (1, 0, 1), strict=True))
    await tell(stubs, ended("1", "FAILED"), ended("2", "FAILED", error=""))
    assert await totals(stubs, "job-types", groups=["errors"]) == dict(zip(ERRORS, (0, 0, 1), strict=True))
    assert await totals(stubs, "errors") == {"total_count": 1}


@pytest.mark.usefixtures("numbers")
async def test_a_correction_replaces_an_execution(stubs: Stubs) -> None:
    await tell(stubs, ended("1", executions=[execution("x", start=NOW - 9 * SECOND), execution("y", start=NOW)]))
    await tell(stubs, ended("1", executions=[execution("x", start=NOW - HOUR - 4 * SECOND, end=NOW - HOUR)]))
    assert await figures(stubs, "job-types", "run_time_sum", "run_time_max") == {
        "run_time_sum": [(NOW - HOUR, 4), (NOW, 0)],
        "run_time_max": [(NOW - HOUR, 4), (NOW, 0)],
    }


@pytest.mark.usefixtures("numbers")
async def test_a_deleted_job_leaves_the_figures_of_its_type_as_they_are_recalculated(stubs: Stubs) -> None:
    await tell(stubs, ended("1"), ended("2", job="c"))
    await stubs.jobs.DeleteJob(jobs.DeleteJobRequest(job="jobs/a"))
    assert await totals(stubs, "job-types", "total_count") == {"total_count": 1}


async def test_runs_of_a_cluster_count_as_they_end(stubs: Stubs, numbers: Mapping[str, int]) -> None:
    await create(stubs, "flink", cluster="prod", job_type="jobTypes/sort")
    assert stubs.app is not None
    assert stubs.app.store is not None
    store = stubs.app.store
    number = (await store.jobs.get("default", "flink")).number

    async def seen(state: JobState, end: int | None) -> None:
        update = RunUpdate(
            number, "f" * 32, NOW, cluster="prod", state=state, start_time=NOW - 90 * SECOND, end_time=end
        )
        await store.job_runs.apply("default", [update])

    await seen(JobState.RUNNING, None)
    assert await totals(stubs, "job-types", "total_count") == {"total_count": None}
    for _ in range(2):
        await seen(JobState.FINISHED, NOW - 5 * SECOND)
        found = await plotted(stubs, "job-types", "completed_count", "run_time_sum", choices=[numbers["sort"]])
        assert by_choice(found["completed_count"]) == [(NOW - HOUR, numbers["sort"], 1)]
        assert by_choice(found["run_time_sum"]) == [(NOW - HOUR, numbers["sort"], 85)]


async def test_a_job_that_a_report_registers_counts_by_the_type_that_it_names(
    stubs: Stubs, numbers: Mapping[str, int]
) -> None:
    typed = report("new one", "FINISHED", run_id="1", end_time=NOW, start_time=NOW, job_type="jobTypes/copy")
    await tell(stubs, typed, report("another", "FINISHED", run_id="1", end_time=NOW, start_time=NOW))
    found = await plotted(stubs, "job-types", "total_count", choices=list(numbers.values()))
    assert by_choice(found["total_count"]) == [(NOW, numbers["copy"], 1)]


async def test_reports_at_the_same_time_all_count(stubs: Stubs, numbers: Mapping[str, int]) -> None:
    some = [
        [ended(f"{n}-{m}", job="abc"[m % 3], end=NOW - m % 2 * HOUR, error="timeout") for m in range(6)]
        for n in range(10)
    ]
    await asyncio.gather(*(tell(stubs, *reports) for reports in some))
    assert await figures(stubs, "job-types", "completed_count", "error_algorithm_count") == {
        "completed_count": [(NOW - HOUR, 30), (NOW, 30)],
        "error_algorithm_count": [(NOW - HOUR, 30), (NOW, 30)],
    }
    apart = await plotted(stubs, "job-types", "total_count", choices=list(numbers.values()), every="DAY")
    assert by_choice(apart["total_count"]) == sorted([(TODAY, numbers["copy"], 40), (TODAY, numbers["sort"], 20)])


async def test_unknown_errors_and_bad_executions_are_told_at_once(stubs: Stubs) -> None:
    good = execution("x", error="no-such")
    with_error = ended("1", "FAILED", error="nothing", executions=[good])
    with invalid() as refusal:
        await tell(stubs, ended("0"), with_error)
    assert set(refusal.violations) == {"reports[1].error", "reports[1].executions[0].error"}
    bad = jobs.JobExecution(execution_id="a\nb", tasks=[jobs.ExecutionTask()])
    bad.start_time.CopyFrom(stamp(NOW + DAY))
    twice = [execution("t"), execution("t"), bad]
    many = [execution(str(n)) for n in range(101)]
    with invalid() as refusal:
        await tell(stubs, ended("1", executions=twice), ended("2", executions=many))
    assert set(refusal.violations) == {
        "reports[0].executions[1].execution_id",
        "reports[0].executions[2].execution_id",
        "reports[0].executions[2].outcome",
        "reports[0].executions[2].start_time",
        "reports[0].executions[2].end_time",
        "reports[0].executions[2].tasks[0].kind",
        "reports[1].executions",
    }
    assert await figures(stubs, "job-types", "total_count") == {"total_count": []}
