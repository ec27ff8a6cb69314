"""The first schema: subjects, sources, descriptors, blocks, latest values, tokens, idempotency keys."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _id(name: str = "id") -> sa.Column[Any]:
    return sa.Column(name, Id, sa.Identity(always=False), nullable=False)


def _subject(table: str) -> list[Any]:
    return [
        sa.Column("subject_id", Id, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name=f"{table}_subject_id_fk", ondelete="CASCADE"),
    ]


def upgrade() -> None:
    """Creates all tables."""
    op.create_table(
        "tenants",
        sa.Column("tenant", Name, nullable=False),
        sa.Column("subjects", sa.Integer, nullable=False),
        sa.Column("metrics", sa.Integer, nullable=False),
        sa.Column("catalog_version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="tenants_pk"),
        comment="How much each tenant has. Who creates or deletes subjects or metrics of a tenant locks its row first.",
    )
    op.create_table(
        "subjects",
        _id(),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("part", Name, nullable=False),
        sa.PrimaryKeyConstraint("id", name="subjects_pk"),
        sa.UniqueConstraint("tenant", "kind", "name", "part", name="subjects_by_tenant_kind_name_part"),
        comment="What is measured, and each part of it. An id is never given twice.",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sources",
        *_subject("sources"),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("connector_class", Name, nullable=False),
        sa.Column("labels", Document, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name="sources_pk"),
        sa.UniqueConstraint("tenant", "name", name="sources_by_tenant_name"),
        comment="The catalog entry of each source; tenant and name repeat those of its subject, to list by them.",
    )
    op.create_table(
        "metrics",
        _id(),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("kind", sa.SmallInteger, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("metric_kind", sa.SmallInteger, nullable=False),
        sa.Column("value_type", sa.SmallInteger, nullable=False),
        sa.Column("window_aggregate", sa.SmallInteger, nullable=False),
        sa.Column("summary_aggregate", sa.SmallInteger, nullable=False),
        sa.Column("part_combination", sa.SmallInteger, nullable=False),
        sa.Column("state_order", Document, nullable=False),
        sa.Column("no_value", sa.Double, nullable=True),
        sa.Column("built_in", sa.Boolean, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="metrics_pk"),
        sa.UniqueConstraint("tenant", "kind", "name", name="metrics_by_tenant_kind_name"),
        comment="The descriptors. Blocks refer to their ids, which are never given twice.",
        sqlite_autoincrement=True,
    )
    op.create_table(
        "blocks",
        _id("seq"),
        *_subject("blocks"),
        sa.Column("day", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("first_time", sa.BigInteger, nullable=False),
        sa.Column("last_time", sa.BigInteger, nullable=False),
        sa.Column("hours", sa.Integer, nullable=False),
        sa.Column("day_summary", sa.LargeBinary, nullable=True),
        sa.Column("hour_summary", sa.LargeBinary, nullable=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="blocks_pk").ddl_if(dialect="sqlite"),
        comment="The observations. Of blocks of one subject that overlap, the one with the higher seq wins.",
        sqlite_autoincrement=True,
    )
    op.create_index("blocks_by_subject_id_day_seq", "blocks", ["subject_id", "day", "seq"], unique=True)
    op.create_table(
        "latest",
        *_subject("latest"),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("samples", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name="latest_pk"),
        comment="The newest sample of every metric of a subject. Each subject has a row; appends lock it.",
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "tokens",
        sa.Column("id", Name, nullable=False),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("display_name", sa.Text, nullable=False),
        sa.Column("scopes", Document, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("expire_time", sa.BigInteger, nullable=True),
        sa.Column("revoke_time", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="tokens_pk"),
        sa.UniqueConstraint("secret_hash", name="tokens_by_secret_hash"),
        comment="Access tokens. The secret itself is not stored.",
    )
    op.create_index("tokens_by_tenant_create_time_id", "tokens", ["tenant", "create_time", "id"])
    op.create_table(
        "requests",
        sa.Column("tenant", Name, nullable=False),
        sa.Column("request_id", Name, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("body_digest", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "request_id", name="requests_pk"),
        comment="Idempotency keys of the last 24 hours with the answers that were given.",
    )
    op.create_index("requests_by_create_time", "requests", ["create_time"])
    if op.get_context().dialect.name == "postgresql":
        # Blocks are compressed already, and a read of the row without its data must not fetch it.
        for column in ("day_summary", "hour_summary", "data"):
            op.execute(f"ALTER TABLE blocks ALTER COLUMN {column} SET STORAGE EXTERNAL")


def downgrade() -> None:
    """Drops all tables."""
    for table in ("requests", "tokens", "latest", "blocks", "metrics", "sources", "subjects", "tenants"):
        op.drop_table(table)
