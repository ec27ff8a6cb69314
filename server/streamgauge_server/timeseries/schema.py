"""The shape of a block: its rows and columns. The same few come again and again, so their parsed form is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from streamgauge_server.internal import block_pb2
from streamgauge_server.model.values import ValueType
from streamgauge_server.timeseries.envelope import CONTRADICTIONS, BlockCorrupt

TYPE_ORDER = (ValueType.DOUBLE, ValueType.INT64, ValueType.BOOL, ValueType.STRING)
"""The order of the columns in a block."""

SMALL_ROWS = 32
"""Blocks with fewer rows are small: plain arrays instead of compressed columns."""

_KEPT_BYTES = 2_048
_TAG = 0x1A  # of `Block.schema`, field 3


@dataclass(frozen=True, slots=True)
class Schema:
    """How many rows, and the columns in order: how many of each type of TYPE_ORDER, and their metrics.

    A metric whose values are of several types has one column of each, sparse and with disjoint rows. `sparse` are the
    positions of columns that lack a value in some row; `own_starts` tells that some columns have start times of their
    own.
    """

    rows: int
    counts: tuple[int, int, int, int]
    metrics: tuple[int, ...]
    sparse: tuple[int, ...] = ()
    own_starts: bool = False

    @property
    def types(self) -> list[ValueType]:
        """The types of the columns."""
        return [value_type for value_type, count in zip(TYPE_ORDER, self.counts, strict=True) for _ in range(count)]

    @property
    def plain(self) -> bool:
        """Whether the block is arrays of known length and nothing else, so that several can be read as one."""
        return self.rows < SMALL_ROWS and not self.sparse and not self.own_starts


def write_schema(schema: Schema) -> bytes:
    """Returns a schema in its stored form."""
    return block_pb2.Schema(
        rows=schema.rows,
        columns=schema.counts,
        metrics=schema.metrics,
        sparse=schema.sparse,
        own_starts=schema.own_starts,
    ).SerializeToString()


def read_schema(stored: bytes) -> Schema:
    """Returns the schema of `write_schema`. Raises BlockCorrupt."""
    return _read_kept(stored) if len(stored) <= _KEPT_BYTES else _read(stored)


def schema_prefix(content: bytes) -> bytes | None:
    """Returns the first field of a block's content, which is its schema with tag and length; None if it is another.

    Blocks with equal prefixes have equal schemas.
    """
    if len(content) < 3 or content[0] != _TAG:
        return None
    length, size = content[1], 2
    if length >= 0x80:
        length, size = (length & 0x7F) | content[2] << 7, 3
        if content[2] >= 0x80:
            return None
    return content[: size + length]


def prefixed_schema(prefix: bytes) -> Schema:
    """Returns the schema of a prefix. Raises BlockCorrupt."""
    return read_schema(prefix[2:] if prefix[1] < 0x80 else prefix[3:])


def _read(stored: bytes) -> Schema:
    try:
        message = block_pb2.Schema.FromString(stored)
    except CONTRADICTIONS as error:
        raise BlockCorrupt("a block's schema cannot be parsed") from error
    counts = _four(message.columns)
    if sum(counts) != len(message.metrics) or not message.rows:
        raise BlockCorrupt("a block's schema contradicts itself")
    schema = Schema(message.rows, counts, tuple(message.metrics), tuple(message.sparse), message.own_starts)
    if len(set(schema.metrics)) < len(schema.metrics):
        _check_mixed(schema)
    return schema


def _check_mixed(schema: Schema) -> None:
    """Raises BlockCorrupt where columns of one metric are of one type, or cannot have disjoint rows."""
    several = {metric for metric, count in Counter(schema.metrics).items() if count > 1}
    sparse = frozenset(schema.sparse)
    if any(metric in several and position not in sparse for position, metric in enumerate(schema.metrics)):
        raise BlockCorrupt("a metric has values of two types in one row")
    if len(set(zip(schema.metrics, schema.types, strict=True))) < len(schema.metrics):
        raise BlockCorrupt("a metric has two columns of one type")


def _four(counts: Sequence[int]) -> tuple[int, int, int, int]:
    if len(counts) != 4:
        raise BlockCorrupt("a schema does not count four types")
    return counts[0], counts[1], counts[2], counts[3]


_read_kept = lru_cache(maxsize=4_096)(_read)
