"""What the server tells about itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import READ_SCOPE, Caller
from streamgauge_server.model.jobs import ClusterStatus
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.services.auth import Authenticator
from streamgauge_server.storage.store import Store, StoreInfo

READ_JOBS = READ_SCOPE[SubjectKind.JOB]


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Version, limits in force, store and features of a server, and who is asking. Times in microseconds.

    `clusters` are those that collectors poll for the caller's tenant, none for callers who may not read jobs.
    """

    version: str
    limits: Limits
    store: StoreInfo
    features: Sequence[str]
    caller: Caller
    server_time: int
    start_time: int
    clusters: Sequence[ClusterStatus] = ()


class ServerInfoReader:
    """Describes this server process; one instance serves all callers."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Limits,
        authenticator: Authenticator,
        *,
        version: str,
        features: Collection[str],
    ) -> None:
        """`features` are those that do not change while the server runs; its start time is the moment of this call."""
        self._store = store
        self._clock = clock
        self._limits = limits
        self._version = version
        self._authenticator = authenticator
        self._features = frozenset(features)
        self._start_time = clock.now()

    async def read(self, caller: Caller) -> ServerInfo:
        """Returns what the server is, for any caller.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        # With `auth = auto`, the first token switches authentication on while the server runs.
        features = self._features | {"authentication"} if await self._authenticator.required() else self._features
        return ServerInfo(
            version=self._version,
            limits=self._limits,
            store=await self._store.info(),
            features=sorted(features),
            caller=caller,
            server_time=self._clock.now(),
            start_time=self._start_time,
            clusters=await self._store.collectors.statuses(caller.tenant) if caller.may(READ_JOBS) else (),
        )
