"""Which job a run on a cluster belongs to, and the registration of jobs that nobody has registered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamgauge_server.flink.ids import is_flink_id
from streamgauge_server.model.jobs import Job, NewJob, derived_id
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import id_problem
from streamgauge_server.storage.store import Store

MAX_JOB_NAME = 255
"""Characters of the name under which a job is registered."""


class JobMatcher:
    """The jobs of one cluster, as they were when they were last read."""

    def __init__(self, store: Store, tenant: str, cluster: str, limits: Limits, *, register_all: bool) -> None:
        self._store = store
        self._tenant = tenant
        self._cluster = cluster
        self._limits = limits
        self._register_all = register_all
        self.by_number: Mapping[int, Job] = {}
        """The jobs by their numbers."""
        self._by_id: dict[str, Job] = {}
        self._by_run_id: dict[str, Job] = {}
        self._by_name: dict[str, Job] = {}

    async def read(self) -> None:
        """Reads the jobs of the cluster.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        jobs = await self._store.jobs.of_cluster(self._tenant, self._cluster)
        self.by_number = {job.number: job for job in jobs}
        self._by_id = {job.id: job for job in jobs}
        # People may give Flink the id of a job to call its run by.
        digits = ((job.id.replace("-", "").lower(), job) for job in jobs)
        self._by_run_id = {text: job for text, job in digits if is_flink_id(text)}
        # Of several jobs of one name the one that was registered first gets new runs.
        self._by_name = {job.job_name: job for job in sorted(jobs, key=lambda job: -job.number)}

    async def match(self, names: Mapping[str, str]) -> dict[str, Job]:
        """Returns the jobs of runs that are new, by run id; `names` are what the cluster calls them.

        Registers jobs that are missing, if that is wanted. Runs without a job are left out.

        Raises:
            DomainError: SUBJECT_LIMIT, STORE_UNAVAILABLE.
        """
        await self.read()
        if self._register_all:
            # A name may be the id of a job elsewhere, or of one that is called otherwise by now.
            for choose in (_plain_id, derived_id):
                missing = sorted({name for run_id, name in names.items() if self._job_of(run_id, name) is None})
                await self._register([(choose(self._cluster, name), name) for name in missing])
        found = {run_id: self._job_of(run_id, name) for run_id, name in names.items()}
        return {run_id: job for run_id, job in found.items() if job is not None}

    def _job_of(self, run_id: str, name: str) -> Job | None:
        return (
            self._by_run_id.get(run_id)
            or self._by_name.get(name[:MAX_JOB_NAME])
            or self._by_id.get(derived_id(self._cluster, name))
        )

    async def _register(self, jobs: Sequence[tuple[str, str]]) -> None:
        new = list(_new_jobs(self._cluster, jobs))
        if new:
            await self._store.jobs.register(self._tenant, new, limits=self._limits)
            await self.read()


def _plain_id(cluster: str, name: str) -> str:
    return name if id_problem(name) is None else derived_id(cluster, name)


def _new_jobs(cluster: str, jobs: Iterable[tuple[str, str]]) -> Iterable[NewJob]:
    for id, name in jobs:
        yield NewJob(id, job_name=name[:MAX_JOB_NAME], cluster=cluster)
