"""Etags: what tells a revision of something stored from the others."""

from __future__ import annotations

from streamgauge_server.model.errors import DomainError, Reason


def etag_of(number: int, revision: int) -> str:
    """Returns the etag of what has a number that is never given twice, in a revision."""
    return f"{number:x}-{revision:x}"


def check_etag(name: str, actual: str, given: str) -> None:
    """Refuses a change to what has changed since the caller read it; without a given etag nothing is asked.

    Raises:
        DomainError: ETAG_MISMATCH, for the resource name `name`.
    """
    if given and given != actual:
        raise DomainError(
            Reason.ETAG_MISMATCH,
            f"{name} has changed: its etag is {actual}, not {given}",
            metadata={"name": name, "etag": actual},
        )
