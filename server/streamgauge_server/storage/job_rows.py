"""Jobs as rows of `jobs`, with the run that their status tells of or without it."""

from __future__ import annotations

from sqlalchemy import and_, select

from streamgauge_server.model.jobs import Job
from streamgauge_server.storage import tables
from streamgauge_server.storage.etags import etag_of
from streamgauge_server.storage.job_run_rows import RUN_COLUMNS, read_run

_RUN = "run_"
_t = tables.jobs.c
_runs = tables.job_runs.c

WITHOUT_RUN = select(
    *(_t.subject_id, _t.tenant, _t.name, _t.job_name, _t.cluster, _t.labels),
    *(_t.revision, _t.create_time, _t.update_time),
    tables.job_types.c.name.label("job_type"),
).select_from(tables.jobs.outerjoin(tables.job_types, tables.job_types.c.id == _t.job_type_id))
WITH_RUN = WITHOUT_RUN.add_columns(*(column.label(_RUN + column.name) for column in RUN_COLUMNS)).outerjoin(
    tables.job_runs, and_(_runs.subject_id == _t.subject_id, _runs.ordinal == _t.run_ordinal)
)


def read_job(row: tables.AnyRow) -> Job:
    """Returns the job of a row of either query."""
    return Job(
        id=row.name,
        number=row.subject_id,
        job_name=row.job_name,
        cluster=row.cluster,
        job_type=row.job_type or "",
        labels=dict(sorted(row.labels.items())),
        etag=etag_of(row.subject_id, row.revision),
        create_time=row.create_time,
        update_time=row.update_time,
        run=read_run(row, prefix=_RUN) if row._mapping.get(f"{_RUN}id") is not None else None,
    )
