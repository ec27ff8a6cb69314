"""Jobs: catalog, runs, exceptions, changes, stops; types of jobs; leases of collectors."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from streamgauge_server.model.clock import SystemClock

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

JOB = 2
"""The kind of subject."""


def _id() -> sa.Column[Any]:
    return sa.Column("id", Id, sa.Identity(always=False), nullable=False)


def _subject(table: str) -> list[Any]:
    return [
        sa.Column("subject_id", Id, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name=f"{table}_subject_id_fk", ondelete="CASCADE"),
    ]


def upgrade() -> None:
    """Adds the tables, and to the catalog the jobs that were measured before there was one."""
    followed = sa.text("followed_cluster IS NOT NULL")
    for column in ("last_job_change", "pruned_job_change"):
        op.add_column("tenants", sa.Column(column, sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.create_table(
        "job_types",
        _id(),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("type_name", Name, nullable=False),
        sa.Column("version", Name, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("category", sa.Text, nullable=False),
        sa.Column("author_name", sa.Text, nullable=False),
        sa.Column("author_url", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("is_system", sa.Boolean, nullable=False),
        sa.Column("is_paused", sa.Boolean, nullable=False),
        sa.Column("is_published", sa.Boolean, nullable=False),
        sa.Column("is_long_running", sa.Boolean, nullable=False),
        sa.Column("is_operational", sa.Boolean, nullable=False),
        sa.Column("icon_code", sa.Text, nullable=False),
        sa.Column("unmet_resources", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="job_types_pk"),
        sa.UniqueConstraint("tenant", "name", name="job_types_by_tenant_name"),
        sa.UniqueConstraint("tenant", "type_name", "version", name="job_types_by_tenant_type_name_version"),
        comment="The kinds of jobs. An id is never given twice.",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "jobs",
        *_subject("jobs"),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("job_name", Name, nullable=False),
        sa.Column("cluster", Name, nullable=False),
        sa.Column("job_type_id", Id, nullable=True),
        sa.Column("run_ordinal", sa.Integer, nullable=True),
        sa.Column("run_state", sa.SmallInteger, nullable=True),
        sa.Column("run_active", sa.Boolean, nullable=False),
        sa.Column("start_order", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("labels", Document, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name="jobs_pk"),
        sa.ForeignKeyConstraint(["job_type_id"], ["job_types.id"], name="jobs_job_type_id_fk"),
        sa.UniqueConstraint("tenant", "name", name="jobs_by_tenant_name"),
        comment="The catalog entry of each job; tenant and name repeat those of its subject, to list by them.",
    )
    op.create_index("jobs_by_tenant_start_order_name", "jobs", ["tenant", "start_order", "name"])
    op.create_index("jobs_by_tenant_cluster_job_name", "jobs", ["tenant", "cluster", "job_name"])
    op.create_index("jobs_by_tenant_job_name_start_order_name", "jobs", ["tenant", "job_name", "start_order", "name"])
    op.create_table(
        "job_runs",
        _id(),
        *_subject("job_runs"),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("run_id", Name, nullable=False),
        sa.Column("cluster", Name, nullable=False),
        sa.Column("followed_cluster", Name, nullable=True),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("state_text", sa.Text, nullable=False),
        sa.Column("lost", sa.Boolean, nullable=False),
        sa.Column("queue_time", sa.BigInteger, nullable=True),
        sa.Column("start_time", sa.BigInteger, nullable=True),
        sa.Column("end_time", sa.BigInteger, nullable=True),
        sa.Column("duration", sa.BigInteger, nullable=False),
        sa.Column("restarts", sa.BigInteger, nullable=False),
        sa.Column("tasks_running", sa.Integer, nullable=True),
        sa.Column("tasks_finished", sa.Integer, nullable=True),
        sa.Column("tasks_total", sa.Integer, nullable=True),
        sa.Column("observe_time", sa.BigInteger, nullable=False),
        sa.Column("details_time", sa.BigInteger, nullable=True),
        sa.Column("final_figures", sa.Boolean, nullable=False),
        sa.Column("history_truncated", sa.Boolean, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("recent_restarts", Document, nullable=False),
        sa.Column("vertices", Document, nullable=False),
        sa.PrimaryKeyConstraint("id", name="job_runs_pk").ddl_if(dialect="sqlite"),
        sa.UniqueConstraint("subject_id", "ordinal", name="job_runs_by_subject_id_ordinal"),
        sa.UniqueConstraint("subject_id", "run_id", name="job_runs_by_subject_id_run_id"),
        comment="The runs of jobs. An id is never given twice.",
        sqlite_autoincrement=True,
    )
    op.create_index("job_runs_by_id_subject_id", "job_runs", ["id", "subject_id"], unique=True)
    op.create_index("job_runs_by_tenant_run_id", "job_runs", ["tenant", "run_id"])
    op.create_index(
        "job_runs_by_tenant_followed_cluster",
        "job_runs",
        ["tenant", "followed_cluster"],
        sqlite_where=followed,
        postgresql_where=followed,
    )
    op.create_table(
        "job_exceptions",
        *_subject("job_exceptions"),
        sa.Column("run", Id, nullable=False),
        sa.Column("fingerprint", Name, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("exception_class", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("truncated", sa.Boolean, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("cause_class", sa.Text, nullable=False),
        sa.Column("cause_summary", sa.Text, nullable=False),
        sa.Column("cause_task", sa.Text, nullable=False),
        sa.Column("stacktrace", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "run", "fingerprint", name="job_exceptions_pk"),
        comment="The exceptions of runs.",
    )
    op.create_index("job_exceptions_by_run_time_fingerprint", "job_exceptions", ["run", "time", "fingerprint"])
    op.create_table(
        "job_changes",
        sa.Column("tenant", Name, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        *_subject("job_changes"),
        sa.Column("run_id", Name, nullable=False),
        sa.Column("previous", sa.SmallInteger, nullable=True),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("state_text", sa.Text, nullable=False),
        sa.Column("lost", sa.Boolean, nullable=False),
        sa.Column("restarts", sa.BigInteger, nullable=False),
        sa.Column("observe_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "seq", name="job_changes_pk"),
        comment="The log of changes of runs, in the order of commits: whoever adds to it has locked the tenant's row.",
    )
    op.create_index("job_changes_by_subject_id", "job_changes", ["subject_id"])
    op.create_table(
        "job_stops",
        *_subject("job_stops"),
        sa.Column("run", Id, nullable=False),
        sa.Column("trigger_id", Name, nullable=False),
        sa.Column("mode", sa.SmallInteger, nullable=False),
        sa.Column("drain", sa.Boolean, nullable=False),
        sa.Column("directory", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("request_time", sa.BigInteger, nullable=False),
        sa.Column("finish_time", sa.BigInteger, nullable=True),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("failure", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "run", "trigger_id", name="job_stops_pk"),
        comment="Who asked when to stop a run, and what became of it.",
    )
    op.create_index("job_stops_by_run_request_time", "job_stops", ["run", "request_time"])
    op.create_table(
        "collector_leases",
        sa.Column("tenant", Name, nullable=False),
        sa.Column("cluster", Name, nullable=False),
        sa.Column("owner", Name, nullable=False),
        sa.Column("expire_time", sa.BigInteger, nullable=False),
        sa.Column("reachable", sa.Boolean, nullable=False),
        sa.Column("last_success_time", sa.BigInteger, nullable=True),
        sa.Column("last_attempt_time", sa.BigInteger, nullable=True),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("last_poll_duration", sa.BigInteger, nullable=False),
        sa.Column("active_runs", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "cluster", name="collector_leases_pk"),
        comment="Who polls a cluster, until when, and what was found.",
    )
    now = SystemClock().now()
    op.execute(
        f"""
        INSERT INTO jobs (
          subject_id, tenant, name, job_name, cluster, run_active, start_order, revision, create_time, update_time,
          labels
        )
        SELECT id, tenant, name, name, '', false, 0, 1, {now}, {now}, '{{}}'
        FROM subjects WHERE kind = {JOB} AND part = ''
        """
    )


def downgrade() -> None:
    """Drops what was added. Metrics of jobs stay, as the version before knows them."""
    for table in ("collector_leases", "job_stops", "job_changes", "job_exceptions", "job_runs", "jobs", "job_types"):
        op.drop_table(table)
    for column in ("last_job_change", "pruned_job_change"):
        op.drop_column("tenants", column)
