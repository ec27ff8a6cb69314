"""Assets, blocks by the run that wrote them, ranges and directions of metrics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

ASSET = 3
"""The kind of subject."""


def upgrade() -> None:
    """Adds the table and the columns."""
    op.create_table(
        "assets",
        sa.Column("subject_id", Id, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name="assets_subject_id_fk", ondelete="CASCADE"),
        sa.Column("tenant", Name, nullable=False),
        sa.Column("name", Name, nullable=False),
        sa.Column("urn_head", Name, nullable=False),
        sa.Column("platform", Name, nullable=False),
        sa.Column("labels", Document, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("create_time", sa.BigInteger, nullable=False),
        sa.Column("update_time", sa.BigInteger, nullable=False),
        sa.Column("urn", Name, nullable=False),
        sa.PrimaryKeyConstraint("subject_id", name="assets_pk"),
        sa.UniqueConstraint("tenant", "name", name="assets_by_tenant_name"),
        comment="The catalog entry of each asset; tenant and name repeat those of its subject, to list by them.",
    )
    op.create_index("assets_by_tenant_urn_head_name", "assets", ["tenant", "urn_head", "name"])
    op.add_column("blocks", sa.Column("run_id", Name, nullable=True))
    of_a_run = sa.text("run_id IS NOT NULL")
    op.create_index(
        "blocks_by_run_id_subject_id",
        "blocks",
        ["run_id", "subject_id"],
        sqlite_where=of_a_run,
        postgresql_where=of_a_run,
    )
    op.add_column("metrics", sa.Column("min_value", sa.Double, nullable=True))
    op.add_column("metrics", sa.Column("max_value", sa.Double, nullable=True))
    op.add_column("metrics", sa.Column("direction", sa.SmallInteger, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    """Drops the table and the columns, and what the version before could not read: assets and their metrics."""
    for table, counted, whole in (("subjects", "subjects", " AND x.part = ''"), ("metrics", "metrics", "")):
        op.execute(
            f"UPDATE tenants SET {counted} = {counted} - "
            f"(SELECT count(*) FROM {table} AS x WHERE x.tenant = tenants.tenant AND x.kind = {ASSET}{whole})"
        )
        op.execute(f"DELETE FROM {table} WHERE kind = {ASSET}")
    op.drop_table("assets")
    op.drop_index("blocks_by_run_id_subject_id", "blocks")
    op.drop_column("blocks", "run_id")
    for column in ("min_value", "max_value", "direction"):
        op.drop_column("metrics", column)
