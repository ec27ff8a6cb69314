"""What a method of the sync and of the asyncio channel have in common: its policy, its metadata, its binding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, Protocol, TypeAlias, TypeVar

from streamgauge._connection import Connection
from streamgauge._service_config import MethodPolicy

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
Serializer: TypeAlias = Callable[[Any], bytes] | None
Deserializer: TypeAlias = Callable[[bytes], Any] | None

inherited: list[Any] = []
"""Channels that a forked child has from its parent: neither used nor destroyed, for both touch state of the parent."""


class Owner(Protocol):
    """Whose method it is."""

    @property
    def connection(self) -> Connection:
        """Where calls go, and with which token."""

    def open(self) -> Any:
        """Returns the real channel, a new one after a fork."""


OwnerT = TypeVar("OwnerT", bound=Owner)


class Method(Generic[OwnerT]):
    """A method of the channel, bound again whenever the channel is a new one."""

    kind: ClassVar[str]

    def __init__(
        self, owner: OwnerT, path: str, serializer: Serializer, deserializer: Deserializer, policy: MethodPolicy
    ) -> None:
        self.path = path
        self.policy = policy
        self._owner = owner
        self._serializer = serializer
        self._deserializer = deserializer
        self._bound: tuple[Any, Any] | None = None

    def callable(self) -> Any:
        """Returns gRPC's callable of this method on the channel of the moment."""
        channel = self._owner.open()
        bound = self._bound
        if bound is None or bound[0] is not channel:
            method = getattr(channel, self.kind)(
                self.path, request_serializer=self._serializer, response_deserializer=self._deserializer
            )
            self._bound = bound = (channel, method)
        return bound[1]

    def metadata(self, extra: Metadata | None) -> tuple[tuple[str, str | bytes], ...]:
        """Returns the token and what the caller adds."""
        ours = self._owner.connection.metadata()
        return (*ours, *extra) if extra else ours

    def timeout(self, wanted: float | None) -> float:
        """Returns the seconds that a call has: as the caller says, else the client, else the service config."""
        for seconds in (wanted, self._owner.connection.timeout, self.policy.timeout):
            if seconds is not None:
                return seconds
        return math.inf


def or_none(seconds: float) -> float | None:
    """Returns a timeout as gRPC wants it: None for no bound."""
    return None if seconds == math.inf else seconds
