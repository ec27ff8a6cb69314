"""The client. `aio_client` has its asyncio twin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from streamgauge._calls import CallingChannel
from streamgauge._connection import DEFAULT_TARGET, CertificatePair, Connection, Tls, Token, from_env
from streamgauge._stubs import Stubs
from streamgauge.assets import Assets
from streamgauge.job_errors import JobErrors
from streamgauge.job_types import JobTypes
from streamgauge.jobs import Jobs
from streamgauge.metric_types import MetricTypes
from streamgauge.metrics import Metrics
from streamgauge.server import Server
from streamgauge.sources import Sources
from streamgauge.tokens import Tokens


class Client:
    """A client of one streamgauge server. Safe to share between threads; begins anew in a forked child.

    Example:
        >>> from streamgauge import Client
        >>> with Client("127.0.0.1:50051") as client:
        ...     print(client.sources.latest("orders")["sourceRecordWriteTotal"].value)

    Args:
        target: `host:port`, or any gRPC target (`dns:///metrics.example:443`, `unix:/run/streamgauge.sock`).
        token: The secret of an access token, or a function that returns it (asked at every call).
        tls: False for plaintext, True for TLS with the system's authorities, the path of a PEM file with the
            authorities, or ready `grpc.ChannelCredentials`.
        client_cert: Paths of the client's certificate chain and private key (PEM), where the server wants mTLS.
        server_name: The name that the server's certificate must have, where it is not the target's.
        timeout: Seconds for every call that names no `timeout` of its own, instead of each method's default
            (10 s for most, 30 s for writes and queries, 600 s for imports). `math.inf` for no bound.
        allow_insecure_token: Lets the token go over plaintext to another machine. Without it, ValueError.
        options: gRPC channel options; they stand over ours.

    Attributes:
        sources: Streaming sources and their metrics.
        metrics: Writing and reading metrics of any subject.
        assets: Data assets and the metrics that are emitted on them.
        jobs: Jobs, their runs, state and exceptions; stopping them; reports of runners.
        job_types: The kinds of jobs.
        job_errors: The catalog of errors by which failures are counted.
        metric_types: Figures of jobs, files and errors, and your own, over time.
        tokens: Access tokens.
        server: What the server says of itself.
        stubs: The generated stubs, for what this class does not offer.

    Nothing is sent before the first call, so a server that is away shows then, as `UnavailableError`.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: Token | None = None,
        tls: Tls = False,
        client_cert: CertificatePair | None = None,
        server_name: str | None = None,
        timeout: float | None = None,
        allow_insecure_token: bool = False,
        options: Sequence[tuple[str, Any]] = (),
    ) -> None:
        connection = Connection(
            target, token, tls, client_cert, server_name, timeout, allow_insecure_token, tuple(options)
        )
        self._build(CallingChannel(connection))

    def _build(self, channel: CallingChannel) -> None:
        self._channel = channel
        self.stubs = Stubs(channel)
        self.sources = Sources(self.stubs.sources)
        self.metrics = Metrics(self.stubs.metrics)
        self.assets = Assets(self.stubs.assets, channel)
        self.jobs = Jobs(self.stubs.jobs)
        self.job_types = JobTypes(self.stubs.jobs)
        self.job_errors = JobErrors(self.stubs.jobs)
        self.metric_types = MetricTypes(self.stubs.metric_types)
        self.tokens = Tokens(self.stubs.tokens)
        self.server = Server(self.stubs.server)

    @classmethod
    def from_env(cls, **overrides: Any) -> Self:
        """Returns a client as the environment says; `overrides` are arguments of the class and stand over it.

        `STREAMGAUGE_TARGET` (default `127.0.0.1:50051`), `STREAMGAUGE_TOKEN` or `STREAMGAUGE_TOKEN_FILE` (read at every
        call), `STREAMGAUGE_TLS` (`true`, `false`), `STREAMGAUGE_CA_FILE` (implies TLS),
        `STREAMGAUGE_CLIENT_CERT_FILE` with `STREAMGAUGE_CLIENT_KEY_FILE`, `STREAMGAUGE_SERVER_NAME`,
        `STREAMGAUGE_TIMEOUT` (seconds), `STREAMGAUGE_ALLOW_INSECURE_TOKEN`. ValueError names a wrong one.
        """
        return cls(**{**from_env(os.environ), **overrides})

    @property
    def target(self) -> str:
        """Where the server is."""
        return self._channel.connection.target

    def close(self) -> None:
        """Closes the connection; calls under way fail. A closed client raises RuntimeError. Closing twice is fine."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"
