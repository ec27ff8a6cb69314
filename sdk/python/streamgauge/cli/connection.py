"""The server that a command talks to: its options, the client, what errors become, and the line for grpcurl."""

from __future__ import annotations

import functools
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, NoReturn, ParamSpec, cast

import click
import grpc
from click.core import ParameterSource
from google.protobuf.message import Message

from streamgauge._calls import CallingChannel
from streamgauge._connection import DEFAULT_TARGET, Connection, from_env, is_loopback
from streamgauge.cli import grpcurl
from streamgauge.cli.output import Answer, Format, show
from streamgauge.client import Client
from streamgauge.errors import DeadlineExceededError, StreamgaugeError, UnavailableError

P = ParamSpec("P")

REFUSED, USAGE, UNAVAILABLE = 1, 2, 3
"""Exit codes: the server said no; the command line is wrong; the server did not answer."""

VARIABLES = {
    "target": "STREAMGAUGE_TARGET",
    "token": "STREAMGAUGE_TOKEN",
    "token_file": "STREAMGAUGE_TOKEN_FILE",
    "tls": "STREAMGAUGE_TLS",
    "ca_file": "STREAMGAUGE_CA_FILE",
    "client_cert_file": "STREAMGAUGE_CLIENT_CERT_FILE",
    "client_key_file": "STREAMGAUGE_CLIENT_KEY_FILE",
    "server_name": "STREAMGAUGE_SERVER_NAME",
    "timeout": "STREAMGAUGE_TIMEOUT",
    "allow_insecure_token": "STREAMGAUGE_ALLOW_INSECURE_TOKEN",
}
"""The options and the variables of the environment that they stand over: those of `Client.from_env`."""

_RIVALS = (("token", "token_file"), ("token_file", "token"), ("tls", "ca_file"))
"""An option on the command line takes away its rival in the environment."""

_OPTIONS = (
    click.option("--target", metavar="HOST:PORT", help=f"The server.  [default: {DEFAULT_TARGET}]"),
    click.option("--token", metavar="SECRET", help="The access token; better in a file or the environment."),
    click.option("--token-file", metavar="FILE", type=click.Path(), help="The file that holds the access token."),
    click.option("--tls/--no-tls", default=None, help="Whether to use TLS; --ca-file implies it."),
    click.option("--ca-file", metavar="FILE", type=click.Path(), help="The authorities to trust, PEM."),
    click.option("--client-cert-file", metavar="FILE", type=click.Path(), help="The client's certificate, PEM."),
    click.option("--client-key-file", metavar="FILE", type=click.Path(), help="The client's private key, PEM."),
    click.option("--server-name", metavar="NAME", help="The name that the server's certificate must have."),
    click.option("--timeout", metavar="SECONDS", help="How long a call may take.  [default: by method]"),
    click.option(
        "--allow-insecure-token", is_flag=True, default=None, help="Send the token in plaintext to another machine."
    ),
)


class Asked(Exception):
    """Raised instead of a call when only the question is wanted."""

    def __init__(self, method: str, request: Message) -> None:
        super().__init__(method)
        self.method = method
        self.request = request


class _Asking:
    """A method of any kind whose calls raise `Asked`."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __call__(self, request: Message, **options: Any) -> NoReturn:
        raise Asked(self._method, request)

    with_call = __call__


class _AskingChannel:
    """Stands in for a channel: every call raises what would have been asked."""

    def unary_unary(self, method: str, **serializers: Any) -> _Asking:
        """Returns a call that raises `Asked`."""
        return _Asking(method)

    unary_stream = unary_unary

    def close(self) -> None:
        """Does nothing: nothing is open."""


@dataclass(frozen=True)
class Session:
    """One run of a command."""

    connection: Connection
    format: Format
    show_grpcurl: bool = False

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yields a client; with `--show-grpcurl` its first call raises `Asked`."""
        connection = self.connection
        with Client(
            connection.target,
            token=connection.token,
            tls=connection.tls,
            client_cert=connection.client_cert,
            server_name=connection.server_name,
            timeout=connection.timeout,
            allow_insecure_token=connection.allow_insecure_token,
        ) as client:
            if self.show_grpcurl:
                client._build(CallingChannel(connection, opener=lambda _: cast(grpc.Channel, _AskingChannel())))
            yield client

    def show(self, answer: Answer) -> None:
        """Prints an answer as `--output` says."""
        show(answer, self.format)

    def grpcurl(self, asked: Asked) -> str:
        """Returns the line for grpcurl that asks the same."""
        certificate, key = map(str, self.connection.client_cert or ("", ""))
        server = grpcurl.Server(
            self.connection.target,
            tls=self.connection.tls is not False,
            ca_file=None if isinstance(self.connection.tls, bool) else str(self.connection.tls),
            cert_file=certificate or None,
            key_file=key or None,
            server_name=self.connection.server_name,
            max_time=self.connection.timeout,
            with_token=self.connection.token is not None,
        )
        return grpcurl.command(server, asked.method, asked.request)


def server_command(
    function: Callable[Concatenate[Session, P], None],
) -> Callable[..., None]:
    """Makes a function a command that talks to a server: it gets a `Session`, and its errors become exit codes."""

    @click.pass_context
    @functools.wraps(function)
    def command(ctx: click.Context, /, *args: P.args, **parameters: P.kwargs) -> None:
        options = {name: parameters.pop(name) for name in VARIABLES}
        format_ = Format(str(parameters.pop("output")))
        show_grpcurl = bool(parameters.pop("show_grpcurl"))
        session = Session(_connection(ctx, options), format_, show_grpcurl)
        try:
            function(session, *args, **parameters)
        except Asked as asked:
            click.echo(session.grpcurl(asked))
            if session.connection.token is not None and "STREAMGAUGE_TOKEN" not in os.environ:
                click.echo("The line takes the token from the variable STREAMGAUGE_TOKEN.", err=True)
        except StreamgaugeError as error:
            fail(explain(error, session.connection.target), exit_code(error))

    decorated: Callable[..., None] = command
    for option in reversed((*_OPTIONS, _OUTPUT, _SHOW_GRPCURL)):
        decorated = option(decorated)
    return decorated


_OUTPUT = click.option(
    "-o",
    "--output",
    type=click.Choice([format_.value for format_ in Format]),
    default=Format.TABLE.value,
    show_default=True,
    help="How to print the answer.",
)
_SHOW_GRPCURL = click.option(
    "--show-grpcurl", is_flag=True, help="Print the grpcurl line of the (first) call, and do nothing."
)


def _connection(ctx: click.Context, options: Mapping[str, Any]) -> Connection:
    """Returns the connection that options and environment say; a usage error when they contradict themselves."""
    environ = {name: value for name, value in os.environ.items() if name in VARIABLES.values()}
    for name, rival in _RIVALS:
        if options[name] is not None and ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            environ.pop(VARIABLES[rival], None)
    environ |= {VARIABLES[name]: str(value) for name, value in options.items() if value is not None}
    try:
        arguments = from_env(environ)
        _refuse_plaintext_token(arguments)
        connection = Connection(**arguments)
        connection.metadata()  # a token file that cannot be read is a matter of the command line, not of a call
        connection.credentials()
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from None
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}", ctx) from None
    return connection


def _refuse_plaintext_token(arguments: Mapping[str, Any]) -> None:
    """Raises ValueError, in words of the command line, where `Connection` would in words of Python."""
    target = arguments.get("target", DEFAULT_TARGET)
    safe = arguments.get("tls") or arguments.get("allow_insecure_token") or is_loopback(target)
    if arguments.get("token") is not None and not safe:
        raise ValueError(
            f"the token would go to {target} in plaintext: use --tls, or say --allow-insecure-token if the way there "
            "is safe by other means"
        )


def exit_code(error: StreamgaugeError) -> int:
    """Returns 3 when the server, or its store, did not answer, else 1."""
    return UNAVAILABLE if isinstance(error, (UnavailableError, DeadlineExceededError)) else REFUSED


def explain(error: StreamgaugeError, target: str) -> str:
    """Returns an error in one line: the reason, every wrong field, and the request's id."""
    what = "; ".join(f"{violation.field}: {violation.description}" for violation in error.violations) or error.message
    if not error.reason and isinstance(error, UnavailableError):
        what = f"no answer from {target}: {what}"
    request = f" (request {error.request_id})" if error.request_id else ""
    return " ".join(f"{error.reason or error.code.name}: {what}{request}".split())


def fail(message: str, code: int) -> NoReturn:
    """Prints an error and ends the program."""
    click.echo(f"Error: {message}", err=True)
    raise SystemExit(code)


def read_lines(path: str) -> Iterator[str]:
    """Yields the lines of a file, `-` being the standard input; a usage error when it cannot be read."""
    try:
        if path == "-":
            yield from io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", newline="")
        else:
            with Path(path).open(encoding="utf-8", newline="") as file:
                yield from file
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"cannot read {path}: it is not UTF-8") from None
