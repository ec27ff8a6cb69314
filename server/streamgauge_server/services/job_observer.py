"""How a look at runs on a cluster becomes updates in the store: for collectors, and for whoever asks for a status."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from weakref import WeakKeyDictionary

from streamgauge_server.flink.client import FlinkClient
from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import MetricDescriptor
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.job_catalog import OF_RUN
from streamgauge_server.model.jobs import OUTCOMES, Job, JobRun, RunUpdate, run_of_status
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import MetricKind, Scalar, SubjectKind, ValueType, convert_lossless
from streamgauge_server.services.descriptors import Descriptors
from streamgauge_server.services.job_watch import JobWatch
from streamgauge_server.services.rows import Row, encode_rows
from streamgauge_server.services.run_reading import Observed, RunReader
from streamgauge_server.services.write_checks import range_problem
from streamgauge_server.storage.records import LatestRow, SubjectGone, SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey


class JobObserver:
    """Looks at runs and stores what it sees; one instance serves a process."""

    def __init__(self, store: Store, clock: Clock, descriptors: Descriptors, watch: JobWatch) -> None:
        self._store = store
        self._clock = clock
        self._descriptors = descriptors
        self._watch = watch
        self._readers: WeakKeyDictionary[FlinkClient, RunReader] = WeakKeyDictionary()

    def reader(self, client: FlinkClient) -> RunReader:
        """Returns what looks at the runs of a cluster: one for each client, because it remembers their metrics."""
        reader = self._readers.get(client)
        if reader is None:
            reader = self._readers[client] = RunReader(client, self._clock)
        return reader

    async def observe(
        self, client: FlinkClient, tenant: str, cluster: str, job: Job, run_id: str, *, known: JobRun | None
    ) -> JobRun:
        """Looks at one run now, stores what is seen, and returns the run as stored, with its vertices.

        `job` is as stored, with the run that its status tells of.

        Raises:
            Unreachable, NotFound, TooLarge: the cluster's answer. Nothing is stored then, also not that a run is lost.
            DomainError: JOB_NOT_FOUND when the job was deleted meanwhile, STORE_UNAVAILABLE.
        """
        status = await client.status(run_id)
        seen = await self.reader(client).read(cluster, job, run_id, known, state_text=status)
        if not _speaks(job, seen.update, known):
            seen = seen.without_figures()
        try:
            await self.store(tenant, [seen])
        except SubjectGone as gone:
            raise _job_gone(job) from gone
        run = await self._store.job_runs.get(job.number, run_id)
        if run is None:
            raise _job_gone(job)
        return run

    async def store(self, tenant: str, seen: Sequence[Observed]) -> list[JobRun]:
        """Stores what was seen of several runs of a tenant, all of it or nothing; returns the runs as they are then.

        Raises:
            SubjectGone: a job was deleted.
            DomainError: STORE_UNAVAILABLE.
        """
        writes = await self._writes(tenant, [one for one in seen if one.figures])
        runs = await self._store.job_runs.apply(tenant, [one.update for one in seen], writes)
        self._watch.wake()
        return runs

    async def _writes(self, tenant: str, seen: Sequence[Observed]) -> list[SubjectWrite]:
        if not seen:
            return []
        names = {name: ValueType.INT64 for one in seen for name in one.figures}
        descriptors = await self._descriptors.ensure(tenant, SubjectKind.JOB, names)
        keys = {one.job.number: SubjectKey(SubjectName(SubjectKind.JOB, one.job.id), "") for one in seen}
        latest: dict[int, LatestRow] = {}
        for parts in (await self._store.blocks.latest(tenant, [key.name for key in keys.values()])).values():
            if "" in parts:
                latest[parts[""].subject_id] = parts[""]
        rows = [
            row for one in seen for row in _rows(one, keys[one.job.number], descriptors, latest.get(one.job.number))
        ]
        return encode_rows(rows, {key: number for number, key in keys.items()})


def _rows(
    seen: Observed, key: SubjectKey, descriptors: Mapping[str, MetricDescriptor], latest: LatestRow | None
) -> list[Row]:
    """Returns the figures of a look as two observations of one moment: what an attempt counts, and what a run does."""
    of_attempt = _typed(seen.figures, [name for name in seen.figures if name not in OF_RUN], descriptors)
    if latest is not None:
        _never_fall(of_attempt, seen.attempt_start, [descriptors[name] for name in seen.figures], latest)
    of_run = _typed(seen.figures, [name for name in seen.figures if name in OF_RUN], descriptors)
    return [
        Row(0, key, seen.time, seen.attempt_start, {}, of_attempt),
        Row(1, key, seen.time, seen.run_start, {}, of_run),
    ]


def _typed(
    figures: Mapping[str, int], names: Collection[str], descriptors: Mapping[str, MetricDescriptor]
) -> dict[int, Scalar]:
    """Returns figures by metric id as their metrics take them. Somebody may have declared another type, or limits."""
    typed: dict[int, Scalar] = {}
    for name in names:
        descriptor = descriptors[name]
        value = convert_lossless(figures[name], descriptor.value_type)
        if value is None or value == descriptor.no_value or range_problem(descriptor, value):
            continue
        typed[descriptor.id] = value
    return typed


def _never_fall(
    typed: dict[int, Scalar], start: int, descriptors: Collection[MetricDescriptor], latest: LatestRow
) -> None:
    """Raises counters to what was read before in the same attempt.

    Flink gathers counts from TaskManagers now and then, and loses those of one that has gone. A counter that fell
    would be taken for one that began again, and all of it would be counted twice.
    """
    for descriptor in descriptors:
        value, before = typed.get(descriptor.id), latest.samples.get(descriptor.id)
        if descriptor.kind != MetricKind.COUNTER or value is None or before is None or before.start != start:
            continue
        if isinstance(value, (int, float)) and isinstance(before.value, (int, float)) and value < before.value:
            typed[descriptor.id] = before.value


def _speaks(job: Job, update: RunUpdate, known: JobRun | None) -> bool:
    """Tells whether a run is the one whose figures are its job's: the one that the job's status tells of."""
    of_status = job.run
    if of_status is None or of_status.run_id == update.run_id:
        return True
    if known is None:
        return not of_status.active or (update.start_time or 0) > (of_status.start_time or 0)
    if update.state in OUTCOMES and of_status.active:
        return speaks_after_end(update.end_time, of_status)
    best = run_of_status([of_status, known])
    return best is known


def speaks_after_end(end_time: int | None, successor: JobRun) -> bool:
    """Tells whether the last figures of an ended run are its job's although another run is active: it came after."""
    return end_time is not None and successor.start_time is not None and end_time <= successor.start_time


def _job_gone(job: Job) -> DomainError:
    name = f"jobs/{job.id}"
    return DomainError(Reason.JOB_NOT_FOUND, f"there is no {name}", metadata={"name": name})
