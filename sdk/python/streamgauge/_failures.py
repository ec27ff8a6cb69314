"""What a writer reports when something it had taken is not stored."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from streamgauge import _asset_codec, _decode
from streamgauge.asset_metrics import Emit, EmitError
from streamgauge.observations import Observation, WriteError
from streamgauge.v1 import asset_metric_service_pb2, common_pb2

logger = logging.getLogger("streamgauge")

ErrorT = TypeVar("ErrorT")


class FailureKind(StrEnum):
    """Why what a writer had taken is not stored.

    `REJECTED`: the server refused it item by item. `FAILED`: a whole batch was refused, or failed in a way that another
    try does not mend. `DROPPED`: it made room for newer items. `UNSENT`: the writer was closed before it was answered;
    what was under way at that moment may be stored all the same.
    """

    REJECTED = "rejected"
    FAILED = "failed"
    DROPPED = "dropped"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class Failure(ABC, Generic[ErrorT]):
    """What a writer reports to `on_error`: why (`kind`) how many (`count`) of its items are not stored.

    `errors` are the server's words on refused ones; `error` is what a whole batch failed with.
    """

    noun: ClassVar[str]

    kind: FailureKind
    count: int
    errors: tuple[ErrorT, ...] = ()
    error: Exception | None = None
    encoded: tuple[bytes, ...] = field(default=(), repr=False)

    def __str__(self) -> str:
        text = f"{self.count} {self.noun} were not stored ({self.kind})"
        if self.errors:
            first = "; ".join(map(self._told, self.errors[:3]))
            return f"{text}: {first}" + ("; ..." if self.count > 3 else "")
        return f"{text}: {self.error}" if self.error is not None else text

    @abstractmethod
    def _told(self, error: ErrorT) -> str:
        """Returns one of the server's words as text."""


@dataclass(frozen=True, slots=True)
class WriteFailure(Failure[WriteError]):
    """What a `MetricWriter` reports to `on_error`: why (`kind`) how many (`count`) observations are not stored.

    `errors` are the server's words on refused ones, at most 100; `error` is what a whole batch failed with.
    """

    noun: ClassVar[str] = "observations"

    def observations(self) -> Iterator[Observation]:
        """Yields the observations, to keep or to write them elsewhere.

        Of refused ones those that `errors` names, of the other kinds all of them; dropped ones are gone.
        """
        for data in self.encoded:
            yield _decode.observation(common_pb2.Observation.FromString(data))

    def _told(self, error: WriteError) -> str:
        return f"{error.subject} {error.metric}: {error.reason}: {error.message}"


@dataclass(frozen=True, slots=True)
class EmitFailure(Failure[EmitError]):
    """What an `AssetWriter` reports to `on_error`: why (`kind`) how many (`count`) emits are not stored.

    `errors` are the server's words on refused ones; `error` is what a whole batch failed with.
    """

    noun: ClassVar[str] = "emits"

    def emits(self) -> Iterator[Emit]:
        """Yields the emits, to keep or to send them elsewhere; dropped ones are gone."""
        for data in self.encoded:
            yield _asset_codec.emit_of(asset_metric_service_pb2.EmitAssetMetricsRequest.FromString(data))

    def _told(self, error: EmitError) -> str:
        return f"{error.asset}: {error.reason}: {error.message}"


FailureT = TypeVar("FailureT", bound=Failure[Any])

OnError: TypeAlias = Callable[[WriteFailure], None]
OnEmitError: TypeAlias = Callable[[EmitFailure], None]


def log_failure(failure: Failure[Any]) -> None:
    """Logs a warning: what a writer does that has no `on_error`."""
    logger.warning("%s", failure)
