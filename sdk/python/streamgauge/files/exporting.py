"""Exporting samples into a file: a piece at a time, so that a run that is interrupted goes on where it was."""

from __future__ import annotations

import glob
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from streamgauge._encode import names
from streamgauge.client import Client
from streamgauge.enums import SubjectKind
from streamgauge.files.catalog import CATALOG, read_catalog
from streamgauge.files.formats import FileFormat, Place, TextFile
from streamgauge.files.parquet import GROUP_ROWS, ParquetWriter
from streamgauge.files.progress_state import ProgressState
from streamgauge.files.runs import FileError, Run, runs_of
from streamgauge.files.texts import CsvWriter, JsonWriter

_SAVE_SECONDS = 5.0
_SAVE_SAMPLES = 1_000_000
"""How much is written before the place where to go on is moved."""
_SEGMENT_ROWS = 2 * GROUP_ROWS
"""Rows of a piece of a Parquet file under way: so much is lost at most when the program is killed."""


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export has come: subjects and parts in all and done, samples and bytes written."""

    subject_count: int
    subjects_done: int
    samples: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """What an export wrote.

    `samples` and `bytes` are those of the whole file, also of earlier runs that this one went on with (`resumed`).
    `unknown_subjects` do not exist. `damaged` are days that could not be read in full, as `{subject} {yyyy-mm-dd}`.
    """

    samples: int
    bytes: int
    subject_count: int
    unknown_subjects: tuple[str, ...]
    damaged: tuple[str, ...]
    resumed: bool


class _Target(ABC):
    """A file under way."""

    samples: int

    @abstractmethod
    def add(self, run: Run) -> None:
        """Takes a run."""

    @abstractmethod
    def save(self) -> dict[str, Any] | None:
        """Makes what was written durable; returns what it takes to go on with it, None when it is too early."""

    @abstractmethod
    def pause(self) -> dict[str, Any]:
        """Does what `save` does, and never finds it too early."""

    @abstractmethod
    def finish(self) -> int:
        """Makes the file whole, and returns its size in bytes."""

    @abstractmethod
    def close(self) -> None:
        """Closes what is open. The file under way stays."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes written so far."""


class _TextTarget(_Target):
    """CSV or JSON lines."""

    def __init__(self, place: Place, kept: dict[str, Any] | None) -> None:
        self._place = place
        self._partial = None if place.is_standard else place.beside("partial")
        size = int(kept["size"]) if kept else 0
        if size and (self._partial is None or not self._partial.exists() or self._partial.stat().st_size < size):
            raise FileError(f"{self._partial} is gone or shorter than it was: restart the export")
        self._writer = CsvWriter() if place.format is FileFormat.CSV else JsonWriter()
        self._file = TextFile(self._partial, place.compression, size)
        self.samples = int(kept["samples"]) if kept else 0
        if not size:
            self._file.write(self._writer.head())

    def add(self, run: Run) -> None:
        """See `_Target`."""
        self._file.write(self._writer.lines(run))
        self.samples += len(run.times)

    def save(self) -> dict[str, Any] | None:
        """See `_Target`."""
        return self.pause()

    def pause(self) -> dict[str, Any]:
        """See `_Target`."""
        return {"size": self._file.save(), "samples": self.samples}

    def finish(self) -> int:
        """See `_Target`."""
        size = self._file.save()
        self._file.close()
        if self._partial is not None:
            self._partial.replace(self._place.path)
        return size

    def close(self) -> None:
        """See `_Target`."""
        self._file.close()

    @property
    def size(self) -> int:
        """See `_Target`."""
        return self._file.size


class _ParquetTarget(_Target):
    """Parquet: a file that is not closed is none, so what is under way is in pieces, which become one at the end."""

    def __init__(self, place: Place, kept: dict[str, Any] | None) -> None:
        self._place = place
        self._pieces: list[Path] = [Path(path) for path in kept["pieces"]] if kept else []
        if missing := [piece for piece in self._pieces if not piece.exists()]:
            raise FileError(f"{missing[0]} is gone: restart the export")
        self._before = self.samples = int(kept["samples"]) if kept else 0
        self._writer: ParquetWriter | None = None

    def add(self, run: Run) -> None:
        """See `_Target`."""
        if self._writer is None:
            self._writer = ParquetWriter(self._next())
        self._writer.add(run)
        self.samples += len(run.times)

    def save(self) -> dict[str, Any] | None:
        """See `_Target`."""
        if self.samples - self._before < _SEGMENT_ROWS:
            return None
        return self.pause()

    def pause(self) -> dict[str, Any]:
        """See `_Target`."""
        self._end_piece()
        return {"pieces": [str(piece) for piece in self._pieces], "samples": self.samples}

    def finish(self) -> int:
        """See `_Target`."""
        if not self._pieces and self._writer is None:
            self._writer = ParquetWriter(self._next())
        self._end_piece()
        whole = self._pieces[0]
        if len(self._pieces) > 1:
            whole = self._place.beside("partial")
            writer = ParquetWriter(whole)
            for piece in self._pieces:
                writer.append(piece)
            writer.close()
            _sync(whole)
        size = whole.stat().st_size
        whole.replace(self._place.path)
        for piece in self._pieces:
            piece.unlink(missing_ok=True)
        return size

    def close(self) -> None:
        """See `_Target`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @property
    def size(self) -> int:
        """See `_Target`."""
        return sum(piece.stat().st_size for piece in self._pieces)

    def _next(self) -> Path:
        return self._place.beside(f"partial-{len(self._pieces)}")

    def _end_piece(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            _sync(self._next())
            self._pieces.append(self._next())
            self._before = self.samples


def _forget(place: Place, state: ProgressState) -> None:
    """Deletes what an export under way has left."""
    state.clear()
    if not place.is_standard:
        for left in Path(place.path).parent.glob(f"{glob.escape(Path(place.path).name)}.partial*"):
            left.unlink()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def export_to(
    client: Client,
    path: str | os.PathLike[str],
    subjects: Iterable[str] = (),
    *,
    subject_kind: SubjectKind | str | None = None,
    metrics: Iterable[str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    range_name: str = "",
    format: FileFormat | str | None = None,
    overwrite: bool = False,
    restart: bool = False,
    give_up_after: timedelta | None = None,
    on_progress: Callable[[ExportProgress], None] | None = None,
) -> ExportOutcome:
    """Exports samples of some subjects, or of all of a kind, into a file; `-` is the standard output.

    The name tells format and compression (`.parquet`, `.csv`, `.jsonl`, the texts also with `.gz` or `.zst`), unless
    `format` says it. Beside the file stands its catalog, `{path}.catalog.json`: descriptors, sources and assets.

    While it is under way the samples are in `{path}.partial` and the place where to go on in `{path}.export.json`: the
    same call after an interruption goes on there, `restart` begins anew. The file appears when it is whole. With a
    `range_name` the range of the first call stands for as long as the name is the same: for ranges that move.

    Raises:
        FileError: the file exists (say `overwrite`), or an export with other arguments was begun.
        ImportError: pyarrow or zstandard is missing.
        StreamgaugeError: the server refused, or was away for longer than `give_up_after`.
    """
    place = Place.of(path, format)
    asked = names(subjects)
    wanted = names(metrics)
    kind = None if subject_kind is None else SubjectKind(subject_kind)
    what: dict[str, Any] = {
        "subjects": asked,
        "subject_kind": kind.value if kind is not None else None,
        "metrics": wanted,
        "range": range_name or f"{start} to {end}",
        "format": place.format.value,
    }
    if not place.is_standard and Path(place.path).exists() and not overwrite:
        raise FileError(f"{place.path} exists")
    state = ProgressState(None if place.is_standard else place.beside("export.json"))
    if restart:
        _forget(place, state)
    kept = state.load(what)
    if kept is not None:
        start, end = (None if text is None else datetime.fromisoformat(text) for text in kept["range"])
    resolved = [None if moment is None else moment.isoformat() for moment in (start, end)]
    export = client.metrics.export(
        asked,
        subject_kind=kind,
        metrics=wanted,
        start=start,
        end=end,
        cursor=kept["cursor"] if kept else "",
        give_up_after=give_up_after,
    )
    target: _Target = (_ParquetTarget if place.format is FileFormat.PARQUET else _TextTarget)(place, kept)
    unknown: list[str] = list(kept["unknown"]) if kept else []
    damaged: list[str] = list(kept["damaged"]) if kept else []

    cursor, consistent = kept["cursor"] if kept else "", True

    def keep(of_target: dict[str, Any] | None) -> None:
        if of_target is not None:
            state.save(what, {**of_target, "cursor": cursor, "range": resolved, "unknown": unknown, "damaged": damaged})

    try:
        with export:
            saved_at, saved = time.monotonic(), target.samples
            for part in export.parts():
                consistent = False
                for frame in part.frames:
                    for run in runs_of(frame):
                        target.add(run)
                unknown.extend(part.unknown_subjects)
                damaged.extend(part.damaged)
                cursor, consistent = part.cursor, True
                if time.monotonic() - saved_at >= _SAVE_SECONDS or target.samples - saved >= _SAVE_SAMPLES:
                    keep(target.save())
                    saved_at, saved = time.monotonic(), target.samples
                if on_progress is not None:
                    on_progress(ExportProgress(part.subject_count, part.subjects_done, target.samples, target.size))
        if not place.is_standard:
            read_catalog(client, asked, kind, wanted).save(place.beside(CATALOG))
        size = target.finish()
    except BaseException:
        if consistent and cursor:
            keep(target.pause())
        target.close()
        raise
    state.clear()
    return ExportOutcome(
        target.samples,
        size,
        export.subject_count,
        tuple(dict.fromkeys(unknown)),
        tuple(dict.fromkeys(damaged)),
        kept is not None,
    )
