"""The states of a Flink job."""

from __future__ import annotations

from enum import Enum


class FlinkState(Enum):
    """The eleven states that Flink has today. A state that a later Flink adds is OTHER; its text is kept beside it."""

    INITIALIZING = "INITIALIZING"
    CREATED = "CREATED"
    RUNNING = "RUNNING"
    FAILING = "FAILING"
    FAILED = "FAILED"
    CANCELLING = "CANCELLING"
    CANCELED = "CANCELED"
    FINISHED = "FINISHED"
    RESTARTING = "RESTARTING"
    SUSPENDED = "SUSPENDED"
    RECONCILING = "RECONCILING"
    OTHER = "OTHER"

    @property
    def terminal(self) -> bool:
        """Nothing follows. SUSPENDED is not among these: another JobManager may resume the job under the same id."""
        return self in _TERMINAL

    @classmethod
    def of(cls, text: str) -> FlinkState:
        """Returns the state of this name."""
        return _BY_NAME.get(text, cls.OTHER)


_TERMINAL = frozenset({FlinkState.FAILED, FlinkState.CANCELED, FlinkState.FINISHED})
_BY_NAME = {state.value: state for state in FlinkState}
