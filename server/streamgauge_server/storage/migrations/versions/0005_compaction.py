"""Compaction, watching, retention: the order of commits, what may be folded, days that wait, limits of metrics."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Name = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

WITH_TRANSACTION = sa.text("transaction_id IS NOT NULL")


def upgrade() -> None:
    """Adds the columns and tables. What is stored counts as old: nobody has watched it, so it may be folded."""
    on_postgresql = op.get_context().dialect.name == "postgresql"
    # With the constant PostgreSQL need not rewrite the table; only later rows get the id of their transaction.
    old = sa.text("0") if on_postgresql else None
    op.add_column("blocks", sa.Column("transaction_id", sa.BigInteger, nullable=True, server_default=old))
    if on_postgresql:
        op.execute("ALTER TABLE blocks ALTER COLUMN transaction_id SET DEFAULT pg_current_xact_id()::text::bigint")
    op.add_column("blocks", sa.Column("reduced", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index(
        "blocks_by_transaction_id_seq",
        "blocks",
        ["transaction_id", "seq"],
        sqlite_where=WITH_TRANSACTION,
        postgresql_where=WITH_TRANSACTION,
    )
    for column in ("sample_days", "summary_days"):
        op.add_column("metrics", sa.Column(column, sa.Integer, nullable=True))
    log = op.create_table(
        "block_log",
        sa.Column("id", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("store_id", Name, nullable=False),
        sa.Column("folded_position", sa.BigInteger, nullable=False),
        sa.Column("discovered_position", sa.BigInteger, nullable=False),
        sa.Column("discovered_seq", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="block_log_pk"),
        comment="One row about the blocks in the order of their commits.",
    )
    op.create_table(
        "positions",
        sa.Column("age", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("age", name="positions_pk"),
        comment="Which position was final when; `age` is how long, in all, servers have been running.",
    )
    op.create_table(
        "compactions",
        sa.Column("subject_id", Id, autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("due_time", sa.BigInteger, nullable=False),
        sa.Column("late", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name="compactions_subject_id_fk", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("subject_id", "day", name="compactions_pk"),
        comment="The days of subjects whose blocks are to be folded, and when to look at them.",
    )
    op.create_index("compactions_by_due_time", "compactions", ["due_time"])
    newest = 0
    if not on_postgresql:
        newest = op.get_bind().scalar(sa.text("SELECT coalesce(max(seq), 0) FROM blocks")) or 0
    op.bulk_insert(
        log,
        [
            {
                "id": 1,
                "store_id": secrets.token_hex(16),
                "folded_position": newest,
                "discovered_position": 0,
                "discovered_seq": 0,
            }
        ],
    )


def downgrade() -> None:
    """Drops what was added. Blocks that were folded stay so."""
    for table in ("compactions", "positions", "block_log"):
        op.drop_table(table)
    for column in ("summary_days", "sample_days"):
        op.drop_column("metrics", column)
    op.drop_index("blocks_by_transaction_id_seq", "blocks")
    for column in ("reduced", "transaction_id"):
        op.drop_column("blocks", column)
