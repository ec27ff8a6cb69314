"""Importing samples from a file: a batch at a time, so that a run that is interrupted goes on after the last answer."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc

from streamgauge import _decode, _retry
from streamgauge._service_config import RetryPolicy
from streamgauge.client import Client
from streamgauge.errors import StreamgaugeError
from streamgauge.files import parquet
from streamgauge.files.catalog import CATALOG, Catalog, Registered, register
from streamgauge.files.formats import FileFormat, Place, reading
from streamgauge.files.pieces import Assembly, Piece
from streamgauge.files.progress_state import ProgressState
from streamgauge.files.runs import Run
from streamgauge.files.texts import read_csv, read_json_lines
from streamgauge.v1 import metrics_service_pb2

BATCH_SAMPLES = 1_000_000
"""Samples that are sent in one stream: so much is sent again at most after an interruption."""
MAX_REFUSED = 1_000
"""Refused rows that are told one by one; beyond, whole stretches are refused for what is wrong in them."""
_MESSAGE_BYTES = 1024 * 1024
_POLICY = RetryPolicy(
    1 << 30, 0.2, 5.0, 2.0, frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
)
_DEFAULT_PATIENCE = timedelta(minutes=1)
_OF_SUBJECT = "_NOT_FOUND"
"""How reasons end that concern a subject, not its samples."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Rows of the file that the server did not take: from `first_row` to `last_row`, counted from 1 without a header.

    `samples` of these rows are not stored. `reason` is a name of `Reason`.
    """

    first_row: int
    last_row: int
    samples: int
    subject: str
    metric: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come: bytes read of those of the file (0 where that is not known), samples answered."""

    bytes: int
    size: int
    samples: int


@dataclass(slots=True)
class ImportOutcome:
    """What an import did.

    `rows` are those of the file, `accepted` samples are durable, `rejected` are not stored, for what `refused` says, as
    far as `MAX_REFUSED`. All of them count what earlier runs did that this one went on with (`resumed`). With a dry run
    nothing was sent, and `accepted` is what would have been.
    """

    rows: int = 0
    accepted: int = 0
    rejected: int = 0
    subjects: int = 0
    refused: list[Refused] = field(default_factory=list)
    registered: Registered = field(default_factory=Registered)
    resumed: bool = False


class _Batch:
    """One stream of frames, sent again as a whole when it breaks off, which changes nothing."""

    def __init__(self, client: Client, patience: float) -> None:
        self._client = client
        self._patience = patience

    def store(self, pieces: Sequence[Piece], outcome: ImportOutcome) -> None:
        """Stores pieces, finds out what of them is refused, and enters both into the outcome."""
        level = list(pieces)
        while level:
            errors = self._errors(level)
            refused = [(level[index], error) for index, error in errors.items()]
            outcome.accepted += sum(piece.samples for index, piece in enumerate(level) if index not in errors)
            level = []
            too_many = len(outcome.refused) + len(refused) > MAX_REFUSED
            for piece, error in refused:
                if piece.samples == 1 or too_many or error.reason.endswith(_OF_SUBJECT):
                    first, last = piece.rows()
                    outcome.rejected += piece.samples
                    outcome.refused.append(
                        Refused(first, last, piece.samples, piece.subject, error.metric, error.reason, error.message)
                    )
                else:
                    level.extend(piece.split())

    def _errors(self, pieces: Sequence[Piece]) -> dict[int, Any]:
        """Sends pieces; returns what is wrong with those that were refused, by index."""
        answer = self._sent(pieces)
        if answer.errors_truncated and len(pieces) > 1:
            # Which ones the others are is not told: halves have fewer.
            middle = len(pieces) // 2
            second = {middle + index: error for index, error in self._errors(pieces[middle:]).items()}
            return self._errors(pieces[:middle]) | second
        found: dict[int, Any] = {}
        for error in _decode.write_errors(answer.errors):
            found.setdefault(error.index, error)
        return found

    def _sent(self, pieces: Sequence[Piece]) -> metrics_service_pb2.ImportMetricsResponse:
        requests = list(_requests(pieces))
        begun, attempt = time.monotonic(), 1
        while True:
            try:
                return self._client.metrics._stub.ImportMetrics(iter(requests))
            except StreamgaugeError as error:
                wait = max(_retry.backoff(_POLICY, attempt, random.uniform), error.retry_after or 0.0)
                late = time.monotonic() + wait - begun > self._patience
                if late or not _retry.is_retryable(_POLICY, error):
                    raise
            time.sleep(wait)
            attempt += 1


def _requests(pieces: Sequence[Piece]) -> Iterator[metrics_service_pb2.ImportMetricsRequest]:
    request, size = metrics_service_pb2.ImportMetricsRequest(), 0
    for piece in pieces:
        message = piece.message()
        weight = message.ByteSize()
        if size and size + weight > _MESSAGE_BYTES:
            yield request
            request, size = metrics_service_pb2.ImportMetricsRequest(), 0
        request.frames.append(message)
        size += weight
    if size:
        yield request


@contextmanager
def _runs(place: Place, skip: int) -> Iterator[tuple[Iterator[Run], Callable[[int], int]]]:
    """Opens a file; yields its runs after `skip` rows, and what tells the bytes read after a row."""
    if place.format is FileFormat.PARQUET:
        size, rows = Path(place.path).stat().st_size, parquet.row_count(Path(place.path))
        yield parquet.read_parquet(Path(place.path), skip), lambda row: size * row // max(rows, 1)
        return
    with reading(place) as (lines, counted):
        read = read_csv if place.format is FileFormat.CSV else read_json_lines
        yield read(lines, skip), lambda row: counted.count


def import_from(
    client: Client,
    path: str | os.PathLike[str],
    *,
    format: FileFormat | str | None = None,
    catalog: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    restart: bool = False,
    give_up_after: timedelta = _DEFAULT_PATIENCE,
    on_progress: Callable[[ImportProgress], None] | None = None,
) -> ImportOutcome:
    """Imports the samples of a file that has the layout of `export_to`; `-` is the standard input.

    First what the catalog beside the file knows and the server does not is registered: metrics with their descriptors,
    sources, assets. Then the samples go in batches; the place where to go on is kept in `{path}.import.json`, so that
    the same call after an interruption goes on after the last answer; `restart` begins anew. Samples that are sent
    again change nothing. `catalog` names another one; `dry_run` reads everything and stores nothing.

    A batch that cannot be sent is tried again for `give_up_after`.

    Raises:
        FileError: the file is not of the layout, with the row; what came before it may be stored.
        OSError, ImportError: it cannot be read, or pyarrow or zstandard is missing.
        StreamgaugeError: the server refused all of it, or was away for too long.
    """
    place = Place.of(path, format)
    state = ProgressState(None if place.is_standard or dry_run else place.beside("import.json"))
    what = _fingerprint(place, client)
    if restart:
        state.clear()
    kept = state.load(what)
    outcome = ImportOutcome(resumed=kept is not None)
    if kept is not None:
        outcome.rows, outcome.accepted, outcome.rejected = kept["rows"], kept["accepted"], kept["rejected"]
        outcome.refused = [Refused(**one) for one in kept["refused"]]
    beside = Path(catalog) if catalog is not None else None if place.is_standard else place.beside(CATALOG)
    if beside is not None and (catalog is not None or beside.exists()):
        outcome.registered = register(client, Catalog.load(beside), dry_run=dry_run)
    size = 0 if place.is_standard else Path(place.path).stat().st_size
    subjects: set[str] = set()
    batch = _Batch(client, give_up_after.total_seconds())

    def store(assembly: Assembly, read: int) -> None:
        if dry_run:
            outcome.accepted += assembly.samples
        else:
            batch.store(list(assembly.pieces()), outcome)
        outcome.rows = assembly.last_row
        state.save(what, _progress(outcome))
        if on_progress is not None:
            on_progress(ImportProgress(read, size, outcome.accepted))

    with _runs(place, outcome.rows) as (runs, read), ThreadPoolExecutor(1, "streamgauge-import") as sender:
        # One batch is read while the one before is under way.
        under_way: Future[None] | None = None
        assembly = Assembly()
        try:
            for run in runs:
                subjects.add(run.key.subject)
                assembly.add(run)
                if assembly.samples >= BATCH_SAMPLES:
                    if under_way is not None:
                        under_way.result()
                    under_way = sender.submit(store, assembly, read(assembly.last_row))
                    assembly = Assembly()
        finally:
            if under_way is not None:
                under_way.result()
        if assembly.samples:
            store(assembly, read(assembly.last_row))
    outcome.subjects = len(subjects)
    state.clear()
    return outcome


def _progress(outcome: ImportOutcome) -> dict[str, Any]:
    return {
        "rows": outcome.rows,
        "accepted": outcome.accepted,
        "rejected": outcome.rejected,
        "refused": [{name: getattr(one, name) for name in Refused.__slots__} for one in outcome.refused],
    }


def _fingerprint(place: Place, client: Client) -> dict[str, Any]:
    """Returns what must be the same for an import to go on."""
    if place.is_standard:
        return {}
    found = Path(place.path).stat()
    return {"size": found.st_size, "changed": found.st_mtime_ns, "target": client._channel.connection.target}
