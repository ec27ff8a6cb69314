"""`client.job_types`: the kinds of jobs, by which their runs are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

from google.protobuf.field_mask_pb2 import FieldMask

from streamgauge import _job_codec as codec
from streamgauge.job_results import JobType
from streamgauge.names import job_type_name
from streamgauge.paging import AsyncPager, Page, Pager
from streamgauge.v1 import job_service_pb2 as pb

if TYPE_CHECKING:
    from streamgauge.v1.job_service_pb2_grpc import JobServiceAsyncStub, JobServiceStub


class JobTypeFields(TypedDict, total=False):
    """What may be told of a job type; what is not given stays, or is the server's default.

    `version` is unique together with the type name. `title`, `description`, `category`, `author_name`, `author_url`,
    `icon_code`: for people. `is_active`: it may be run (default true). `is_system`: it belongs to the system itself.
    `is_paused`: new runs are held back. `is_published`: it is offered to users. `is_long_running`: its runs go on
    without an end. `is_operational`: its work matters to operations (default true). `unmet_resources`: what it needs
    and no node has.
    """

    version: str
    title: str
    description: str
    category: str
    author_name: str
    author_url: str
    is_active: bool
    is_system: bool
    is_paused: bool
    is_published: bool
    is_long_running: bool
    is_operational: bool
    icon_code: str
    unmet_resources: str


class JobTypeChanges(JobTypeFields, total=False):
    """What may be changed of a job type. `etag`: only if it has not changed since this was read."""

    type_name: str
    etag: str


def _create(job_type_id: str, type_name: str, fields: JobTypeFields) -> pb.CreateJobTypeRequest:
    return pb.CreateJobTypeRequest(job_type_id=job_type_id, job_type=pb.JobType(type_name=type_name, **fields))


def _list(type_name: str, version: str, active_only: bool, page_size: int, page_token: str) -> pb.ListJobTypesRequest:
    return pb.ListJobTypesRequest(
        type_name=type_name, version=version, active_only=active_only, page_size=page_size, page_token=page_token
    )


def _update(job_type: str, changes: JobTypeChanges) -> pb.UpdateJobTypeRequest:
    paths = [name for name in changes if name != "etag"]
    if not paths:  # an empty mask would mean every field
        raise ValueError("give a field to change")
    message = pb.JobType(name=job_type_name(job_type), **changes)
    return pb.UpdateJobTypeRequest(job_type=message, update_mask=FieldMask(paths=paths))


class JobTypes:
    """`client.job_types`. A job type is named by its id (`load`) or its resource name (`jobTypes/load`).

    Every method takes `timeout` in seconds, over all attempts, and raises a `StreamgaugeError`.
    """

    def __init__(self, stub: JobServiceStub) -> None:
        self._stub = stub

    def create(
        self, job_type_id: str, type_name: str, *, timeout: float | None = None, **fields: Unpack[JobTypeFields]
    ) -> JobType:
        """Registers a job type; see `JobTypeFields`. JobTypeAlreadyExistsError when id, or name and version, are taken.

        Example:
            >>> client.job_types.create("load-v2", "Load", version="2", title="Nightly load", is_published=True)
        """
        request = _create(job_type_id, type_name, fields)
        return codec.job_type(self._stub.CreateJobType(request, timeout=timeout).job_type)

    def get(self, job_type: str, *, timeout: float | None = None) -> JobType:
        """Returns a job type. JobTypeNotFoundError when there is none."""
        request = pb.GetJobTypeRequest(name=job_type_name(job_type))
        return codec.job_type(self._stub.GetJobType(request, timeout=timeout).job_type)

    def list(
        self,
        *,
        type_name: str = "",
        version: str = "",
        active_only: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> Pager[JobType]:
        """Returns the job types of a type name and version, those that may be run, by id. Nothing is sent before use.

        `page_size` 0 is the server's default; `timeout` counts for each page.
        """

        def fetch(token: str) -> Page[JobType]:
            request = _list(type_name, version, active_only, page_size, token)
            return codec.job_types_page(self._stub.ListJobTypes(request, timeout=timeout))

        return Pager(fetch, page_token)

    def update(self, job_type: str, *, timeout: float | None = None, **changes: Unpack[JobTypeChanges]) -> JobType:
        """Changes what is given of a job type. JobTypeNotFoundError, JobTypeAlreadyExistsError, EtagMismatchError."""
        request = _update(job_type, changes)
        return codec.job_type(self._stub.UpdateJobType(request, timeout=timeout).job_type)


class AsyncJobTypes:
    """`client.job_types` of the asyncio client: the twin of `JobTypes`, with `await` and `async for`."""

    def __init__(self, stub: JobServiceAsyncStub) -> None:
        self._stub = stub

    async def create(
        self, job_type_id: str, type_name: str, *, timeout: float | None = None, **fields: Unpack[JobTypeFields]
    ) -> JobType:
        """Registers a job type. See `JobTypes.create`."""
        request = _create(job_type_id, type_name, fields)
        return codec.job_type((await self._stub.CreateJobType(request, timeout=timeout)).job_type)

    async def get(self, job_type: str, *, timeout: float | None = None) -> JobType:
        """Returns a job type. JobTypeNotFoundError when there is none."""
        request = pb.GetJobTypeRequest(name=job_type_name(job_type))
        return codec.job_type((await self._stub.GetJobType(request, timeout=timeout)).job_type)

    def list(
        self,
        *,
        type_name: str = "",
        version: str = "",
        active_only: bool = False,
        page_size: int = 0,
        page_token: str = "",
        timeout: float | None = None,
    ) -> AsyncPager[JobType]:
        """Returns the job types of a type name and version, those that may be run, by id. See `JobTypes.list`."""

        async def fetch(token: str) -> Page[JobType]:
            request = _list(type_name, version, active_only, page_size, token)
            return codec.job_types_page(await self._stub.ListJobTypes(request, timeout=timeout))

        return AsyncPager(fetch, page_token)

    async def update(
        self, job_type: str, *, timeout: float | None = None, **changes: Unpack[JobTypeChanges]
    ) -> JobType:
        """Changes what is given of a job type. See `JobTypes.update`."""
        request = _update(job_type, changes)
        return codec.job_type((await self._stub.UpdateJobType(request, timeout=timeout)).job_type)
