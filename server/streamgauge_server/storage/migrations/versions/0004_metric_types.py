"""Metric types: executions, errors, ingests, figures of what has ended, custom types with their choices."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from streamgauge_server.model.jobs import OUTCOMES, JobRun, JobState
from streamgauge_server.model.metric_types import ALL_CHOICES, Span
from streamgauge_server.timeseries.counting import HOURS_PER_DAY, run_facts
from streamgauge_server.timeseries.figures import Figures, encode_figures

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

TYPED = sa.text("job_type_id IS NOT NULL")
TYPED_AND_ENDED = sa.text("job_type_id IS NOT NULL AND end_hour IS NOT NULL")
WITH_ERROR = sa.text("error_id IS NOT NULL")
HOUR = 3_600_000_000


def _id() -> sa.Column[Any]:
    return sa.Column("id", Id, sa.Identity(always=False), nullable=False)


def _subject(table: str) -> list[Any]:
    return [
        sa.Column("subject_id", Id, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name=f"{table}_subject_id_fk", ondelete="CASCADE"),
    ]


def _index(table: str, column: str, condition: Any) -> None:
    op.create_index(
        f"{table}_by_{column}_end_hour",
        table,
        [column, "end_hour"],
        sqlite_where=condition,
        postgresql_where=condition,
    )


def upgrade() -> None:
    """Adds the tables, and figures of the runs that have ended."""
    zero = sa.text("0")
    op.add_column("tenants", sa.Column("error_catalog_version", sa.Integer, nullable=False, server_default=zero))
    op.add_column("job_runs", sa.Column("error_id", Id, nullable=True))
    op.add_column("job_runs", sa.Column("executions", sa.Integer, nullable=False, server_default=zero))
    op.add_column("job_runs", sa.Column("job_type_id", Id, nullable=True))
    op.add_column("job_runs", sa.Column("end_hour", sa.Integer, nullable=True))
    _index("job_runs", "job_type_id", TYPED_AND_ENDED)
    _index("job_runs", "error_id", WITH_ERROR)
    op.create_table(
        "job_executions",
        *_subject("job_executions"),
        sa.Column("run", Id, nullable=False),
        sa.Column("execution_id", Name, nullable=False),
        sa.Column("outcome", sa.SmallInteger, nullable=False),
        sa.Column("queue_time", sa.BigInteger, nullable=True),
        sa.Column("start_time", sa.BigInteger, nullable=True),
        sa.Column("end_time", sa.BigInteger, nullable=False),
        sa.Column("error_id", Id, nullable=True),
        sa.Column("job_type_id", Id, nullable=True),
        sa.Column("end_hour", sa.Integer, nullable=False),
        sa.Column("tasks", Document, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "run", "execution_id", name="job_executions_pk"),
        comment="The executions of runs.",
    )
    _index("job_executions", "job_type_id", TYPED)
    _index("job_executions", "error_id", WITH_ERROR)
    op.create_table(
        "job_errors",
        _id(),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("category", sa.SmallInteger, nullable=False),
        sa.Column("built_in", sa.Boolean, nullable=False),
        sa.Column("should_be_retried", sa.Boolean, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("job_type_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="job_errors_pk"),
        sa.UniqueConstraint("tenant", "name", name="job_errors_by_tenant_name"),
        comment="The errors by which failures are counted. An id is never given twice.",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ingests",
        *_subject("ingests"),
        sa.Column("ingest_id", Name, nullable=False),
        sa.Column("status", sa.SmallInteger, nullable=False),
        sa.Column("end_time", sa.BigInteger, nullable=False),
        sa.Column("file_size", sa.BigInteger, nullable=True),
        sa.Column("transfer_start_time", sa.BigInteger, nullable=True),
        sa.Column("transfer_end_time", sa.BigInteger, nullable=True),
        sa.Column("ingest_start_time", sa.BigInteger, nullable=True),
        sa.Column("end_hour", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", "ingest_id", name="ingests_pk"),
        comment="The files that sources ingested, or failed to.",
    )
    op.create_index("ingests_by_subject_id_end_hour", "ingests", ["subject_id", "end_hour"])
    figures = op.create_table(
        "figures",
        sa.Column("tenant", Name, nullable=False),
        sa.Column("type", sa.SmallInteger, nullable=False),
        sa.Column("choice", sa.BigInteger, nullable=False),
        sa.Column("span", sa.SmallInteger, nullable=False),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "type", "choice", "span", "start", name="figures_pk"),
        comment=(
            "What records say together, per choice (0 is all of them) and hour or day since 1970; no row is empty."
        ),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index("figures_by_tenant_type_span_start", "figures", ["tenant", "type", "span", "start"])
    op.create_table(
        "metric_types",
        _id(),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("filters", Document, nullable=False),
        sa.Column("groups", Document, nullable=False),
        sa.Column("columns", Document, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="metric_types_pk"),
        sa.UniqueConstraint("tenant", "name", name="metric_types_by_tenant_name"),
        comment="The metric types that do not ship with the server.",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "metric_type_choices",
        *_subject("metric_type_choices"),
        sa.Column("metric_type_id", Id, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("fields", Document, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name="metric_type_choices_pk"),
        sa.ForeignKeyConstraint(["metric_type_id"], ["metric_types.id"], name="metric_type_choices_metric_type_id_fk"),
        sa.UniqueConstraint("metric_type_id", "name", name="metric_type_choices_by_metric_type_id_name"),
        comment="The choices of metric types, which are subjects.",
    )
    _count_runs(figures)


def _count_runs(figures: sa.Table) -> None:
    """Counts the runs that have ended. Of executions and errors of the catalog nothing is known yet."""
    ended = ", ".join(str(int(state)) for state in OUTCOMES)
    # Hours before 1970 are negative, and `/` and `%` of both engines cut toward zero.
    op.execute(
        f"""
        UPDATE job_runs SET end_hour = (end_time - (end_time % {HOUR} + {HOUR}) % {HOUR}) / {HOUR}
        WHERE state IN ({ended}) AND end_time IS NOT NULL
        """
    )
    op.execute(
        "UPDATE job_runs SET job_type_id = (SELECT job_type_id FROM jobs WHERE jobs.subject_id = job_runs.subject_id)"
    )
    runs = op.get_bind().execute(
        sa.text(
            """
            SELECT tenant, state, queue_time, start_time, end_time, job_type_id FROM job_runs
            WHERE job_type_id IS NOT NULL AND end_hour IS NOT NULL
            """
        )
    )
    rows: dict[tuple[str, int, int, int, int], Figures] = {}
    for tenant, state, queue_time, start_time, end_time, job_type in runs:
        run = JobRun(0, "", 0, "", JobState(state), "", queue_time=queue_time, start_time=start_time, end_time=end_time)
        for fact in run_facts(run, job_type, None):
            for choice in (fact.choice, ALL_CHOICES):
                for span, start in ((Span.HOUR, fact.hour), (Span.DAY, fact.hour // HOURS_PER_DAY)):
                    key = (tenant, int(fact.type), choice, int(span), start)
                    rows.setdefault(key, Figures(fact.type)).add(fact.counts, fact.lengths)
    if rows:
        op.bulk_insert(
            figures,
            [
                {
                    "tenant": key[0],
                    "type": key[1],
                    "choice": key[2],
                    "span": key[3],
                    "start": key[4],
                    "data": encode_figures(counted),
                }
                for key, counted in rows.items()
            ],
        )


def downgrade() -> None:
    """Drops what was added. Values of custom types stay, as those of subjects that the version before knows."""
    for table in ("metric_type_choices", "metric_types", "figures", "ingests", "job_errors", "job_executions"):
        op.drop_table(table)
    for column in ("error_id", "job_type_id"):
        op.drop_index(f"job_runs_by_{column}_end_hour", "job_runs")
    for column in ("end_hour", "job_type_id", "executions", "error_id"):
        op.drop_column("job_runs", column)
    op.drop_column("tenants", "error_catalog_version")
