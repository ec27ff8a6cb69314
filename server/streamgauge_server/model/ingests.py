"""Ingests: files on their way into sources."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class IngestStatus(IntEnum):
    """What became of a file; the contract's numbers."""

    DEFERRED = 1
    INGESTED = 2
    ERRORED = 3
    DUPLICATE = 4


@dataclass(frozen=True, slots=True)
class Ingest:
    """One file. `source` is the number of its source; times in microseconds, sizes in bytes, None where not known."""

    source: int
    ingest_id: str
    status: IngestStatus
    end_time: int
    file_size: int | None = None
    transfer_start_time: int | None = None
    transfer_end_time: int | None = None
    ingest_start_time: int | None = None
