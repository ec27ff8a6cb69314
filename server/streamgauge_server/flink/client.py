"""The requests that jobs need of Flink's REST API, versions 1.20 and 2.x."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

from streamgauge_server.flink import fields
from streamgauge_server.flink.addresses import Tls
from streamgauge_server.flink.cluster import ClusterConfig, ClusterOverview, JobSummary, parse_jobs, parse_status
from streamgauge_server.flink.credentials import Credentials
from streamgauge_server.flink.errors import Cause, Unreachable
from streamgauge_server.flink.failures import MAX_STACK_BYTES, FailureHistory
from streamgauge_server.flink.ids import flink_id, is_flink_id
from streamgauge_server.flink.job_details import JobDetails
from streamgauge_server.flink.metric_values import Aggregate, parse_aggregates, parse_names, parse_values
from streamgauge_server.flink.savepoints import SavepointStatus
from streamgauge_server.flink.transport import CONNECT_SECONDS, MAX_BODY, READ_SECONDS, Transport

MAX_EXCEPTIONS = 20
"""Entries of the exception history that are asked for. Flink answers 0 or less with nothing or with an error 500."""

MAX_TARGET = 3_000
"""Characters of a request's path and query; Flink refuses request lines of more than 4,096 bytes."""

AGGREGATES = "min,max,sum"

T = TypeVar("T")


class FlinkClient:
    """Talks to one cluster. `await close()`, or use it as a context manager.

    Every method raises `Unreachable` and `TooLarge`; those about one job raise `NotFound`, and `ValueError` for an id
    that is none, before anything is sent. A whole request takes at most both timeouts together for every address.

    Args:
        base_urls: addresses of the REST API of one cluster, several with high availability; each may have a path, as
            that of a proxy or `/v1`.
        credentials: sent with every request, and read anew when the cluster refuses them with 401.
        tls: for addresses with https; by default the system's authorities are trusted.
        connect_timeout: seconds.
        read_timeout: seconds.
        max_body: bytes of an answer.
        max_stack_bytes: bytes that are kept of one stack trace.
    """

    def __init__(
        self,
        base_urls: Sequence[str],
        *,
        credentials: Credentials | None = None,
        tls: Tls | None = None,
        connect_timeout: float = CONNECT_SECONDS,
        read_timeout: float = READ_SECONDS,
        max_body: int = MAX_BODY,
        max_stack_bytes: int = MAX_STACK_BYTES,
    ) -> None:
        self._max_stack_bytes = max_stack_bytes
        self._transport = Transport(
            base_urls,
            credentials=credentials,
            tls=tls,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_body=max_body,
        )

    async def __aenter__(self) -> FlinkClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def requests_sent(self) -> int:
        """How many requests this client has sent: what it has cost the cluster."""
        return self._transport.sent

    async def close(self) -> None:
        """Closes all connections."""
        await self._transport.close()

    async def overview(self) -> ClusterOverview:
        """Returns version, TaskManagers, slots and numbers of jobs."""
        return await self._get("/overview", ClusterOverview.parse)

    async def config(self) -> ClusterConfig:
        """Returns what the cluster says of its REST API."""
        return await self._get("/config", ClusterConfig.parse)

    async def jobs(self) -> tuple[JobSummary, ...]:
        """Returns all jobs that the cluster knows, ended ones too until they expire. Never cached by Flink."""
        return await self._get("/jobs/overview", parse_jobs)

    async def job(self, jid: str) -> JobDetails:
        """Returns a job with its vertices, as old as the cluster's refresh interval at most."""
        return await self._get(_of_job(jid), JobDetails.parse)

    async def status(self, jid: str) -> str:
        """Returns the text of a job's state, which is fresh."""
        return await self._get(f"{_of_job(jid)}/status", parse_status)

    async def exceptions(self, jid: str, limit: int = MAX_EXCEPTIONS) -> FailureHistory:
        """Returns the job's exceptions, the newest `limit` (at least 1)."""
        if limit < 1:
            raise ValueError(f"at least one exception must be asked for, not {limit}")
        target = f"{_of_job(jid)}/exceptions?maxExceptions={limit}"
        return await self._get(target, lambda answer: FailureHistory.parse(answer, self._max_stack_bytes))

    async def job_metrics(self, jid: str, ids: Collection[str]) -> dict[str, str]:
        """Returns values of a job's own metrics by id; unknown ids are missing, and all of a job that has ended."""
        return await self._values(f"{_of_job(jid)}/metrics", ids)

    async def vertex_metrics(self, jid: str, vertex: str, ids: Collection[str]) -> dict[str, str]:
        """Returns values of a vertex by id (`<subtask>.<metric name>`); unknown ids are missing."""
        return await self._values(f"{_of_vertex(jid, vertex)}/metrics", ids)

    async def subtask_metric_names(self, jid: str, vertex: str) -> frozenset[str]:
        """Returns names of the metrics that subtasks of a vertex have; none until Flink has fetched them."""
        return await self._get(f"{_of_vertex(jid, vertex)}/subtasks/metrics", parse_names)

    async def subtask_aggregates(self, jid: str, vertex: str, names: Collection[str]) -> dict[str, Aggregate]:
        """Returns metrics of a vertex over its subtasks, by name. Numeric ones only.

        Flink answers nothing if it does not know one of the names, so these must have been listed just now.
        """
        found: dict[str, Aggregate] = {}
        for target in _targets(f"{_of_vertex(jid, vertex)}/subtasks/metrics?agg={AGGREGATES}&get=", names):
            found |= await self._get(target, parse_aggregates)
        return found

    async def cancel(self, jid: str) -> None:
        """Asks the cluster to cancel a job and returns when it has accepted, which may be before the job has ended.

        Raises:
            Refused: the job has ended otherwise (409).
        """
        await self._transport.request("PATCH", f"{_of_job(jid)}?mode=cancel")

    async def stop(self, jid: str, *, trigger_id: str, drain: bool = False, target_directory: str | None = None) -> str:
        """Asks the cluster to stop a job with a savepoint. Returns what to ask `savepoint` for: the trigger's id.

        Accepted even for a job that has ended or never was: only the savepoint's status tells.

        Args:
            jid: the job.
            trigger_id: chosen by the caller, 32 hexadecimal digits. The same one again does not stop twice.
            drain: end the stream, so that all windows close. Not to be taken back by a restart from the savepoint.
            target_directory: of the savepoint; by default the one that the cluster is configured with.

        Raises:
            Refused: no directory was given and the cluster has none.
        """
        body: dict[str, object] = {"drain": drain, "triggerId": flink_id(trigger_id)}
        if target_directory is not None:
            body["targetDirectory"] = target_directory
        answer = await self._transport.request("POST", f"{_of_job(jid)}/stop", body)
        return _parsed(answer, _request_id)

    async def savepoint(self, jid: str, trigger_id: str) -> SavepointStatus:
        """Returns how a stop with a savepoint is coming along. Flink forgets it after minutes (NotFound)."""
        return await self._get(f"{_of_job(jid)}/savepoints/{flink_id(trigger_id)}", SavepointStatus.parse)

    async def _get(self, target: str, parse: Callable[[object], T]) -> T:
        return _parsed(await self._transport.request("GET", target), parse)

    async def _values(self, path: str, ids: Collection[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for target in _targets(f"{path}?get=", ids):
            found |= await self._get(target, parse_values)
        return found


def _of_job(jid: str) -> str:
    return f"/jobs/{flink_id(jid)}"


def _of_vertex(jid: str, vertex: str) -> str:
    return f"{_of_job(jid)}/vertices/{flink_id(vertex)}"


def _targets(start: str, names: Collection[str]) -> Iterator[str]:
    """Yields requests for names, as many in each as its length allows."""
    target = start
    for name in names:
        quoted = quote(name, safe="")
        if target != start and len(target) + len(quoted) >= MAX_TARGET:
            yield target
            target = start
        target += quoted if target == start else f",{quoted}"
    if target != start:
        yield target


def _request_id(answer: object) -> str:
    id = fields.text(fields.object_of(answer, "the answer"), "request-id")
    if not is_flink_id(id):
        raise fields.MalformedAnswer("the trigger has no id")
    return id.lower()


def _parsed(answer: object, parse: Callable[[object], T]) -> T:
    try:
        return parse(answer)
    except fields.MalformedAnswer as error:
        raise Unreachable(Cause.NOT_FLINK, f"the answer is not Flink's: {error}", may_have_arrived=True) from None
