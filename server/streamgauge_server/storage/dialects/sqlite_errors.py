"""SQLite's result codes in the words of the domain. Codes decide, texts never do."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from streamgauge_server.model.errors import DomainError, store_unavailable

CAUSES = {
    sqlite3.SQLITE_FULL: "disk_full",
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_PROTOCOL: "locked",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_IOERR: "io_error",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
    sqlite3.SQLITE_PERM: "cannot_open",
    sqlite3.SQLITE_AUTH: "cannot_open",
    sqlite3.SQLITE_CORRUPT: "corrupt",
    sqlite3.SQLITE_NOTADB: "corrupt",
    sqlite3.SQLITE_NOMEM: "out_of_memory",
}
"""Causes of STORE_UNAVAILABLE by primary result code."""

_BROKEN = {
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PROTOCOL,
}


class FileMoved(Exception):
    """The file of the database is not where it was, or another one is: what were written now would be lost."""


def result_code(error: BaseException) -> int | None:
    """Returns the primary result code of an error of SQLite, wrapped by SQLAlchemy or not; None for any other error."""
    if isinstance(error, DBAPIError):
        error = error.orig if error.orig is not None else error
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def is_passing(error: BaseException) -> bool:
    """Tells whether trying again may help: another process holds the database, or its file was replaced."""
    return isinstance(error, FileMoved) or result_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_broken(error: BaseException) -> bool:
    """Tells whether the connection should be given up: the file may have been replaced or come back."""
    return isinstance(error, FileMoved) or result_code(error) in _BROKEN


def translate(error: BaseException) -> DomainError | None:
    """Returns STORE_UNAVAILABLE if the store is to blame for an error, otherwise None."""
    code = result_code(error)
    cause = "file_moved" if isinstance(error, FileMoved) else None if code is None else CAUSES.get(code)
    return None if cause is None else store_unavailable("sqlite", cause)
