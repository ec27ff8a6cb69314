"""Runs migrations on the connection that `storage.migrate` hands over, all of them in its one transaction."""

from __future__ import annotations

from alembic import context

from streamgauge_server.storage.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()
