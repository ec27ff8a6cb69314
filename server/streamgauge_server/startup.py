"""Opening what the settings name, the store and the clusters, for the server and for every command."""

from __future__ import annotations

import os
import ssl
from functools import partial
from pathlib import Path

from streamgauge_server.cluster_settings import ClusterSettings
from streamgauge_server.flink.addresses import Tls
from streamgauge_server.flink.credentials import Credentials
from streamgauge_server.model.clock import Clock
from streamgauge_server.model.limits import Limits
from streamgauge_server.services.clusters import ClusterConfig, Clusters
from streamgauge_server.settings import Settings
from streamgauge_server.storage.migrate import CopyUnfinished, migrate
from streamgauge_server.storage.store import SchemaOutdated, Store
from streamgauge_server.storage.urls import parse_url


class StartError(Exception):
    """The server cannot start; the message says why and what helps."""


async def migrate_if_wanted(settings: Settings) -> None:
    """Migrates the schema when the setting `migrate` says so for this store.

    Raises:
        StartError: the store's URL is malformed, or it holds a copy that is not finished.
        DomainError: STORE_UNAVAILABLE.
    """
    try:
        url = parse_url(settings.database)
    except ValueError as error:
        raise StartError(f"database: {error}") from error
    wanted = settings.migrate == "always" or (settings.migrate == "auto" and url.engine == "sqlite")
    if wanted and not url.in_memory:
        try:
            await migrate(settings.database)
        except CopyUnfinished as error:
            raise StartError(str(error)) from error


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
    except CopyUnfinished as error:
        raise StartError(str(error)) from error
    except ValueError as error:
        raise StartError(f"database: {error}") from error


def open_clusters(settings: Settings) -> Clusters:
    """Returns clients to the clusters that the settings name, none of them connected yet.

    Raises:
        StartError: a secret or a certificate cannot be read.
    """
    return Clusters([_config(cluster, settings.limits) for cluster in settings.clusters])


def _config(cluster: ClusterSettings, limits: Limits) -> ClusterConfig:
    tls = Tls(cluster.ca_file, cluster.client_cert_file, cluster.client_key_file)
    try:
        tls.context()
        config = ClusterConfig(
            name=cluster.name,
            tenant=cluster.tenant,
            base_urls=cluster.urls,
            register_all=cluster.registration == "all",
            max_stacktrace_bytes=limits.max_stacktrace_bytes,
            poll_seconds=cluster.poll_seconds,
            requests_per_second=cluster.requests_per_second,
            credentials=_credentials(cluster),
            tls=tls,
        )
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise StartError(f"cluster {cluster.name}: {_reason(error)}") from error
    return config


def _credentials(cluster: ClusterSettings) -> Credentials | None:
    file, variable = cluster.token_file, cluster.token_variable
    if cluster.user is not None:
        file, variable = cluster.password_file, cluster.password_variable
    if file is not None:
        return Credentials(partial(_secret_in_file, file), cluster.user)
    return None if variable is None else Credentials(partial(_secret_in_variable, variable), cluster.user)


def _secret_in_file(file: Path) -> str:
    return _checked_secret(file.read_text(encoding="utf-8"), str(file))


def _secret_in_variable(variable: str) -> str:
    return _checked_secret(os.environ.get(variable, ""), f"the environment variable {variable}")


def _checked_secret(text: str, where: str) -> str:
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError(f"there is no secret of printable ASCII characters in {where}")
    return text


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "a certificate or its key is damaged, or they do not fit together"
    if isinstance(error, OSError):
        return f"cannot read {error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return str(error)
