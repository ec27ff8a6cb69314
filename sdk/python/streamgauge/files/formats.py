"""Which format a file has, how it is compressed, and the files that stand beside it while work is under way."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, cast

from streamgauge.files.runs import FileError

STANDARD = "-"
"""Stands for the standard input or output."""


class FileFormat(StrEnum):
    """How samples are written."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


class Compression(StrEnum):
    """How a file of text is compressed."""

    NONE = ""
    GZIP = "gz"
    ZSTD = "zst"


_EXTENSIONS = {
    "parquet": FileFormat.PARQUET,
    "csv": FileFormat.CSV,
    "jsonl": FileFormat.JSONL,
    "ndjson": FileFormat.JSONL,
}
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where samples are, or go to: a path or `-`, the format, and the compression by the name's ending."""

    path: str
    format: FileFormat
    compression: Compression

    @classmethod
    def of(cls, path: str | os.PathLike[str], format_: FileFormat | str | None = None) -> Place:
        """Returns what a path means: `orders.csv.gz` is CSV with gzip. FileError."""
        text = os.fspath(path)
        if text == STANDARD:
            if format_ is None:
                raise FileError("the format of the standard input and output must be said")
            if FileFormat(format_) is FileFormat.PARQUET:
                raise FileError("Parquet needs a file: its index stands at the end")
            return cls(text, FileFormat(format_), Compression.NONE)
        endings = [ending.lstrip(".").lower() for ending in Path(text).suffixes[-2:]]
        compression = Compression.NONE
        if endings and endings[-1] in (Compression.GZIP.value, Compression.ZSTD.value):
            compression = Compression(endings.pop())
        known = _EXTENSIONS.get(endings[-1]) if endings else None
        if format_ is None and known is None:
            raise FileError(
                f"the name of {text} tells no format: let it end in .{', .'.join(_EXTENSIONS)}, or say which"
            )
        found = FileFormat(format_) if format_ is not None else cast(FileFormat, known)
        if found is FileFormat.PARQUET and compression is not Compression.NONE:
            raise FileError("Parquet is compressed in itself: leave out the ending of the compression")
        return cls(text, found, compression)

    @property
    def is_standard(self) -> bool:
        """Tells whether it is the standard input or output."""
        return self.path == STANDARD

    def beside(self, ending: str) -> Path:
        """Returns the path of a file beside this one."""
        return Path(f"{self.path}.{ending}")


class CountingReader(io.RawIOBase):
    """Reads a file and counts the bytes, which tells how far reading has come."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.count = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Reads some bytes."""
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


@contextmanager
def reading(place: Place) -> Iterator[tuple[Iterator[str], CountingReader]]:
    """Opens a file of text; yields its lines, and what counts its bytes. OSError, FileError where it is not UTF-8."""
    with ExitStack() as opened:
        raw = sys.stdin.buffer if place.is_standard else opened.enter_context(Path(place.path).open("rb"))
        counted = CountingReader(raw)
        plain: Any = io.BufferedReader(counted, _CHUNK)
        if place.compression is Compression.GZIP:
            plain = gzip.GzipFile(fileobj=plain, mode="rb")
        elif place.compression is Compression.ZSTD:
            plain = io.BufferedReader(
                _zstandard().ZstdDecompressor().stream_reader(plain, read_across_frames=True), _CHUNK
            )
        yield _lines(io.TextIOWrapper(plain, encoding="utf-8", newline="")), counted


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    try:
        yield from text
    except UnicodeDecodeError:
        raise FileError("the file is not UTF-8") from None
    except (EOFError, gzip.BadGzipFile) as error:
        raise FileError(f"the file is damaged: {error}") from None


class TextFile:
    """A file of text that grows by pieces, each of which is whole in itself, also compressed.

    `save` makes what was written durable and returns the size with which the file can be gone on with.
    """

    def __init__(self, path: Path | None, compression: Compression, size: int = 0) -> None:
        """`path` None is the standard output. Of a file that exists the first `size` bytes stay."""
        self._compression = compression
        self._file: IO[bytes]
        if path is None:
            self._file = sys.stdout.buffer
        else:
            self._file = path.open("r+b" if size else "wb")
            self._file.truncate(size)
            self._file.seek(size)
        self._durable = path is not None
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self.size = size

    def write(self, text: str) -> None:
        """Takes text."""
        data = text.encode()
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= 4 * _CHUNK:
            self._put()

    def save(self) -> int:
        """Returns the size of the file when everything is on the disk."""
        self._put()
        self._file.flush()
        if self._durable:
            os.fsync(self._file.fileno())
        return self.size

    def close(self) -> None:
        """Closes the file; what was not saved may be lost."""
        if self._durable:
            self._file.close()

    def _put(self) -> None:
        data, self._waiting, self._waiting_bytes = b"".join(self._waiting), [], 0
        if not data:
            return
        if self._compression is Compression.GZIP:
            data = gzip.compress(data, 6)
        elif self._compression is Compression.ZSTD:
            data = _zstandard().ZstdCompressor(level=3).compress(data)
        self._file.write(data)
        self.size += len(data)


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise ImportError("files that end in .zst need zstandard: pip install 'streamgauge[parquet]'") from None
    return zstandard
