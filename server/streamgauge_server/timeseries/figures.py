"""Figures: what records say together. They merge in any order, and what was merged can be taken out again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamgauge_server.internal import figures_pb2
from streamgauge_server.model.metric_types import COUNTS, MEASURES, Column, ColumnAggregate, FigureType
from streamgauge_server.timeseries.envelope import CONTRADICTIONS, BlockCorrupt, seal, unseal
from streamgauge_server.timeseries.sketch import Bins, bin_of, quantile

_LOW = 2**64 - 1
_COUNT_PLACES = {kind: {name: place for place, name in enumerate(names)} for kind, names in COUNTS.items()}
_MEASURE_PLACES = {kind: {name: place for place, name in enumerate(names)} for kind, names in MEASURES.items()}
_MICROS = 1_000_000
_SHARES = {ColumnAggregate.P50: 0.5, ColumnAggregate.P95: 0.95}


class Measure:
    """The values of one measure: how many, their sum, the smallest, the largest, and their sketch.

    `min` and `max` mean nothing while there is no value. A sketch that was read stays as it is until it is needed.
    """

    __slots__ = ("_bins", "_stored", "max", "min", "n", "sum")

    def __init__(self) -> None:
        self.n = 0
        self.sum = 0
        self.min = 0
        self.max = 0
        self._bins: Bins | None = {}
        self._stored = b""

    @property
    def bins(self) -> Bins:
        """How many values are in each bin of the sketch."""
        if self._bins is None:
            sketch = figures_pb2.Sketch.FromString(self._stored)
            self._bins = dict(zip(sketch.bins, sketch.counts, strict=True))
        return self._bins

    def add(self, value: int) -> None:
        """Adds one value."""
        self._extend(value, value)
        self.n += 1
        self.sum += value
        key, bins = bin_of(value), self.bins
        bins[key] = bins.get(key, 0) + 1

    def merge(self, other: Measure) -> None:
        """Adds all values of another measure."""
        if not other.n:
            return
        if not self.n:
            self.n, self.sum, self.min, self.max = other.n, other.sum, other.min, other.max
            self._stored = other._stored
            self._bins = None if other._bins is None else other._bins.copy()
            return
        self._extend(other.min, other.max)
        self.n += other.n
        self.sum += other.sum
        bins = self.bins
        for key, count in other.bins.items():
            bins[key] = bins.get(key, 0) + count

    def remove(self, other: Measure) -> bool:
        """Takes values out again. False, and nothing done, where what is left would have unknown extremes.

        That is where the smallest or the largest value goes, or where what is to go was never added.
        """
        if not other.n:
            return True
        bins = self.bins
        if any(bins.get(key, 0) < count for key, count in other.bins.items()) or self.sum < other.sum:
            return False
        if self.n == other.n:
            if self.sum != other.sum:
                return False
            self.__init__()  # type: ignore[misc]
            return True
        if other.min <= self.min or other.max >= self.max:
            return False
        self.n -= other.n
        self.sum -= other.sum
        for key, count in other.bins.items():
            if bins[key] == count:
                del bins[key]
            else:
                bins[key] -= count
        return True

    def quantile(self, share: float) -> int:
        """Returns the value below which a share (0 to 1) of the values lie, within 1 % of it. There must be a value."""
        return min(max(int(quantile(self.bins, share)), self.min), self.max)

    def write(self, message: figures_pb2.Measure) -> None:
        """Fills a message."""
        message.count = self.n
        message.sum = self.sum & _LOW
        message.sum_above = self.sum >> 64
        message.min = self.min
        message.max = self.max
        if self._bins is None:
            message.sketch = self._stored
        else:
            keys = sorted(self._bins)
            message.sketch = figures_pb2.Sketch(bins=keys, counts=[self._bins[key] for key in keys]).SerializeToString()

    def read(self, message: figures_pb2.Measure) -> None:
        """Takes over what a message says."""
        self.n = message.count
        self.sum = message.sum | message.sum_above << 64
        self.min = message.min
        self.max = message.max
        self._stored, self._bins = message.sketch, None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Measure):
            return NotImplemented
        mine, theirs = (self.n, self.sum, self.min, self.max), (other.n, other.sum, other.min, other.max)
        return mine == theirs and self.bins == other.bins

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Measure(n={self.n}, sum={self.sum}, min={self.min}, max={self.max})"

    def _extend(self, low: int, high: int) -> None:
        if not self.n:
            self.min, self.max = low, high
            return
        if low < self.min:
            self.min = low
        if high > self.max:
            self.max = high


class Figures:
    """Counts and measures of one type, in the order of `metric_types.COUNTS` and `MEASURES`."""

    __slots__ = ("counts", "measures", "type")

    def __init__(self, type: FigureType) -> None:
        self.type = type
        self.counts = [0] * len(COUNTS[type])
        self.measures = [Measure() for _ in MEASURES[type]]

    def __bool__(self) -> bool:
        """Whether anything was counted or measured."""
        return any(self.counts) or any(measure.n for measure in self.measures)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Figures):
            return NotImplemented
        return (self.type, self.counts, self.measures) == (other.type, other.counts, other.measures)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Figures({self.type.name}, {self.counts}, {self.measures})"

    def add(self, counts: Iterable[int], lengths: Iterable[tuple[int, int]]) -> None:
        """Adds one record: the positions of the counts that it raises, and its values by position of the measure."""
        for place in counts:
            self.counts[place] += 1
        for place, value in lengths:
            self.measures[place].add(value)

    def merge(self, other: Figures) -> None:
        """Adds all records of other figures of the type."""
        self.counts = [mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        for mine, theirs in zip(self.measures, other.measures, strict=True):
            if theirs.n:
                mine.merge(theirs)

    def remove(self, other: Figures) -> bool:
        """Takes records out again. False where they alone cannot tell what is left (`Measure.remove`).

        Then these figures are of no use any more.
        """
        self.counts = [mine - theirs for mine, theirs in zip(self.counts, other.counts, strict=True)]
        removed = [mine.remove(theirs) for mine, theirs in zip(self.measures, other.measures, strict=True)]
        return min(self.counts, default=0) >= 0 and all(removed)

    def value(self, column: Column) -> int | float | None:
        """Returns what a column of the type says, None where there is nothing to say.

        Times in whole seconds, cut off; a ratio is a double.
        """
        return column_values(self.type, [self], column)[0]


def column_values(type: FigureType, figures: Sequence[Figures], column: Column) -> Sequence[int | float | None]:
    """Returns what a column says of each of several figures of a type: see `Figures.value`.

    There are thousands in an answer, so that what is the same for all is looked up once.
    """
    if column.measure:
        place = _MEASURE_PLACES[type][column.measure]
        unit = _MICROS if column.units == "seconds" else 1
        return _measured([one.measures[place] for one in figures], column.aggregate, unit)
    counts = _counted(type, figures, column.counts)
    if not column.over:
        return counts
    over = _counted(type, figures, column.over)
    return [count / of if of else None for count, of in zip(counts, over, strict=True)]


def _counted(type: FigureType, figures: Sequence[Figures], names: Sequence[str]) -> list[int]:
    places = [_COUNT_PLACES[type][name] for name in names]
    if len(places) == 1:
        (place,) = places
        return [one.counts[place] for one in figures]
    return [sum([one.counts[place] for place in places]) for one in figures]


def _measured(measures: Sequence[Measure], aggregate: ColumnAggregate, unit: int) -> list[int | None]:
    if aggregate == ColumnAggregate.SUM:
        return [one.sum // unit if one.n else None for one in measures]
    if aggregate == ColumnAggregate.MIN:
        return [one.min // unit if one.n else None for one in measures]
    if aggregate == ColumnAggregate.MAX:
        return [one.max // unit if one.n else None for one in measures]
    if aggregate == ColumnAggregate.AVG:
        return [one.sum // (one.n * unit) if one.n else None for one in measures]
    share = _SHARES[aggregate]
    return [one.quantile(share) // unit if one.n else None for one in measures]


def merged(type: FigureType, parts: Iterable[Figures]) -> Figures:
    """Returns the figures of all records of several."""
    whole = Figures(type)
    for part in parts:
        whole.merge(part)
    return whole


def encode_figures(figures: Figures) -> bytes:
    """Returns figures as they are stored. Equal ones give equal bytes."""
    message = figures_pb2.Figures(counts=_without_zeros(figures.counts))
    for place, measure in enumerate(figures.measures):
        if measure.n:
            measure.write(message.measures.add(position=place))
    return seal(message.SerializeToString())


def decode_figures(type: FigureType, data: bytes) -> Figures:
    """Returns stored figures. Raises BlockCorrupt."""
    figures = Figures(type)
    content = unseal(data)
    try:
        message = figures_pb2.Figures.FromString(content)
        counts = message.counts
        figures.counts[: len(counts)] = counts
        if len(figures.counts) != len(COUNTS[type]):
            raise ValueError(f"{len(counts)} counts")
        for measure in message.measures:
            figures.measures[measure.position].read(measure)
    except CONTRADICTIONS as error:
        raise BlockCorrupt(f"figures do not fit together: {error}") from error
    return figures


def is_readable(type: FigureType, data: bytes) -> bool:
    """Tells whether stored figures can be read."""
    try:
        decode_figures(type, data)
    except BlockCorrupt:
        return False
    return True


def _without_zeros(counts: Sequence[int]) -> Sequence[int]:
    """Returns counts without the zeros at their end."""
    last = next((place for place in reversed(range(len(counts))) if counts[place]), -1)
    return counts[: last + 1]
