"""The command `streamgauge-server`: serve, collect, migrate, token, config, and the commands about what is stored."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamgauge_server import logs
from streamgauge_server.cli_options import (
    cluster_option,
    configuration_options,
    load_settings,
    run,
    settings_options,
    stop_event,
    tenant_option,
    watching_options,
    with_store,
)
from streamgauge_server.configuration import Entry, cluster_reference, reference, shown
from streamgauge_server.model.clock import MICROS_PER_SECOND, SystemClock, isoformat
from streamgauge_server.model.entities import SCOPES, Caller, Token
from streamgauge_server.settings import Settings
from streamgauge_server.startup import StartError, migrate_if_wanted
from streamgauge_server.store_commands import check, compact, copy, retention
from streamgauge_server.supervisor import Supervisor, supervisor_gone, worker_settings

if TYPE_CHECKING:
    from streamgauge_server.storage.store import Store

_YOUNG_OBJECTS = 10_000
"""New objects between two collections; Python's 700 are less than a small request makes."""
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def main() -> None:
    """Runs the command line."""
    # gRPC tells on standard error about every connection that closes, unless it is told not to.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    cli(prog_name="streamgauge-server")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="streamgauge", prog_name="streamgauge-server")
def cli() -> None:
    """The streamgauge server: metrics of data pipelines over gRPC.

    Every setting can be given as a flag, as a STREAMGAUGE_* environment variable or in a TOML file;
    `streamgauge-server config --reference` lists them.
    """


for _command in (check, copy, compact, retention):
    cli.add_command(_command)


@cli.command()
@settings_options
@click.option("--listen", metavar="ADDRESS", help="host:port, [::1]:port or unix:/path. [default: 127.0.0.1:50051]")
@click.option("--migrate/--no-migrate", default=None, help="Migrate the schema first. [default: for SQLite only]")
@click.option("--http-port", "http__port", type=int, metavar="PORT", help="Serve HTTP on this port: REST and more.")
@click.option("--http-host", "http__host", metavar="HOST", help="Address for HTTP. [default: 127.0.0.1]")
@click.option("--workers", type=int, metavar="N", help="Processes that share the ports. [default: 1]")
@click.option("--auth", type=click.Choice(["auto", "required", "off"]), help="When callers must show a token.")
@click.option("--insecure", is_flag=True, default=None, help="Listen beyond loopback without TLS or authentication.")
@click.option("--tls-cert", "tls__cert", metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", "tls__key", metavar="FILE", help="Private key, PEM.")
@click.option("--tls-client-ca", "tls__client_ca", metavar="FILE", help="Demand client certificates of these CAs.")
@click.option("--subject-registration", type=click.Choice(["open", "closed"]), help="May a write register a source?")
@click.option("--asset-registration", type=click.Choice(["open", "closed"]), help="May an emit register an asset?")
@cluster_option
@click.option("--collect/--no-collect", default=None, help="Follow the jobs of the clusters. [default: yes]")
@watching_options
@click.option("--log-access", "log__access", type=click.Choice(["all", "failures", "off"]), help="Which calls to log.")
def serve(config_file: Path | None, assignments: Sequence[str], migrate: bool | None, **flags: Any) -> None:
    """Serve the gRPC API, and with --http-port the same over HTTP.

    \b
    Examples:
      streamgauge-server serve
      streamgauge-server serve --database postgresql://sg:secret@db/streamgauge --migrate --workers 4
      streamgauge-server serve --listen 0.0.0.0:50051 --tls-cert server.pem --tls-key server.key
      streamgauge-server serve --http-port 8080
      streamgauge-server serve --set limits.max_windows=500 --metrics-port 9464
      streamgauge-server serve --cluster orders=http://jobmanager:8081

    SIGTERM and SIGINT stop it in order: health says NOT_SERVING, calls under way end, what waits is
    committed, the store closes.
    """  # noqa: D301, click looks for the character
    if migrate is not None:
        flags["migrate"] = "always" if migrate else "never"
    settings = load_settings(config_file, assignments, **flags)
    logs.configure(settings.log.level, settings.log.format)
    if settings.workers == 1:
        raise SystemExit(run(_serve(settings, None)))
    raise SystemExit(run(_supervise(settings)))


@cli.command(hidden=True)
@click.argument("index", type=int)
def worker(index: int) -> None:
    """Serve as one of several processes; started by `serve --workers` with the settings on standard input."""
    settings = worker_settings()
    logs.configure(settings.log.level, settings.log.format, worker=index)
    raise SystemExit(run(_serve(settings, index)))


async def _supervise(settings: Settings) -> int:
    await migrate_if_wanted(settings)
    return await Supervisor(settings).run()


async def _serve(settings: Settings, worker_index: int | None) -> int:
    # Imported here: the supervisor, which runs this module too, must be free of gRPC.
    from streamgauge_server.app import App

    stop = stop_event()
    app = App(settings, worker=worker_index)
    await app.start()
    _tame_collector()
    ends = [asyncio.create_task(stop.wait()), asyncio.create_task(app.wait_for_termination())]
    if worker_index is not None:
        ends.append(asyncio.create_task(supervisor_gone()))
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    broke_down = ends[1].done()
    await app.stop()
    for task in ends:
        task.cancel()
    await asyncio.wait(ends)
    return 1 if broke_down else 0


@cli.group()
def collect() -> None:
    """Follow what runs elsewhere, as a process of its own beside servers on the same database."""


@collect.command("flink")
@settings_options
@cluster_option
@watching_options
def collect_flink(config_file: Path | None, assignments: Sequence[str], **flags: Any) -> None:
    """Follow the jobs of Flink clusters: states, metrics and exceptions.

    \b
    Examples:
      streamgauge-server collect flink --cluster orders=http://jobmanager:8081
      streamgauge-server collect flink --database postgresql://sg:secret@db/streamgauge \\
          --cluster orders=https://jm1:8081,https://jm2:8081 \\
          --cluster 'test=https://proxy/flink/test token_file=/run/secrets/flink registration=known'
      streamgauge-server collect flink --config streamgauge.toml --metrics-port 9465

    Of several collectors of a cluster on one database, this one or those in `serve`, one polls it; when
    that one stops, the next takes over. Servers that shall answer for jobs of a cluster, or stop them,
    need its setting too: give it to them with `--no-collect`. SIGTERM and SIGINT stop it in order.
    """  # noqa: D301, click looks for the character
    settings = load_settings(config_file, assignments, **flags)
    if not settings.clusters:
        raise click.UsageError("name a cluster: --cluster NAME=URL, or the setting clusters")
    logs.configure(settings.log.level, settings.log.format)
    run(_collect(settings))


async def _collect(settings: Settings) -> None:
    from streamgauge_server.collecting import collect as run_collector

    await run_collector(settings, stop_event())


@cli.command()
@configuration_options
@click.option(
    "--upstream", "http__upstream__address", metavar="ADDRESS", help="The gRPC server: host:port or unix:/path."
)
@click.option("--upstream-tls", "http__upstream__tls", is_flag=True, default=None, help="It speaks TLS.")
@click.option("--upstream-ca", "http__upstream__ca", metavar="FILE", help="Trust these CAs for it, PEM; implies TLS.")
@click.option("--upstream-cert", "http__upstream__cert", metavar="FILE", help="Client certificate for it, PEM.")
@click.option("--upstream-key", "http__upstream__key", metavar="FILE", help="Key of the client certificate, PEM.")
@click.option("--upstream-server-name", "http__upstream__server_name", metavar="NAME", help="Name in its certificate.")
@click.option("--http-port", "http__port", type=int, metavar="PORT", help="Port to serve. [default: 8080]")
@click.option("--http-host", "http__host", metavar="HOST", help="Address to serve. [default: 127.0.0.1]")
@click.option("--insecure", is_flag=True, default=None, help="Listen beyond loopback without TLS.")
@click.option("--tls-cert", "tls__cert", metavar="FILE", help="Certificate chain for HTTPS, PEM.")
@click.option("--tls-key", "tls__key", metavar="FILE", help="Private key, PEM.")
@click.option("--tls-client-ca", "tls__client_ca", metavar="FILE", help="Demand client certificates of these CAs.")
@watching_options
@click.option("--log-access", "log__access", type=click.Choice(["all", "failures", "off"]), help="What to log.")
def gateway(config_file: Path | None, assignments: Sequence[str], **flags: Any) -> None:
    """Serve HTTP before a gRPC server that runs elsewhere: REST, the legacy APIs, OpenAPI.

    \b
    Examples:
      streamgauge-server gateway --upstream metrics.internal:50051 --upstream-tls
      streamgauge-server gateway --upstream 127.0.0.1:50051 --http-port 8081
      streamgauge-server gateway --upstream db1:50051 --upstream-ca ca.pem \\
          --http-host 0.0.0.0 --tls-cert gateway.pem --tls-key gateway.key

    It keeps nothing: run as many as you like behind a balancer. Tokens travel on as they come; the
    server decides. SIGTERM and SIGINT stop it in order: /readyz says 503, requests under way end.
    """  # noqa: D301, click looks for the character
    settings = load_settings(config_file, assignments, **flags)
    if settings.http.upstream.address is None:
        raise click.UsageError("name the server: --upstream HOST:PORT, or the setting http.upstream.address")
    logs.configure(settings.log.level, settings.log.format)
    run(_front(settings))


async def _front(settings: Settings) -> None:
    from streamgauge_server.fronting import front

    await front(settings, stop_event())


def _tame_collector() -> None:
    """Keeps the cyclic garbage collector from walking over the whole program again and again.

    A large request makes tens of thousands of objects, and every few of such requests Python would look at all that was
    ever imported: half of the time that they take. What is there after the start stays, so it need not be looked at.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


@cli.command("migrate")
@settings_options
def migrate_command(config_file: Path | None, assignments: Sequence[str], **flags: Any) -> None:
    """Bring the database to the schema that this version needs.

    Safe to run while other servers start: one of them migrates, the others wait.
    """
    from streamgauge_server.storage.migrate import migrate, schema_state

    settings = load_settings(config_file, assignments, **flags)

    async def work() -> tuple[str | None, str]:
        try:
            before, _ = await schema_state(settings.database)
            await migrate(settings.database)
            return before, (await schema_state(settings.database))[1]
        except ValueError as error:
            raise StartError(f"database: {error}") from error

    before, after = run(work())
    click.echo(f"the schema is at {after}" + ("" if before == after else f", it was {before or 'not there'}"))


@cli.group()
def token() -> None:
    """Create, list and revoke access tokens, in the database itself.

    Within 5 seconds after the first one, running servers ask every caller for a token (setting `auth`).
    """


@token.command("create")
@settings_options
@tenant_option
@click.option("--scope", "scopes", multiple=True, required=True, type=click.Choice(SCOPES), help="May be repeated.")
@click.option("--name", default="", help="What the token is for.")
@click.option("--expires-in", metavar="AGE", help="For example 12h, 90d or 52w. [default: never]")
def token_create(
    config_file: Path | None,
    assignments: Sequence[str],
    tenant: str,
    scopes: Sequence[str],
    name: str,
    expires_in: str | None,
    **flags: Any,
) -> None:
    """Create a token and print its secret, once: only a hash of it is stored.

    \b
    Examples:
      streamgauge-server token create --scope admin
      export STREAMGAUGE_TOKEN=$(streamgauge-server token create \\
          --scope write:source_metrics --name collector --expires-in 90d)
    """  # noqa: D301, click looks for the character
    seconds = _age(expires_in) if expires_in else None

    async def work(store: Store) -> tuple[Token, str]:
        from streamgauge_server.services.tokens import Tokens

        clock = SystemClock()
        expire_time = None if seconds is None else clock.now() + seconds * MICROS_PER_SECOND
        return await Tokens(store, clock).create(
            _operator(tenant), scopes=list(dict.fromkeys(scopes)), display_name=name, expire_time=expire_time
        )

    created, secret = with_store(load_settings(config_file, assignments, **flags), work)
    expiry = "never" if created.expire_time is None else isoformat(created.expire_time)
    click.echo(f"tokens/{created.id} of tenant {created.tenant}, expires {expiry}; the secret:", err=True)
    click.echo(secret)


@token.command("list")
@settings_options
@tenant_option
def token_list(config_file: Path | None, assignments: Sequence[str], tenant: str, **flags: Any) -> None:
    """List the tokens of a tenant, the newest first."""

    async def work(store: Store) -> list[Token]:
        from streamgauge_server.services.tokens import Tokens

        tokens = Tokens(store, SystemClock())
        found: list[Token] = []
        while True:
            after = (found[-1].create_time, found[-1].id) if found else None
            page = await tokens.list(_operator(tenant), after=after, page_size=1_000)
            found.extend(page.tokens)
            if not page.more:
                return found

    now = SystemClock().now()
    for found in with_store(load_settings(config_file, assignments, **flags), work):
        name = f"  {found.display_name}" if found.display_name else ""
        click.echo(f"{found.id}  {_state(found, now)}  {','.join(sorted(found.scopes))}{name}")


@token.command("revoke")
@settings_options
@tenant_option
@click.argument("token_id", metavar="ID")
def token_revoke(
    config_file: Path | None, assignments: Sequence[str], tenant: str, token_id: str, **flags: Any
) -> None:
    """Revoke a token. Running servers refuse it within 5 seconds."""

    async def work(store: Store) -> Token:
        from streamgauge_server.services.tokens import Tokens

        return await Tokens(store, SystemClock()).revoke(_operator(tenant), token_id.removeprefix("tokens/"))

    revoked = with_store(load_settings(config_file, assignments, **flags), work)
    click.echo(f"tokens/{revoked.id} is revoked")


@cli.command()
@settings_options
@click.option("--reference", "as_reference", is_flag=True, help="Every setting with type, default and meaning.")
@click.option("--show", is_flag=True, help="The values in force, secrets masked. This is the default.")
def config(config_file: Path | None, assignments: Sequence[str], as_reference: bool, show: bool, **flags: Any) -> None:
    """Show the settings in force, or all that there are.

    Flags win over STREAMGAUGE_* environment variables, these over the TOML file, it over the defaults.
    """
    if as_reference and show:
        raise click.UsageError("--reference and --show exclude each other")
    if as_reference:
        click.echo("\n\n".join(_described(entry) for entry in reference()))
        click.echo("\n\n".join(["\nOf each cluster:", *(_option(entry) for entry in cluster_reference())]))
        return
    for name, value in shown(load_settings(config_file, assignments, **flags)).items():
        click.echo(f"{name} = {'' if value is None else value}")


def _operator(tenant: str) -> Caller:
    """Whoever can open the database may do everything."""
    return Caller(tenant, frozenset({"admin"}))


def _age(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", text)
    if match is None:
        raise click.BadParameter(f"must be a number with s, m, h, d or w, such as 90d; got {text!r}")
    return int(match[1]) * _SECONDS[match[2]]


def _state(token_: Token, now: int) -> str:
    if token_.revoke_time is not None:
        return f"revoked {isoformat(token_.revoke_time)}"
    if token_.expire_time is None:
        return "never expires"
    word = "expired" if token_.expire_time <= now else "expires"
    return f"{word} {isoformat(token_.expire_time)}"


def _described(entry: Entry) -> str:
    default = "none" if entry.default is None else entry.default
    return f"{entry.name}\n    {entry.variable}  ({entry.type}, default {default})\n    {entry.description}"


def _option(entry: Entry) -> str:
    default = "none" if entry.default is None else entry.default
    return f"{entry.name}\n    ({entry.type}, default {default})\n    {entry.description}"
