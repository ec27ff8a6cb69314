"""PostgreSQL's error codes (SQLSTATE) in the words of the domain. Codes decide, texts never do.

The codes are those of Appendix A of PostgreSQL's documentation.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy.exc

from streamgauge_server.model.errors import DomainError, Reason, invalid_field, store_unavailable

CAUSES = {
    "08": "connection_lost",
    "28": "authentication",
    "3D000": "no_database",
    "25006": "read_only",
    "53100": "disk_full",
    "53200": "out_of_memory",
    "53300": "too_many_connections",
    "53": "out_of_resources",
    "55P03": "locked",
    "40001": "locked",
    "40P01": "locked",
    "57014": "statement_timeout",
    "57P": "shutting_down",
    "58": "io_error",
    "XX001": "corrupt",
    "XX002": "corrupt",
}
"""Causes of STORE_UNAVAILABLE by SQLSTATE, or by its first characters for a whole class."""

_CONFLICTS = {"40001", "40P01"}
_NUL = {"22021", "22P05"}
"""What PostgreSQL says to the character U+0000, which its texts and JSON documents cannot hold."""


class ConnectionLost(Exception):
    """The connection broke. `in_doubt` when that happened during the commit, which may have gone through."""

    def __init__(self, *, in_doubt: bool = False) -> None:
        super().__init__("connection lost")
        self.in_doubt = in_doubt


def sqlstate(error: BaseException) -> str | None:
    """Returns the SQLSTATE of an error of the driver, wrapped by SQLAlchemy or not; None for any other error."""
    for link in _chain(error):
        code = getattr(link, "sqlstate", None)
        if isinstance(code, str):
            return code
    return None


def is_conflict(error: BaseException) -> bool:
    """Tells whether a transaction lost against another one and should run again."""
    return sqlstate(error) in _CONFLICTS


def is_lost(error: BaseException) -> bool:
    """Tells whether the connection broke before the transaction was committed, so that it may run again."""
    if isinstance(error, ConnectionLost):
        return not error.in_doubt
    return isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated


def translate(error: BaseException) -> DomainError | None:
    """Returns STORE_UNAVAILABLE if the store is to blame for an error, INVALID_FIELD for a NUL, otherwise None."""
    if isinstance(error, ConnectionLost) and error.in_doubt:
        return DomainError(
            Reason.STORE_UNAVAILABLE,
            "the connection to the postgresql store broke during the commit; this call may have been stored or not",
            metadata={"store": "postgresql", "cause": "commit_in_doubt"},
            retry_after=1.0,
        )
    code = sqlstate(error)
    if code in _NUL:
        return invalid_field("text", "must not hold the character U+0000")
    if code is not None:
        cause = CAUSES.get(code) or CAUSES.get(code[:3]) or CAUSES.get(code[:2])
        return None if cause is None else store_unavailable("postgresql", cause)
    if is_lost(error):
        return store_unavailable("postgresql", "connection_lost")
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return store_unavailable("postgresql", "pool_exhausted")
    if any(isinstance(link, OSError) for link in _chain(error)):  # a TimeoutError while connecting is one, too
        return store_unavailable("postgresql", "unreachable")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.orig if isinstance(link, sqlalchemy.exc.DBAPIError) else link.__cause__
