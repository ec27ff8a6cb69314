"""Many moments of one subject as columns: the form made for volume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from streamgauge._encode import INT64_MAX, INT64_MIN, micros, put_time
from streamgauge.v1 import common_pb2, metrics_service_pb2

if TYPE_CHECKING:
    import pandas

MAX_SAMPLES = 100_000
"""Samples in one frame as sent: the server's default bound. Larger frames are sent in pieces."""
MAX_PIECE_BYTES = 4 * 1024 * 1024
MAX_REQUEST_BYTES = 1024 * 1024

_UNSIGNED = (1 << 64) - 1

Moments: TypeAlias = Any
"""Timezone-aware datetimes, a numpy datetime64 array (UTC), or integers: microseconds since 1970."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The values of one subject, or one part of it, at many moments.

    `times` has one moment per row, in any order (see `Moments`). `columns` has, by metric name, one value per row: a
    list or tuple, where None marks a gap, or a numpy array (masked where there are gaps). All values of a column have
    one type; whole numbers among floats become floats where that is exact. NaN is not a gap; the server refuses it. A
    frame that holds gaps only is not sent. `start_time` says when the counters began to count from zero.

    Example:
        >>> Frame("sources/orders", times=[t0, t1, t2], columns={"byteTotal": [10, 20, None], "load": [0.5, 1, 0.25]})
    """

    subject: str
    times: Moments
    columns: Mapping[str, Any]
    part: str = ""
    start_time: datetime | None = None

    @classmethod
    def from_dataframe(
        cls,
        frame: pandas.DataFrame,
        subject: str,
        *,
        part: str = "",
        start_time: datetime | None = None,
        time: str | None = None,
    ) -> Frame:
        """Returns the frame of a DataFrame: a column per metric, the moments in the index or in the column `time`.

        The moments must be timezone-aware; rows without one are an error. NaN, None and NaT mark gaps. Needs
        `streamgauge[pandas]`; ImportError says so otherwise.
        """
        from streamgauge import dataframes

        return dataframes.to_frame(frame, subject, part=part, start_time=start_time, time=time)


def messages(frame: Frame) -> Iterator[common_pb2.Frame]:
    """Yields the frame as messages, in pieces that hold what the server takes. TypeError, ValueError for bad input."""
    times = _unsigned(_times(frame.times))
    columns = {name: _column(name, values, len(times)) for name, values in frame.columns.items()}
    rows = max(1, MAX_SAMPLES // max(len(columns), 1))
    for first in range(0, len(times), rows):
        yield from _pieces(frame, times, columns, first, min(first + rows, len(times)))


class Packer:
    """Packs frames into the requests of a stream, about a MiB each.

    `origin` is filled as frames are packed: the index of a frame as sent -> the index of the given frame it is from.
    """

    def __init__(self, origin: dict[int, int]) -> None:
        self._origin = origin
        self._given = 0
        self._sent = 0
        self._size = 0
        self._request = metrics_service_pb2.ImportMetricsRequest()

    def add(self, frame: Frame) -> Iterator[metrics_service_pb2.ImportMetricsRequest]:
        """Takes a frame and yields the requests that are full."""
        for message in messages(frame):
            size = message.ByteSize()
            if self._size and self._size + size > MAX_REQUEST_BYTES:
                yield self._take()
            self._request.frames.append(message)
            self._size += size
            self._origin[self._sent] = self._given
            self._sent += 1
        self._given += 1

    def rest(self) -> Iterator[metrics_service_pb2.ImportMetricsRequest]:
        """Yields the last request, if there is anything in it."""
        if self._size:
            yield self._take()

    def _take(self) -> metrics_service_pb2.ImportMetricsRequest:
        full, self._request, self._size = self._request, metrics_service_pb2.ImportMetricsRequest(), 0
        return full


def requests(given: Iterable[Frame], origin: dict[int, int]) -> Iterator[metrics_service_pb2.ImportMetricsRequest]:
    """Yields the stream's requests. Fills `origin`; see `Packer`."""
    packer = Packer(origin)
    for frame in given:
        yield from packer.add(frame)
    yield from packer.rest()


def _pieces(
    frame: Frame, times: list[int], columns: Mapping[str, list[Any]], first: int, last: int
) -> Iterator[common_pb2.Frame]:
    message = common_pb2.Frame(subject=frame.subject, part=frame.part, time_unix_micros=times[first:last])
    if frame.start_time is not None:
        put_time(message.start_time, frame.start_time, "start_time")
    for name, values in columns.items():
        _put_column(message, name, values[first:last])
    if message.ByteSize() > MAX_PIECE_BYTES and last - first > 1:  # long texts
        middle = (first + last) // 2
        yield from _pieces(frame, times, columns, first, middle)
        yield from _pieces(frame, times, columns, middle, last)
    elif message.columns:
        yield message


def _put_column(message: common_pb2.Frame, name: str, values: list[Any]) -> None:
    rows: list[int] = []
    if None in values:
        rows = [row for row, value in enumerate(values) if value is not None]
        values = [values[row] for row in rows]
    if not values:
        return
    column = message.columns.add(metric=name, rows=rows)
    kind = type(values[0])
    if kind is float:
        column.doubles.values.extend(values)
    elif kind is int:
        column.ints.values.extend(values)
    elif kind is bool:
        column.bools.values.extend(values)
    else:
        column.strings.values.extend(values)


def _times(times: Moments) -> list[int]:
    kind = getattr(getattr(times, "dtype", None), "kind", "")
    if kind == "M":
        found: list[int] = times.astype("datetime64[us]").astype("int64").tolist()
        if found and min(found) == INT64_MIN:
            raise ValueError("times holds NaT")
        return found
    given = times.tolist() if kind else list(times)
    if set(map(type, given)) <= {int}:
        return given
    return [micros(moment, f"times[{row}]") for row, moment in enumerate(given)]


def _unsigned(times: list[int]) -> list[int]:
    """Returns moments as frames have them: those before 1970 in two's complement. ValueError for what is no int64."""
    if not times or (min(times) >= 0 and max(times) <= INT64_MAX):
        return times
    for row, time in enumerate(times):
        if not INT64_MIN <= time <= INT64_MAX:
            raise ValueError(f"times[{row}] must be an int64, is {time}")
    return [time & _UNSIGNED for time in times]


def _column(name: str, values: Any, rows: int) -> list[Any]:
    """Returns the values as Python scalars of one type, None in the gaps."""
    given: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    if len(given) != rows:
        raise ValueError(f"columns[{name!r}] has {len(given)} values for {rows} times")
    kinds = set(map(type, given)) - {type(None)}
    if kinds <= {float} or kinds <= {bool} or kinds <= {str}:
        return given
    if kinds == {int}:
        present = [value for value in given if value is not None] if None in given else given
        if min(present) < INT64_MIN or max(present) > INT64_MAX:
            raise ValueError(f"columns[{name!r}] has an integer that does not fit into 64 bits")
        return given
    if kinds == {int, float}:
        return [_exact_float(name, value) if type(value) is int else value for value in given]
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise TypeError(f"columns[{name!r}] must hold floats, ints, bools or strings, one type for all; got {names}")


def _exact_float(name: str, value: int) -> float:
    if abs(value) > 2**53 and int(float(value)) != value:
        raise ValueError(f"columns[{name!r}] mixes floats with {value}, which no float is equal to")
    return float(value)
