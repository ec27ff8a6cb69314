"""What the commands of `streamgauge-server` share: options, how settings are loaded, how work is run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from streamgauge_server import logs
from streamgauge_server.configuration import ConfigurationError, load
from streamgauge_server.model.clock import SystemClock
from streamgauge_server.model.entities import DEFAULT_TENANT
from streamgauge_server.model.errors import DomainError
from streamgauge_server.settings import Settings
from streamgauge_server.startup import StartError, open_store
from streamgauge_server.storage.migrate import CopyUnfinished
from streamgauge_server.supervisor import EXIT_CANNOT_START, PortTaken

if TYPE_CHECKING:
    from streamgauge_server.storage.store import Store

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])

EXIT_DAMAGED = 1
"""Something stored is damaged, or not all of it was done."""
EXIT_CONFIGURATION = 2


def configuration_options(command: Command) -> Command:
    """Adds the options that every command has."""
    for option in (
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="NAME=VALUE",
            help="Any setting by its name, for example limits.max_windows=500. May be repeated.",
        ),
        click.option(
            "--config",
            "config_file",
            type=click.Path(dir_okay=False, path_type=Path),
            help="TOML file with settings. [env: STREAMGAUGE_CONFIG]",
        ),
    ):
        command = option(command)
    return command


def settings_options(command: Command) -> Command:
    """Adds the options that every command on a store has."""
    database = click.option("--database", metavar="URL", help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.")
    return configuration_options(database(command))


def watching_options(command: Command) -> Command:
    """Adds the options of processes that go on: how they can be watched."""
    for option in (
        click.option("--log-format", "log__format", type=click.Choice(["auto", "json", "console"])),
        click.option("--log-level", "log__level", type=click.Choice(["debug", "info", "warning", "error"])),
        click.option("--metrics-port", type=int, metavar="PORT", help="Serve Prometheus metrics on this port."),
    ):
        command = option(command)
    return command


cluster_option = click.option(
    "--cluster",
    "clusters",
    multiple=True,
    metavar="NAME=URL[,URL...]",
    help="A Flink cluster, with further words OPTION=VALUE in quotes; config --reference lists them. May be repeated.",
)


tenant_option = click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose data it opens.")


def load_settings(config_file: Path | None, assignments: Sequence[str], **flags: Any) -> Settings:
    """Returns the settings in force; ends the process with a message where they are wrong."""
    given: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise click.UsageError(f"--set needs NAME=VALUE, got {assignment!r}")
        given[name] = value
    given.update({name.replace("__", "."): value for name, value in flags.items() if value not in (None, ())})
    try:
        return load(given, config=config_file)
    except ConfigurationError as error:
        die(str(error), EXIT_CONFIGURATION)


def die(message: str, status: int) -> NoReturn:
    """Ends the process with a message and an exit status."""
    for line in message.splitlines():
        click.echo(f"streamgauge-server: {line}", err=True)
    raise SystemExit(status)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine; what keeps it from working becomes a message and an exit status."""
    try:
        return asyncio.run(work)
    except (StartError, PortTaken, CopyUnfinished) as error:
        die(str(error), EXIT_CANNOT_START)
    except DomainError as error:
        die(error.message, EXIT_CANNOT_START)


def with_store(settings: Settings, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Runs a coroutine with the store that the settings name, as `run` does."""
    logs.configure("warning", settings.log.format)

    async def opened() -> T:
        store = await open_store(settings, SystemClock())
        try:
            return await work(store)
        finally:
            await store.close()

    return run(opened())


def stop_event() -> asyncio.Event:
    """Returns what SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
