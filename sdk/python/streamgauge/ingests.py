"""Files on their way into sources, as they are reported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from streamgauge._encode import enum_number, put_time
from streamgauge.enums import IngestStatus
from streamgauge.names import source_name
from streamgauge.v1 import source_service_pb2 as pb

MAX_INGESTS = 5_000
"""Ingests in one request: the server's bound."""
MAX_REQUEST_BYTES = 1024 * 1024
"""Ingests in one request, encoded."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """One file on its way into a source. It counts in the hour of its `end_time`.

    `ingest_id` is unique in the source: reported again, the ingest is replaced. `file_size` is in bytes; 0 is a size,
    None is none. Ingesting ended at `end_time`; a negative length counts as 0.

    Example:
        >>> from streamgauge import Ingest
        >>> Ingest("landing", "orders-0001.csv", "ingested", end_time=datetime.now(UTC), file_size=120_400)
    """

    source: str
    ingest_id: str
    status: IngestStatus | str
    end_time: datetime
    file_size: int | None = None
    transfer_start_time: datetime | None = None
    transfer_end_time: datetime | None = None
    ingest_start_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReportedIngests:
    """How many reports were new, and how many replaced an earlier one with something else."""

    created: int = 0
    changed: int = 0

    def plus(self, answer: pb.ReportIngestsResponse) -> ReportedIngests:
        """Returns the counts with those of another answer."""
        return ReportedIngests(self.created + answer.created_count, self.changed + answer.changed_count)


def requests(ingests: Iterable[Ingest]) -> Iterator[pb.ReportIngestsRequest]:
    """Cuts ingests into requests that the server takes, by count and bytes."""
    waiting: list[pb.Ingest] = []
    size = 0
    for given in ingests:
        message = _message(given)
        length = message.ByteSize()
        if waiting and (len(waiting) == MAX_INGESTS or size + length > MAX_REQUEST_BYTES):
            yield pb.ReportIngestsRequest(ingests=waiting)
            waiting, size = [], 0
        waiting.append(message)
        size += length
    if waiting:
        yield pb.ReportIngestsRequest(ingests=waiting)


def _message(given: Ingest) -> pb.Ingest:
    message = pb.Ingest(
        source=source_name(given.source),
        ingest_id=given.ingest_id,
        status=enum_number(IngestStatus, given.status),
        file_size=given.file_size,
    )
    for name in ("end_time", "transfer_start_time", "transfer_end_time", "ingest_start_time"):
        time = getattr(given, name)
        if time is not None:
            put_time(getattr(message, name), time, name)
    return message
