"""Ids of runs: what they may be, and which run of a job a request means."""

from __future__ import annotations

import re

from streamgauge_server.flink.ids import is_flink_id
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.jobs import Job, JobRun
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage.store import Store

MAX_RUN_ID = 128

_PRINTABLE = re.compile(r"[\x20-\x7e]*")


def run_id_problem(run_id: str) -> str | None:
    """Returns what is wrong with the id of a run, which is 1 to 128 printable ASCII characters; or None."""
    if not run_id:
        return "must not be empty"
    if len(run_id) > MAX_RUN_ID:
        return f"must have at most {MAX_RUN_ID} characters, has {len(run_id)}"
    return None if _PRINTABLE.fullmatch(run_id) else "must consist of printable ASCII characters"


async def find_run(store: Store, job: Job, run_id: str) -> JobRun:
    """Returns a run of a job with its vertices. Flink's ids are found in capitals and with dashes too.

    Raises:
        DomainError: JOB_NOT_FOUND when the job has no such run, STORE_UNAVAILABLE.
    """
    digits = run_id.replace("-", "").lower()
    for spelling in dict.fromkeys((run_id, digits) if is_flink_id(digits) else (run_id,)):
        run = await store.job_runs.get(job.number, spelling)
        if run is not None:
            return run
    name = str(SubjectName(SubjectKind.JOB, job.id))
    raise DomainError(Reason.JOB_NOT_FOUND, f"{name} has no run {run_id!r}", metadata={"name": name})
