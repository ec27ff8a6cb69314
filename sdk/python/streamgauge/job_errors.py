"""`client.job_errors`: the catalog of errors by which failures are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

from streamgauge import _job_codec as codec
from streamgauge._encode import enum_number
from streamgauge.enums import ErrorCategory
from streamgauge.job_results import CatalogError
from streamgauge.paging import AsyncPager, Page, Pager
from streamgauge.v1 import job_service_pb2 as pb

if TYPE_CHECKING:
    from streamgauge.v1.job_service_pb2_grpc import JobServiceAsyncStub, JobServiceStub


class ErrorFields(TypedDict, total=False):
    """What may be told of an error beside name and category; see `CatalogError`."""

    title: str
    description: str
    job_type_name: str
    should_be_retried: bool


def _create(error: str, category: ErrorCategory | str, fields: ErrorFields) -> pb.CreateErrorRequest:
    return pb.CreateErrorRequest(
        error=pb.CatalogError(error=error, category=enum_number(ErrorCategory, category), **fields)
    )


def _list(
    category: ErrorCategory | str | None, built_in_only: bool, page_size: int, page_token: str
) -> pb.ListErrorsRequest:
    return pb.ListErrorsRequest(
        category=enum_number(ErrorCategory, category),
        built_in_only=built_in_only,
        page_size=page_size,
        page_token=page_token,
    )


class JobErrors:
    """`client.job_errors`. Errors ship with the server, or are added; they are not changed and not taken away.

    Every method takes `timeout` in seconds, over all attempts, and raises a `StreamgaugeError`.
    """

    def __init__(self, stub: JobServiceStub) -> None:
        self._stub = stub

    def create(
        self,
        error: str,
        category: ErrorCategory | str,
        *,
        timeout: float | None = None,
        **fields: Unpack[ErrorFields],
    ) -> CatalogError:
        """Adds an error to the catalog. JobErrorAlreadyExistsError when the name is taken.

        Example:
            >>> client.job_errors.create("bad-header", "data", title="The file has no header")
        """
        return codec.catalog_error(self._stub.CreateError(_create(error, category, fields), timeout=timeout).error)

    def list(
        self,
        *,
        category: ErrorCategory | str | None = None,
        built_in_only: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Pager[CatalogError]:
        """Returns the errors of a category, or all, by number: the built-in ones first. Nothing is sent before use.

        `page_size` 0 is the server's default (100); `timeout` counts for each page.
        """

        def fetch(token: str) -> Page[CatalogError]:
            request = _list(category, built_in_only, page_size, token)
            return codec.errors_page(self._stub.ListErrors(request, timeout=timeout))

        return Pager(fetch, page_token)


class AsyncJobErrors:
    """`client.job_errors` of the asyncio client: the twin of `JobErrors`, with `await` and `async for`."""

    def __init__(self, stub: JobServiceAsyncStub) -> None:
        self._stub = stub

    async def create(
        self,
        error: str,
        category: ErrorCategory | str,
        *,
        timeout: float | None = None,
        **fields: Unpack[ErrorFields],
    ) -> CatalogError:
        """Adds an error to the catalog. See `JobErrors.create`."""
        request = _create(error, category, fields)
        return codec.catalog_error((await self._stub.CreateError(request, timeout=timeout)).error)

    def list(
        self,
        *,
        category: ErrorCategory | str | None = None,
        built_in_only: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPager[CatalogError]:
        """Returns the errors of a category, or all, by number. See `JobErrors.list`."""

        async def fetch(token: str) -> Page[CatalogError]:
            request = _list(category, built_in_only, page_size, token)
            return codec.errors_page(await self._stub.ListErrors(request, timeout=timeout))

        return AsyncPager(fetch, page_token)
