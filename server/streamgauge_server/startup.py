"""Opening the store as the settings say, for the server and for every command."""

from __future__ import annotations

from streamgauge_server.model.clock import Clock
from streamgauge_server.settings import Settings
from streamgauge_server.storage.migrate import migrate
from streamgauge_server.storage.store import SchemaOutdated, Store
from streamgauge_server.storage.urls import parse_url


class StartError(Exception):
    """The server cannot start; the message says why and what helps."""


async def migrate_if_wanted(settings: Settings) -> None:
    """Migrates the schema when the setting `migrate` says so for this store.

    Raises:
        StartError: the store's URL is malformed.
        DomainError: STORE_UNAVAILABLE.
    """
    try:
        url = parse_url(settings.database)
    except ValueError as error:
        raise StartError(f"database: {error}") from error
    wanted = settings.migrate == "always" or (settings.migrate == "auto" and url.engine == "sqlite")
    if wanted and not url.in_memory:
        await migrate(settings.database)


async def open_store(settings: Settings, clock: Clock) -> Store:
    """Opens the store, migrated before if that is wanted.

    Raises:
        StartError: the store's URL is malformed, or its schema is older than this version needs.
        DomainError: STORE_UNAVAILABLE.
    """
    await migrate_if_wanted(settings)
    try:
        return await Store.open(settings.database, pool_size=settings.database_pool_size, clock=clock)
    except SchemaOutdated as error:
        raise StartError(f"{error} (streamgauge-server migrate, or serve --migrate)") from error
    except ValueError as error:
        raise StartError(f"database: {error}") from error
