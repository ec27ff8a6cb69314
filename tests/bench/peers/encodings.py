"""Readings as the bodies that each system takes in bulk. All of it happens before any clock runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tests.bench.workload import COUNTERS, GAUGES, METRICS, RATES, Readings

SERIES = {"counters": COUNTERS, "gauges": GAUGES, "rates": RATES}
"""Names of series in Prometheus and VictoriaMetrics by what is asked of them. The metric is a label, so that a plain
selector finds all metrics of a source that are asked for the same."""

_NAMES = {metric: name for name, metrics in SERIES.items() for metric in metrics}

LINES_PER_BODY = 8_000
"""Within the 5,000 to 10,000 points that InfluxDB's documentation advises."""
SERIES_PER_BODY = 48
SAMPLES_PER_WRITE = 40
"""Samples of each series in a remote write: ten minutes of scrapes, in the order of time as Prometheus wants them."""


def json_lines(parts: Iterable[Readings]) -> list[bytes]:
    """Returns bodies of VictoriaMetrics' `/api/v1/import`: a line per series."""
    lines = []
    for one in parts:
        millis = json.dumps((one.times // 1_000).tolist(), separators=(",", ":"))
        for metric, values in one.columns.items():
            labels = json.dumps({"__name__": _NAMES[metric], "source": one.source, "metric": metric})
            numbers = json.dumps(values.tolist(), separators=(",", ":"))
            lines.append(f'{{"metric":{labels},"values":{numbers},"timestamps":{millis}}}')
    return ["\n".join(lines[i : i + SERIES_PER_BODY]).encode() for i in range(0, len(lines), SERIES_PER_BODY)]


def line_protocol(parts: Iterable[Readings]) -> list[bytes]:
    """Returns bodies of InfluxDB's `/write` with milliseconds: a line per reading, a field per metric."""
    bodies = []
    for one in parts:
        fields = ",".join(
            f"{metric}=%d{'i'}" if values.dtype == np.int64 else f"{metric}=%r"
            for metric, values in one.columns.items()
        )
        template = f"readings,source={one.source} {fields} %d"
        columns = [values.tolist() for values in one.columns.values()]
        lines = [template % row for row in zip(*columns, (one.times // 1_000).tolist(), strict=True)]
        bodies += ["\n".join(lines[i : i + LINES_PER_BODY]).encode() for i in range(0, len(lines), LINES_PER_BODY)]
    return bodies


_SAMPLE = np.dtype([("head", "V3"), ("value", "<f8"), ("tag", "V1"), ("time", "V6")])
"""A `Sample` of a remote write inside its `TimeSeries`: field 2 of 16 bytes, a double, a varint of six bytes."""


def remote_writes(parts: Sequence[Readings], halves: int) -> list[list[bytes]]:
    """Returns waves of remote writes (protobuf in snappy), each of the next readings of all series.

    A wave has `halves` bodies with the series of as many shares of the sources, which may be sent at the same time.

    The snappy is one literal, which costs the receiver less than what a sender that compresses would cost it.
    """
    encoded = [[_remote_series(metric, one) for metric in one.columns] for one in parts]
    rows = max(len(one.times) for one in parts)
    waves = []
    for row in range(0, rows, SAMPLES_PER_WRITE):
        wave = []
        for half in range(min(halves, len(encoded))):
            pieces = []
            for of_source in encoded[half::halves]:
                for labels, samples in of_source:
                    if len(taken := samples[row : row + SAMPLES_PER_WRITE]):
                        content = labels + taken.tobytes()
                        pieces.append(b"\x0a" + _varint(len(content)) + content)
            wave.append(_snappy_literal(b"".join(pieces)))
        waves.append(wave)
    return waves


def _remote_series(metric: str, of: Readings) -> tuple[bytes, NDArray[np.void]]:
    """Returns the labels of a series and its samples, both encoded."""
    labels = {"__name__": _NAMES[metric], "metric": metric, "source": of.source}
    head = b""
    for name, value in labels.items():
        pair = _field(1, name.encode()) + _field(2, value.encode())
        head += _field(1, pair)
    millis = of.times // 1_000
    if not ((millis >= 1 << 35) & (millis < 1 << 42)).all():
        raise ValueError("moments whose varint does not take six bytes")
    samples = np.empty(len(millis), _SAMPLE)
    samples["head"] = np.frombuffer(b"\x12\x10\x09", "V3")[0]
    samples["value"] = of.columns[metric]
    samples["tag"] = np.frombuffer(b"\x10", "V1")[0]
    digits = np.stack([(millis >> 7 * place & 0x7F) | (0x80 if place < 5 else 0) for place in range(6)], axis=1)
    samples["time"] = np.ascontiguousarray(digits.astype(np.uint8)).view("V6")[:, 0]
    return head, samples


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _snappy_literal(plain: bytes) -> bytes:
    if len(plain) > 1 << 24:
        raise ValueError(f"a literal of {len(plain)} bytes")
    return _varint(len(plain)) + bytes([62 << 2]) + (len(plain) - 1).to_bytes(3, "little") + plain


ROW = np.dtype(
    [
        ("fields", ">i2"),
        *[field for name, kind in (("subject", ">i8"), ("metric", ">i4"), ("time", ">i8"), ("value", ">f8"))
          for field in ((f"{name}_size", ">i4"), (name, kind))],
    ]
)  # fmt: skip
"""A row of a binary `COPY`: how many fields, then the size and the content of each."""
_COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_END = b"\xff\xff"


def copy_rows(subject_ids: Sequence[int], parts: Sequence[Readings]) -> list[bytes]:
    """Returns bodies of PostgreSQL's `COPY ... (FORMAT binary)`, a row per sample; one for each source."""
    metrics = {metric: number for number, metric in enumerate(METRICS)}
    bodies = []
    for subject_id, one in zip(subject_ids, parts, strict=True):
        rows = np.empty((len(one.columns), len(one.times)), ROW)
        rows["fields"] = 4
        for name in ("subject", "metric", "time", "value"):
            rows[f"{name}_size"] = ROW[name].itemsize
        rows["subject"] = subject_id
        rows["time"] = one.times
        for line, (metric, values) in zip(rows, one.columns.items(), strict=True):
            line["metric"] = metrics[metric]
            line["value"] = values
        bodies.append(_COPY_HEAD + rows.tobytes() + _COPY_END)
    return bodies
