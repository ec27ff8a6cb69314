"""The tables. One `MetaData` for every engine; `migrations/` builds them and a test holds the two together.

Names are compared and sorted by their bytes on every engine: SQLite does so by default, PostgreSQL is told to by the
collation "C". Moments are microseconds since 1970 in 64-bit integers. Columns that only some reads need come last in
their row, the largest at the end: SQLite reads a row from its beginning and skips what it is not asked for. What a
migration adds comes after them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Row,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.dialects import postgresql

AnyRow = Row[*tuple[Any, ...]]
"""A row of a result whose columns are read by name."""

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_by_%(column_0_N_name)s",
        "ix": "%(table_name)s_by_%(column_0_N_name)s",
        "fk": "%(table_name)s_%(column_0_N_name)s_fk",
    }
)

# SQLite gives ids out by itself only to a column declared INTEGER, which holds 64 bits all the same.
Id = BigInteger().with_variant(Integer, "sqlite")
Name = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Document = JSON().with_variant(postgresql.JSONB(), "postgresql")


URN_HEAD_LENGTH = 255
"""Characters of a URN that an index holds. A whole one may have 4,096 bytes; PostgreSQL allows 2,704 in an entry."""


def _id_column(name: str = "id") -> Column[Any]:
    return Column(name, Id, Identity(always=False), nullable=False)


def _subject_column(**options: Any) -> Column[Any]:
    return Column("subject_id", Id, ForeignKey("subjects.id", ondelete="CASCADE"), nullable=False, **options)


tenants = Table(
    "tenants",
    metadata,
    Column("tenant", Name, primary_key=True),
    Column("subjects", Integer, nullable=False),
    Column("metrics", Integer, nullable=False),
    Column("catalog_version", Integer, nullable=False),
    Column("last_job_change", BigInteger, nullable=False, server_default=text("0")),
    Column("pruned_job_change", BigInteger, nullable=False, server_default=text("0")),
    Column("error_catalog_version", Integer, nullable=False, server_default=text("0")),
    comment="How much each tenant has. Who creates or deletes subjects or metrics of a tenant locks its row first.",
)

subjects = Table(
    "subjects",
    metadata,
    _id_column(),
    Column("tenant", Name, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("name", Name, nullable=False),
    Column("part", Name, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("tenant", "kind", "name", "part"),
    comment="What is measured, and each part of it. An id is never given twice.",
    sqlite_autoincrement=True,
)

sources = Table(
    "sources",
    metadata,
    _subject_column(primary_key=True, autoincrement=False),
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("connector_class", Name, nullable=False),
    Column("labels", Document, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    UniqueConstraint("tenant", "name"),
    comment="The catalog entry of each source; tenant and name repeat those of its subject, to list by them.",
)

assets = Table(
    "assets",
    metadata,
    _subject_column(primary_key=True, autoincrement=False),
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("urn_head", Name, nullable=False),
    Column("platform", Name, nullable=False),
    Column("labels", Document, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("urn", Name, nullable=False),
    UniqueConstraint("tenant", "name"),
    Index(None, "tenant", "urn_head", "name"),
    comment="The catalog entry of each asset; tenant and name repeat those of its subject, to list by them.",
)

job_types = Table(
    "job_types",
    metadata,
    _id_column(),
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("type_name", Name, nullable=False),
    Column("version", Name, nullable=False),
    Column("title", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("author_name", Text, nullable=False),
    Column("author_url", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("is_system", Boolean, nullable=False),
    Column("is_paused", Boolean, nullable=False),
    Column("is_published", Boolean, nullable=False),
    Column("is_long_running", Boolean, nullable=False),
    Column("is_operational", Boolean, nullable=False),
    Column("icon_code", Text, nullable=False),
    Column("unmet_resources", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("tenant", "name"),
    UniqueConstraint("tenant", "type_name", "version"),
    comment="The kinds of jobs. An id is never given twice.",
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    _subject_column(primary_key=True, autoincrement=False),
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("job_name", Name, nullable=False),
    Column("cluster", Name, nullable=False),
    Column("job_type_id", Id, ForeignKey("job_types.id"), nullable=True),
    # Of the run that the job's status tells of. `start_order` is its start time, negated: an index in rising order then
    # begins with those that started last. 0 where there is no start.
    Column("run_ordinal", Integer, nullable=True),
    Column("run_state", SmallInteger, nullable=True),
    Column("run_active", Boolean, nullable=False),
    Column("start_order", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("labels", Document, nullable=False),
    UniqueConstraint("tenant", "name"),
    Index(None, "tenant", "start_order", "name"),
    Index(None, "tenant", "cluster", "job_name"),
    Index(None, "tenant", "job_name", "start_order", "name"),
    comment="The catalog entry of each job; tenant and name repeat those of its subject, to list by them.",
)

_WITH_ERROR = text("error_id IS NOT NULL")
_TYPED = text("job_type_id IS NOT NULL")
_TYPED_AND_ENDED = text("job_type_id IS NOT NULL AND end_hour IS NOT NULL")

job_runs = Table(
    "job_runs",
    metadata,
    _id_column(),
    _subject_column(),
    Column("ordinal", Integer, nullable=False),
    Column("tenant", Name, nullable=False),
    Column("run_id", Name, nullable=False),
    Column("cluster", Name, nullable=False),
    # The cluster once more while a collector still has to follow the run: what an index finds, and nothing else.
    Column("followed_cluster", Name, nullable=True),
    Column("state", SmallInteger, nullable=False),
    Column("state_text", Text, nullable=False),
    Column("lost", Boolean, nullable=False),
    Column("queue_time", BigInteger, nullable=True),
    Column("start_time", BigInteger, nullable=True),
    Column("end_time", BigInteger, nullable=True),
    Column("duration", BigInteger, nullable=False),
    Column("restarts", BigInteger, nullable=False),
    Column("tasks_running", Integer, nullable=True),
    Column("tasks_finished", Integer, nullable=True),
    Column("tasks_total", Integer, nullable=True),
    Column("observe_time", BigInteger, nullable=False),
    Column("details_time", BigInteger, nullable=True),
    Column("final_figures", Boolean, nullable=False),
    Column("history_truncated", Boolean, nullable=False),
    Column("error", Text, nullable=False),
    Column("recent_restarts", Document, nullable=False),
    Column("vertices", Document, nullable=False),
    # What figures are kept by: the error of the catalog, how many executions of its own it has, the type of its job,
    # and the hour (since 1970) in which it counts, null while it does not.
    Column("error_id", Id, nullable=True),
    Column("executions", Integer, nullable=False, server_default=text("0")),
    Column("job_type_id", Id, nullable=True),
    Column("end_hour", Integer, nullable=True),
    # As `blocks`: the row id on SQLite, and unique keys that hold the subject on PostgreSQL.
    PrimaryKeyConstraint("id").ddl_if(dialect="sqlite"),
    Index("job_runs_by_id_subject_id", "id", "subject_id", unique=True),
    UniqueConstraint("subject_id", "ordinal"),
    UniqueConstraint("subject_id", "run_id"),
    Index(None, "tenant", "run_id"),
    Index(
        None,
        "tenant",
        "followed_cluster",
        sqlite_where=text("followed_cluster IS NOT NULL"),
        postgresql_where=text("followed_cluster IS NOT NULL"),
    ),
    Index(
        None,
        "job_type_id",
        "end_hour",
        sqlite_where=_TYPED_AND_ENDED,
        postgresql_where=_TYPED_AND_ENDED,
    ),
    Index(None, "error_id", "end_hour", sqlite_where=_WITH_ERROR, postgresql_where=_WITH_ERROR),
    comment="The runs of jobs. An id is never given twice.",
    sqlite_autoincrement=True,
)

job_exceptions = Table(
    "job_exceptions",
    metadata,
    _subject_column(),
    Column("run", Id, nullable=False),
    Column("fingerprint", Name, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("exception_class", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("task", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("cause_class", Text, nullable=False),
    Column("cause_summary", Text, nullable=False),
    Column("cause_task", Text, nullable=False),
    Column("stacktrace", Text, nullable=False),
    PrimaryKeyConstraint("subject_id", "run", "fingerprint"),
    Index(None, "run", "time", "fingerprint"),
    comment="The exceptions of runs.",
)

job_executions = Table(
    "job_executions",
    metadata,
    _subject_column(),
    Column("run", Id, nullable=False),
    Column("execution_id", Name, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("queue_time", BigInteger, nullable=True),
    Column("start_time", BigInteger, nullable=True),
    Column("end_time", BigInteger, nullable=False),
    # As `job_runs`.
    Column("error_id", Id, nullable=True),
    Column("job_type_id", Id, nullable=True),
    Column("end_hour", Integer, nullable=False),
    Column("tasks", Document, nullable=False),
    PrimaryKeyConstraint("subject_id", "run", "execution_id"),
    Index(None, "job_type_id", "end_hour", sqlite_where=_TYPED, postgresql_where=_TYPED),
    Index(None, "error_id", "end_hour", sqlite_where=_WITH_ERROR, postgresql_where=_WITH_ERROR),
    comment="The executions of runs.",
)

job_errors = Table(
    "job_errors",
    metadata,
    _id_column(),
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("category", SmallInteger, nullable=False),
    Column("built_in", Boolean, nullable=False),
    Column("should_be_retried", Boolean, nullable=False),
    Column("title", Text, nullable=False),
    Column("job_type_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("tenant", "name"),
    comment="The errors by which failures are counted. An id is never given twice.",
    sqlite_autoincrement=True,
)

ingests = Table(
    "ingests",
    metadata,
    _subject_column(),
    Column("ingest_id", Name, nullable=False),
    Column("status", SmallInteger, nullable=False),
    Column("end_time", BigInteger, nullable=False),
    Column("file_size", BigInteger, nullable=True),
    Column("transfer_start_time", BigInteger, nullable=True),
    Column("transfer_end_time", BigInteger, nullable=True),
    Column("ingest_start_time", BigInteger, nullable=True),
    Column("end_hour", Integer, nullable=False),
    PrimaryKeyConstraint("subject_id", "ingest_id"),
    Index(None, "subject_id", "end_hour"),
    comment="The files that sources ingested, or failed to.",
)

figures = Table(
    "figures",
    metadata,
    Column("tenant", Name, nullable=False),
    Column("type", SmallInteger, nullable=False),
    Column("choice", BigInteger, nullable=False),
    Column("span", SmallInteger, nullable=False),
    Column("start", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "type", "choice", "span", "start"),
    Index(None, "tenant", "type", "span", "start"),
    comment="What records say together, per choice (0 is all of them) and hour or day since 1970; no row is empty.",
    # As `latest`.
    postgresql_with={"fillfactor": 70},
)

metric_types = Table(
    "metric_types",
    metadata,
    _id_column(),
    Column("tenant", Name, nullable=False),
    Column("name", Name, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("filters", Document, nullable=False),
    Column("groups", Document, nullable=False),
    Column("columns", Document, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("tenant", "name"),
    comment="The metric types that do not ship with the server.",
    sqlite_autoincrement=True,
)

metric_type_choices = Table(
    "metric_type_choices",
    metadata,
    _subject_column(primary_key=True, autoincrement=False),
    Column("metric_type_id", Id, ForeignKey("metric_types.id"), nullable=False),
    Column("name", Name, nullable=False),
    Column("title", Text, nullable=False),
    Column("fields", Document, nullable=False),
    UniqueConstraint("metric_type_id", "name"),
    comment="The choices of metric types, which are subjects.",
)

job_changes = Table(
    "job_changes",
    metadata,
    Column("tenant", Name, nullable=False),
    Column("seq", BigInteger, nullable=False),
    _subject_column(),
    Column("run_id", Name, nullable=False),
    Column("previous", SmallInteger, nullable=True),
    Column("state", SmallInteger, nullable=False),
    Column("state_text", Text, nullable=False),
    Column("lost", Boolean, nullable=False),
    Column("restarts", BigInteger, nullable=False),
    Column("observe_time", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant", "seq"),
    Index(None, "subject_id"),
    comment="The log of changes of runs, in the order of commits: whoever adds to it has locked the tenant's row.",
)

job_stops = Table(
    "job_stops",
    metadata,
    _subject_column(),
    Column("run", Id, nullable=False),
    Column("trigger_id", Name, nullable=False),
    Column("mode", SmallInteger, nullable=False),
    Column("drain", Boolean, nullable=False),
    Column("directory", Text, nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("request_time", BigInteger, nullable=False),
    Column("finish_time", BigInteger, nullable=True),
    Column("location", Text, nullable=False),
    Column("failure", Text, nullable=False),
    PrimaryKeyConstraint("subject_id", "run", "trigger_id"),
    Index(None, "run", "request_time"),
    comment="Who asked when to stop a run, and what became of it.",
)

collector_leases = Table(
    "collector_leases",
    metadata,
    Column("tenant", Name, nullable=False),
    Column("cluster", Name, nullable=False),
    Column("owner", Name, nullable=False),
    Column("expire_time", BigInteger, nullable=False),
    Column("reachable", Boolean, nullable=False),
    Column("last_success_time", BigInteger, nullable=True),
    Column("last_attempt_time", BigInteger, nullable=True),
    Column("problem", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("last_poll_duration", BigInteger, nullable=False),
    Column("active_runs", Integer, nullable=False),
    PrimaryKeyConstraint("tenant", "cluster"),
    comment="Who polls a cluster, until when, and what was found.",
)

metrics = Table(
    "metrics",
    metadata,
    _id_column(),
    Column("tenant", Name, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("name", Name, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("unit", Text, nullable=False),
    Column("metric_kind", SmallInteger, nullable=False),
    Column("value_type", SmallInteger, nullable=False),
    Column("window_aggregate", SmallInteger, nullable=False),
    Column("summary_aggregate", SmallInteger, nullable=False),
    Column("part_combination", SmallInteger, nullable=False),
    Column("state_order", Document, nullable=False),
    Column("no_value", Double, nullable=True),
    Column("built_in", Boolean, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("update_time", BigInteger, nullable=False),
    Column("min_value", Double, nullable=True),
    Column("max_value", Double, nullable=True),
    Column("direction", SmallInteger, nullable=False, server_default=text("0")),
    # After how many days samples and summaries go; null where the setting for the kind of metric holds.
    Column("sample_days", Integer, nullable=True),
    Column("summary_days", Integer, nullable=True),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("tenant", "kind", "name"),
    comment="The descriptors. Blocks refer to their ids, which are never given twice.",
    sqlite_autoincrement=True,
)

blocks = Table(
    "blocks",
    metadata,
    _id_column("seq"),
    _subject_column(),
    Column("day", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("first_time", BigInteger, nullable=False),
    Column("last_time", BigInteger, nullable=False),
    Column("hours", Integer, nullable=False),
    Column("day_summary", LargeBinary, nullable=True),
    Column("hour_summary", LargeBinary, nullable=True),
    Column("data", LargeBinary, nullable=False),
    Column("run_id", Name, nullable=True),
    # The transaction that inserted the row, 0 for those before there was the column. PostgreSQL alone has it, and the
    # default: the row ids of SQLite rise in the order of commits.
    Column("transaction_id", BigInteger, nullable=True, server_default=text("pg_current_xact_id()::text::bigint")),
    # Retention took its samples: the summaries are all there is, `rows` is 0 and `data` empty. A subject and day have
    # one such block at most; what was folded into it came from any of the runs.
    Column("reduced", Boolean, nullable=False, server_default=false()),
    # SQLite: the row id itself, never given twice, with the index below. PostgreSQL: the index alone, as the key, which
    # begins with the subject so that the table can be distributed by it.
    PrimaryKeyConstraint("seq").ddl_if(dialect="sqlite"),
    Index("blocks_by_subject_id_day_seq", "subject_id", "day", "seq", unique=True),
    Index(
        None,
        "run_id",
        "subject_id",
        sqlite_where=text("run_id IS NOT NULL"),
        postgresql_where=text("run_id IS NOT NULL"),
    ),
    Index(
        None,
        "transaction_id",
        "seq",
        sqlite_where=text("transaction_id IS NOT NULL"),
        postgresql_where=text("transaction_id IS NOT NULL"),
    ),
    comment="The observations. Of blocks of one subject that overlap, the one with the higher seq wins.",
    sqlite_autoincrement=True,
)

block_log = Table(
    "block_log",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # Random: a cursor of another store is told apart.
    Column("store_id", Name, nullable=False),
    # What was folded, and so may be hidden from a watcher, lies at or below this position.
    Column("folded_position", BigInteger, nullable=False),
    # As far as this block the days to compact were looked for.
    Column("discovered_position", BigInteger, nullable=False),
    Column("discovered_seq", BigInteger, nullable=False),
    comment="One row about the blocks in the order of their commits.",
)

positions = Table(
    "positions",
    metadata,
    Column("age", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    comment="Which position was final when; `age` is how long, in all, servers have been running.",
)

compactions = Table(
    "compactions",
    metadata,
    _subject_column(autoincrement=False),
    Column("day", Integer, nullable=False, autoincrement=False),
    Column("due_time", BigInteger, nullable=False),
    # Data came late to a day that was folded: they are collected until then.
    Column("late", Boolean, nullable=False),
    PrimaryKeyConstraint("subject_id", "day"),
    Index(None, "due_time"),
    comment="The days of subjects whose blocks are to be folded, and when to look at them.",
)

latest = Table(
    "latest",
    metadata,
    _subject_column(primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("samples", LargeBinary, nullable=False),
    comment="The newest sample of every metric of a subject. Each subject has a row; appends lock it.",
    # Every append rewrites its row. Room in the page lets PostgreSQL do that without touching the index.
    postgresql_with={"fillfactor": 50},
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Name, nullable=False),
    Column("tenant", Name, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("scopes", Document, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("expire_time", BigInteger, nullable=True),
    Column("revoke_time", BigInteger, nullable=True),
    PrimaryKeyConstraint("id"),
    UniqueConstraint("secret_hash"),
    Index(None, "tenant", "create_time", "id"),
    comment="Access tokens. The secret itself is not stored.",
)

requests = Table(
    "requests",
    metadata,
    Column("tenant", Name, nullable=False),
    Column("request_id", Name, nullable=False),
    Column("create_time", BigInteger, nullable=False),
    Column("body_digest", LargeBinary, nullable=False),
    Column("response", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant", "request_id"),
    Index(None, "create_time"),
    comment="Idempotency keys of the last 24 hours with the answers that were given.",
)
