"""Errors of the store as a whole."""

from __future__ import annotations

from streamgauge_server.model.errors import DomainError, Reason


def is_store_unavailable(error: BaseException) -> bool:
    """Tells whether an error is about the store as a whole, so that no other caller would fare better."""
    return isinstance(error, DomainError) and error.reason == Reason.STORE_UNAVAILABLE


def closed() -> DomainError:
    """The error of a store that is closed or closing."""
    return DomainError(Reason.SHUTTING_DOWN, "the store is closing; nothing of this call was stored", retry_after=1.0)
