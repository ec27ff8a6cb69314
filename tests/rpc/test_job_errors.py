"""The catalog of errors: the built-in ones, a tenant's own, filters and pages."""

from __future__ import annotations

from typing import Any

from grpc import StatusCode
from streamgauge.v1 import job_service_pb2 as pb

from tests.rpc.serving import Stubs, invalid, refused


async def create(stubs: Stubs, error: str = "own", **fields: Any) -> pb.CatalogError:
    fields.setdefault("category", pb.ERROR_CATEGORY_DATA)
    request = pb.CreateErrorRequest(error=pb.CatalogError(error=error, **fields))
    return (await stubs.jobs.CreateError(request)).error


async def listed(stubs: Stubs, **fields: Any) -> pb.ListErrorsResponse:
    return await stubs.jobs.ListErrors(pb.ListErrorsRequest(**fields))


async def test_an_error_is_stored_as_it_is_told_with_a_number(stubs: Stubs) -> None:
    told: dict[str, Any] = {"title": "Own", "description": "d", "job_type_name": "copy", "should_be_retried": True}
    made = await create(stubs, number=77, built_in=True, **told)
    assert made.number not in (0, 77)
    assert made == pb.CatalogError(number=made.number, error="own", category=pb.ERROR_CATEGORY_DATA, **told)
    errors = (await listed(stubs)).errors
    assert errors[-1] == made
    assert [error.built_in for error in errors] == [True] * 27 + [False]
    assert len({error.number for error in errors}) == 28


async def test_a_name_is_taken_once_also_by_built_in_errors(stubs: Stubs) -> None:
    await create(stubs)
    for name in ("own", "timeout"):
        with refused(StatusCode.ALREADY_EXISTS, "JOB_ERROR_ALREADY_EXISTS"):
            await create(stubs, name)


async def test_errors_are_filtered_and_come_in_pages(stubs: Stubs) -> None:
    for n in range(3):
        await create(stubs, f"e{n}", category=pb.ERROR_CATEGORY_ALGORITHM)
    assert (await listed(stubs, category=pb.ERROR_CATEGORY_ALGORITHM)).total_size == 8
    assert (await listed(stubs, category=pb.ERROR_CATEGORY_ALGORITHM, built_in_only=True)).total_size == 5
    assert (await listed(stubs, built_in_only=True)).total_size == 27
    assert (await listed(stubs, category=pb.ERROR_CATEGORY_DATA)).total_size == 0
    every = [error.error for error in (await listed(stubs)).errors]
    for size in (1, 7, 27, 29, 30):
        found: list[str] = []
        token = ""
        while True:
            page = await listed(stubs, page_size=size, page_token=token)
            assert page.total_size == 30
            found += [error.error for error in page.errors]
            token = page.next_page_token
            if not token:
                break
            with refused(StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH"):
                await listed(stubs, built_in_only=True, page_token=token)
        assert found == every


async def test_everything_that_is_wrong_is_told(stubs: Stubs) -> None:
    long = {"title": "t" * 256, "description": "d" * 4_097, "job_type_name": "\n"}
    with invalid() as refusal:
        await create(stubs, "a b", category=pb.ERROR_CATEGORY_UNSPECIFIED, **long)
    fields = ("error", "title", "description", "job_type_name", "category")
    assert set(refusal.violations) == {f"error.{field}" for field in fields}
    with invalid() as refusal:
        await listed(stubs, page_size=-1, category=9)
    assert set(refusal.violations) == {"page_size", "category"}
