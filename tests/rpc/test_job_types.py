"""Job types: registered, read, listed and changed."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from streamgauge.v1 import job_service_pb2 as pb
from streamgauge_server.model.clock import FixedClock

from tests.rpc.messages import NOW, SECOND, micros
from tests.rpc.serving import Stubs, invalid, refused
from tests.rpc.test_sources import damaged


async def create(stubs: Stubs, id_: str = "etl", **fields: Any) -> pb.JobType:
    fields.setdefault("type_name", id_)
    request = pb.CreateJobTypeRequest(job_type_id=id_, job_type=pb.JobType(**fields))
    return (await stubs.jobs.CreateJobType(request)).job_type


async def update(stubs: Stubs, message: pb.JobType, *paths: str) -> pb.JobType:
    request = pb.UpdateJobTypeRequest(job_type=message, update_mask=FieldMask(paths=paths))
    return (await stubs.jobs.UpdateJobType(request)).job_type


async def listed(stubs: Stubs, **fields: Any) -> list[str]:
    answer = await stubs.jobs.ListJobTypes(pb.ListJobTypesRequest(**fields))
    return [one.name.removeprefix("jobTypes/") for one in answer.job_types]


async def test_a_type_is_returned_as_it_was_registered(stubs: Stubs) -> None:
    texts = {
        "type_name": "ETL",
        "version": "1.2",
        "title": "Загрузка 🚰",
        "description": "d",
        "category": "c",
        "author_name": "n",
        "author_url": "https://example.org/",
        "icon_code": "f0e4",
        "unmet_resources": "gpu",
    }
    flags: dict[str, Any] = {
        "is_active": False,
        "is_system": True,
        "is_paused": True,
        "is_published": True,
        "is_long_running": True,
        "is_operational": False,
    }
    created = await create(stubs, **texts, **flags)
    assert {name: getattr(created, name) for name in texts} == texts
    assert {name: getattr(created, name) for name in flags} == flags
    assert created.number > 0
    assert (micros(created.create_time), micros(created.update_time)) == (NOW, NOW)
    assert (await stubs.jobs.GetJobType(pb.GetJobTypeRequest(name="jobTypes/etl"))).job_type == created


async def test_a_type_is_active_and_operational_unless_told_otherwise(stubs: Stubs) -> None:
    created = await create(stubs)
    assert (created.is_active, created.is_operational, created.is_system) == (True, True, False)
    changed = await update(stubs, pb.JobType(name="jobTypes/etl", is_active=False), "is_active")
    assert not changed.is_active
    assert (await update(stubs, pb.JobType(name="jobTypes/etl"), "is_active")).is_active


async def test_an_id_and_a_name_with_its_version_are_taken_once(stubs: Stubs) -> None:
    await create(stubs, "a", type_name="ETL", version="1")
    await create(stubs, "b", type_name="ETL", version="2")
    for id_, version in (("a", "3"), ("c", "1")):
        with refused(StatusCode.ALREADY_EXISTS, "JOB_TYPE_ALREADY_EXISTS") as refusal:
            await create(stubs, id_, type_name="ETL", version=version)
        assert refusal.metadata["name"] == "jobTypes/a"
    with refused(StatusCode.ALREADY_EXISTS, "JOB_TYPE_ALREADY_EXISTS"):
        await update(stubs, pb.JobType(name="jobTypes/b", version="1"), "version")


async def test_all_that_is_wrong_is_told_at_once(stubs: Stubs) -> None:
    with invalid() as refusal:
        await create(stubs, "a b", type_name="", version="x" * 65, title="\n", icon_code="表" * 22)
    assert refusal.violations == {
        "job_type_id": "must have 1 to 128 characters out of letters, digits, '.', '_', '~' and '-'",
        "job_type.type_name": "must not be empty",
        "job_type.version": "must have at most 64 bytes, has 65",
        "job_type.title": "must not hold control characters",
        "job_type.icon_code": "must have at most 64 bytes, has 66",
    }
    await create(stubs)
    with invalid() as refusal:
        await update(stubs, pb.JobType(name="etl"), "type_name", "number", "name")
    assert set(refusal.violations) == {
        *("job_type.name", "update_mask.paths[1]", "update_mask.paths[2]", "job_type.type_name"),
    }
    for name in ("", "etl", "jobTypes/", "jobTypes/a/b"):
        with invalid() as refusal:
            await stubs.jobs.GetJobType(pb.GetJobTypeRequest(name=name))
        assert list(refusal.violations) == ["name"]
    with refused(StatusCode.NOT_FOUND, "JOB_TYPE_NOT_FOUND"):
        await stubs.jobs.GetJobType(pb.GetJobTypeRequest(name="jobTypes/none"))


async def test_masked_fields_change_and_the_etag_with_them(stubs: Stubs, clock: FixedClock) -> None:
    before = await create(stubs, title="old", category="c")
    clock.micros += SECOND
    after = await update(stubs, pb.JobType(name=before.name, title="new", etag=before.etag), "title")
    assert (after.title, after.category, after.type_name) == ("new", "c", "etl")
    assert micros(after.update_time) == NOW + SECOND
    with refused(StatusCode.ABORTED, "ETAG_MISMATCH") as refusal:
        await update(stubs, pb.JobType(name=before.name, title="newer", etag=before.etag), "title")
    assert refusal.metadata["etag"] == after.etag


async def test_pages_and_filters(stubs: Stubs) -> None:
    for id_, name, version, active in (("a", "x", "1", True), ("b", "x", "2", False), ("c", "y", "1", True)):
        await create(stubs, id_, type_name=name, version=version, is_active=active)
    assert await listed(stubs) == ["a", "b", "c"]
    assert await listed(stubs, type_name="x") == ["a", "b"]
    assert await listed(stubs, type_name="x", version="2") == ["b"]
    assert await listed(stubs, active_only=True) == ["a", "c"]
    answer = await stubs.jobs.ListJobTypes(pb.ListJobTypesRequest(page_size=2, version=""))
    assert (answer.total_size, len(answer.job_types)) == (3, 2)
    assert await listed(stubs, page_token=answer.next_page_token) == ["c"]
    for bad in damaged(answer.next_page_token):
        with invalid("PAGE_TOKEN_MISMATCH"):
            await listed(stubs, page_token=bad)
    with invalid("PAGE_TOKEN_MISMATCH"):
        await listed(stubs, page_token=answer.next_page_token, type_name="x")
    with invalid() as refusal:
        await listed(stubs, page_size=-1, type_name="\n", version="x" * 65)
    assert set(refusal.violations) == {"page_size", "type_name", "version"}
