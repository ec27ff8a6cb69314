"""Telling a store that is to blame from a caller that is."""

from __future__ import annotations

from streamgauge_server.model.errors import DomainError, Reason


def is_store_unavailable(error: BaseException) -> bool:
    """Tells whether an error is about the store as a whole, so that no other caller would fare better."""
    return isinstance(error, DomainError) and error.reason == Reason.STORE_UNAVAILABLE
