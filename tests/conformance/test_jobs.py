"""The catalog of jobs."""

from __future__ import annotations

import asyncio

import pytest
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.jobs import Job, JobState, NewJob, RunUpdate
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage.jobs import JobFilter, page_key
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey

from tests.conformance.conftest import MAX_DAY, START, Observer, OpenStore, row_write

JID = "0123456789abcdef0123456789abcdef"
DASHED = "01234567-89ab-cdef-0123-456789abcdef"


def job_key(id: str, part: str = "") -> SubjectKey:
    return SubjectKey(SubjectName(SubjectKind.JOB, id), part)


async def create(store: Store, id: str, job_name: str = "", cluster: str = "", tenant: str = "t") -> Job:
    return await store.jobs.create(tenant, NewJob(id, job_name, cluster), limits=Limits())


async def start(
    store: Store, job: Job, run_id: str, start_time: int, state: JobState = JobState.RUNNING, tenant: str = "t"
) -> None:
    await store.job_runs.apply(
        tenant, [RunUpdate(job.number, run_id, START, cluster=job.cluster, state=state, start_time=start_time)]
    )


async def found(store: Store, text: str, tenant: str = "t") -> list[str]:
    return [job.id for job in await store.jobs.find(tenant, text)]


async def test_a_job_is_returned_as_it_was_created(store: Store) -> None:
    await store.job_types.create("t", "etl", {"type_name": "ETL"})
    new = NewJob("j", "Ström/データ 🚰", "prod", "etl", {"team": "a", "env": "x"})
    created = await store.jobs.create("t", new, limits=Limits())
    assert (created.id, created.job_name, created.cluster, created.job_type) == ("j", "Ström/データ 🚰", "prod", "etl")
    assert (created.labels, created.run) == ({"team": "a", "env": "x"}, None)
    assert (created.create_time, created.update_time) == (START, START)
    assert await store.jobs.get("t", "j") == created
    assert await store.subjects.resolve("t", [job_key("j")]) == {job_key("j"): created.number}


async def test_an_empty_job_name_is_the_id(store: Store) -> None:
    assert (await create(store, "j")).job_name == "j"
    renamed = await store.jobs.update("t", "j", {"job_name": "other"})
    assert renamed.job_name == "other"
    assert (await store.jobs.update("t", "j", {"job_name": ""})).job_name == "j"


async def test_creating_an_equal_job_again_returns_it_unchanged(store: Store, clock: FixedClock) -> None:
    new = NewJob("j", "name", "c", labels={"a": "b"})
    created = await store.jobs.create("t", new, limits=Limits())
    await start(store, created, "r", 5)
    clock.micros += 5
    again = await store.jobs.create("t", new, limits=Limits(max_subjects_per_tenant=1))
    assert (again.etag, again.update_time, again.number) == (created.etag, START, created.number)
    assert again.run is not None
    assert again.run.run_id == "r"


@pytest.mark.parametrize(
    "other",
    [
        NewJob("j", "other", "c", labels={"a": "b"}),
        NewJob("j", "name", "", labels={"a": "b"}),
        NewJob("j", "name", "c", labels={}),
        NewJob("j", "name", "c", "etl", {"a": "b"}),
    ],
)
async def test_creating_a_different_job_of_the_id_is_refused(store: Store, other: NewJob) -> None:
    await store.job_types.create("t", "etl", {"type_name": "ETL"})
    created = await store.jobs.create("t", NewJob("j", "name", "c", labels={"a": "b"}), limits=Limits())
    with pytest.raises(DomainError) as refused:
        await store.jobs.create("t", other, limits=Limits())
    assert refused.value.reason == Reason.JOB_ALREADY_EXISTS
    assert refused.value.metadata == {"name": "jobs/j"}
    assert await store.jobs.get("t", "j") == created


async def test_equal_jobs_that_are_created_at_once_in_two_servers_are_one(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    created = await asyncio.gather(*(create(stores[n % 2], "j", "name", "c") for n in range(6)))
    assert created == [created[0]] * 6


async def test_an_unknown_type_is_refused_and_leaves_no_job(store: Store) -> None:
    for call in (
        store.jobs.create("t", NewJob("j", job_type="x"), limits=Limits()),
        store.jobs.register("t", [NewJob("k"), NewJob("j", job_type="x")], limits=Limits()),
    ):
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.JOB_TYPE_NOT_FOUND
        assert refused.value.metadata == {"name": "jobTypes/x"}
    assert await store.jobs.list("t", JobFilter(), limit=10) == []
    assert await store.subjects.resolve("t", [job_key("j"), job_key("k")]) == {}


async def test_another_tenants_type_is_unknown(store: Store) -> None:
    await store.job_types.create("other", "etl", {"type_name": "ETL"})
    with pytest.raises(DomainError) as refused:
        await store.jobs.create("t", NewJob("j", job_type="etl"), limits=Limits())
    assert refused.value.reason == Reason.JOB_TYPE_NOT_FOUND


async def test_registering_creates_what_is_missing_and_leaves_the_rest_alone(store: Store) -> None:
    known = await create(store, "a", "mine", "c")
    jobs = [NewJob("a", "theirs", "d"), *(NewJob(f"j{n}", f"job {n}", "c") for n in range(1_200))]
    numbers = await store.jobs.register("t", jobs, limits=Limits())
    assert len(set(numbers.values())) == len(numbers) == 1_201
    assert await store.jobs.get("t", "a") == known
    job = await store.jobs.get("t", "j7")
    assert (job.number, job.job_name, job.cluster) == (numbers["j7"], "job 7", "c")
    assert await store.jobs.register("t", jobs, limits=Limits()) == numbers
    assert await store.jobs.register("t", [], limits=Limits()) == {}


async def test_servers_that_register_the_same_jobs_at_once_agree(open_store: OpenStore) -> None:
    stores = [await open_store() for _ in range(2)]
    jobs = [NewJob(f"j{n}", "same", "c") for n in range(30)]
    answers = await asyncio.gather(*(stores[n % 2].jobs.register("t", jobs, limits=Limits()) for n in range(4)))
    assert answers == [answers[0]] * 4


async def test_registering_beyond_the_limit_is_refused_as_a_whole(store: Store) -> None:
    with pytest.raises(DomainError) as refused:
        await store.jobs.register("t", [NewJob("a"), NewJob("b")], limits=Limits(max_subjects_per_tenant=1))
    assert refused.value.reason == Reason.SUBJECT_LIMIT
    assert await store.jobs.list("t", JobFilter(), limit=10) == []


async def test_a_job_that_was_measured_first_is_in_the_catalog(store: Store) -> None:
    await store.subjects.register("t", [job_key("j", "part")], limits=Limits())
    job = await store.jobs.get("t", "j")
    assert (job.job_name, job.cluster, job.labels, job.run) == ("j", "", {}, None)
    with pytest.raises(DomainError) as refused:
        await create(store, "j", "other")
    assert refused.value.reason == Reason.JOB_ALREADY_EXISTS


async def test_another_tenants_job_does_not_exist(store: Store) -> None:
    job = await create(store, "j", "name", "c")
    await start(store, job, JID, 5)
    for call in (
        store.jobs.get("other", "j"),
        store.jobs.update("other", "j", {"labels": {}}),
        store.jobs.delete("other", "j"),
    ):
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.JOB_NOT_FOUND
        assert refused.value.metadata == {"name": "jobs/j"}
    for text in ("j", JID, "name"):
        assert await found(store, text, "other") == []
    assert await store.jobs.list("other", JobFilter(), limit=10) == []
    assert await store.jobs.state_counts("other", JobFilter()) == {}
    assert await store.jobs.of_cluster("other", "c") == []
    theirs = await create(store, "j", tenant="other")
    assert theirs.number != job.number


async def test_an_update_changes_the_named_fields_the_etag_and_the_time(store: Store, clock: FixedClock) -> None:
    await store.job_types.create("t", "etl", {"type_name": "ETL"})
    created = await store.jobs.create("t", NewJob("j", "name", "c", labels={"k": "v"}), limits=Limits())
    await start(store, created, "r", 5)
    clock.micros += 5
    updated = await store.jobs.update("t", "j", {"job_type": "etl"}, etag=created.etag)
    assert (updated.job_name, updated.job_type, updated.cluster, updated.labels) == ("name", "etl", "c", {"k": "v"})
    assert (updated.create_time, updated.update_time) == (START, START + 5)
    assert updated.etag != created.etag
    assert updated.run is not None
    again = await store.jobs.update("t", "j", {"job_type": "", "labels": {}, "job_name": "x"})
    assert (again.job_name, again.job_type, again.labels) == ("x", "", {})
    assert await store.jobs.get("t", "j") == again
    with pytest.raises(DomainError) as refused:
        await store.jobs.update("t", "j", {"job_type": "nope"})
    assert refused.value.reason == Reason.JOB_TYPE_NOT_FOUND
    with pytest.raises(ValueError, match="cluster"):
        await store.jobs.update("t", "j", {"cluster": "d"})


async def test_a_stale_etag_is_refused_on_update_and_delete_and_runs_do_not_change_it(store: Store) -> None:
    created = await create(store, "j")
    updated = await store.jobs.update("t", "j", {"labels": {"a": "b"}})
    for call in (
        store.jobs.update("t", "j", {"labels": {}}, etag=created.etag),
        store.jobs.delete("t", "j", etag=created.etag),
    ):
        with pytest.raises(DomainError) as refused:
            await call
        assert refused.value.reason == Reason.ETAG_MISMATCH
    await start(store, updated, "r", 5)
    assert (await store.jobs.get("t", "j")).etag == updated.etag
    await store.jobs.delete("t", "j", etag=updated.etag)


async def test_a_job_is_found_by_id_then_by_its_flink_id_then_by_name(store: Store) -> None:
    by_id = await create(store, JID, "x")
    by_run = await create(store, "b", "y", "c")
    by_name = await create(store, "c", DASHED)
    await start(store, by_run, JID, 5)
    await start(store, by_name, "ffffffffffffffffffffffffffffffff", 5)
    assert await found(store, JID) == [by_id.id]
    for text in (DASHED, DASHED.upper(), JID.upper()):
        assert await found(store, text) == ["b"]
    assert await found(store, "f" * 32) == ["c"]
    await store.jobs.delete("t", "b")
    assert await found(store, DASHED) == ["c"]
    assert await found(store, "0" * 32) == []
    assert await found(store, "") == []


@pytest.mark.parametrize("name", ["a/b", " ", "ü", "🚰", "jobs/x", "%", "_", "N" * 255, "'\"\\", "0123"])
async def test_names_of_any_text_are_found_exactly(store: Store, name: str) -> None:
    await create(store, "j", name)
    await create(store, "k", name + "x")
    assert await found(store, name) == ["j"]
    assert await found(store, name.swapcase()) == (["j"] if name.swapcase() == name else [])


async def test_jobs_of_one_name_are_found_the_last_started_first(store: Store) -> None:
    for id_, started in (("a", 5), ("b", 9), ("c", None), ("d", 7)):
        job = await create(store, id_, "same", "c")
        if started is not None:
            await start(store, job, f"r{id_}", started, JobState.FINISHED)
    assert await found(store, "same") == ["b", "d", "a", "c"]


async def test_all_jobs_of_a_cluster_are_listed_by_id(store: Store) -> None:
    await store.jobs.register("t", [NewJob(f"j{n:04}", "n", "c") for n in range(1_100)], limits=Limits())
    await create(store, "x", "n", "d")
    jobs = await store.jobs.of_cluster("t", "c")
    assert [job.id for job in jobs] == [f"j{n:04}" for n in range(1_100)]
    assert {job.job_name for job in jobs} == {"n"}


async def test_pages_begin_with_the_job_that_started_last(store: Store) -> None:
    expected = []
    for n in range(12):
        job = await create(store, f"j{n:02}")
        if n % 3:
            await start(store, job, f"r{n}", 100 + n // 4)
        expected.append(((100 + n // 4) if n % 3 else 0, job.id))
    expected.sort(key=lambda key: (-key[0], key[1]))
    seen: list[tuple[int, str]] = []
    while page := await store.jobs.list("t", JobFilter(), after=seen[-1] if seen else None, limit=5):
        seen += [page_key(job) for job in page]
    assert seen == expected


async def test_filters_and_counts_agree(store: Store) -> None:
    await store.job_types.create("t", "etl", {"type_name": "ETL"})
    await store.jobs.create("t", NewJob("a", cluster="c", job_type="etl", labels={"k": "1", "l": "1"}), limits=Limits())
    await store.jobs.create("t", NewJob("b", cluster="c", labels={"k": "1"}), limits=Limits())
    await store.jobs.create("t", NewJob("d", cluster="C", job_type="etl"), limits=Limits())
    await create(store, "e", cluster="c")
    states = {"a": JobState.RUNNING, "b": JobState.FAILED, "d": JobState.RUNNING}
    for id_, state in states.items():
        await start(store, await store.jobs.get("t", id_), f"r{id_}", 5, state)
    lost = (await store.jobs.get("t", "d")).number
    await store.job_runs.apply("t", [RunUpdate(lost, "rd", START + 1, lost=True)])

    async def passing(only: JobFilter) -> list[str]:
        ids = [job.id for job in await store.jobs.list("t", only, limit=10)]
        counts = await store.jobs.state_counts("t", only)
        expected: dict[JobState | None, int] = {}
        for id_ in ids:
            expected[states.get(id_)] = expected.get(states.get(id_), 0) + 1
        assert counts == expected
        return ids

    assert await passing(JobFilter()) == ["a", "b", "d", "e"]
    assert await passing(JobFilter(active_only=True)) == ["a"]
    assert await passing(JobFilter(states=[JobState.RUNNING])) == ["a", "d"]
    assert await passing(JobFilter(states=[JobState.FAILED, JobState.QUEUED])) == ["b"]
    assert await passing(JobFilter(cluster="c")) == ["a", "b", "e"]
    assert await passing(JobFilter(job_type="etl")) == ["a", "d"]
    assert await passing(JobFilter(job_type="nope")) == []
    assert await passing(JobFilter(labels={"k": "1"})) == ["a", "b"]
    assert await passing(JobFilter(labels={"k": "1", "l": "1"}, cluster="c", states=[JobState.RUNNING])) == ["a"]


async def test_deleting_removes_everything_of_a_job_and_a_new_one_of_the_id_is_empty(observer: Observer) -> None:
    store = observer.store
    job, other = await create(store, "j", "name", "c"), await create(store, "k", "name", "c")
    for each in (job, other):
        update = RunUpdate(each.number, JID, START, cluster="c", state=JobState.RUNNING, start_time=5)
        [run] = await store.job_runs.apply("t", [update], [row_write(each.number, START, {1: 1})])
    await store.subjects.register("t", [job_key("j", "p")], limits=Limits())
    await store.jobs.delete("t", "j")
    assert await found(store, JID) == ["k"]
    assert await store.job_runs.of_job(job.number, limit=10) == []
    assert [number for number, _ in await store.job_runs.active("t", "c")] == [other.number]
    assert [change.job_id for change in await store.job_runs.changes("t", 0, 10)] == ["k"]
    loaded = await store.blocks.load([job.number, other.number], 0, MAX_DAY, summaries=False)
    assert [len(loaded[each.number]) for each in (job, other)] == [0, 1]
    with pytest.raises(DomainError) as refused:
        await store.jobs.delete("t", "j")
    assert refused.value.reason == Reason.JOB_NOT_FOUND

    again = await create(store, "j", "name", "c")
    assert (again.run, again.number != job.number, again.etag != job.etag) == (None, True, True)
    [first] = await store.job_runs.apply("t", [RunUpdate(again.number, JID, START, state=JobState.RUNNING)])
    assert (first.ordinal, first.number != run.number) == (1, True)
    assert await observer.samples(again.number) == {}


async def test_jobs_count_towards_the_limit_until_they_are_deleted(store: Store) -> None:
    limits = Limits(max_subjects_per_tenant=1)
    await store.jobs.create("t", NewJob("a"), limits=limits)
    with pytest.raises(DomainError) as refused:
        await store.jobs.create("t", NewJob("b"), limits=limits)
    assert refused.value.reason == Reason.SUBJECT_LIMIT
    await store.jobs.delete("t", "a")
    await store.jobs.create("t", NewJob("b"), limits=limits)
