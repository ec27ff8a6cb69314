"""Answers of `AssetMetricService` as the JSON of the assets API. Pure functions, from messages to text.

The text is put together here rather than by `json`: that would print integral doubles with `.0`, and needs a list as a
whole where this one is sent while it is being read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import common_pb2

from streamgauge_server.gateway.legacy.assets_body import VALUE_TYPES
from streamgauge_server.gateway.legacy.assets_times import moment_text

Scalar: TypeAlias = str | int | float | bool

_TYPE_NAMES = {number: name for name, number in VALUE_TYPES.items()}


def emitted(answer: pb.EmitAssetMetricsResponse) -> str:
    """Returns the answer to an emit in the multiple format: its metrics with their types filled in."""
    metrics = ",".join(map(_metric, answer.metrics))
    return f'{{"metrics":[{metrics}],"name":null,"timestamp":"{moment_text(answer.time)}","value":null}}'


def emitted_single(answer: pb.EmitAssetMetricResponse, echo: Scalar) -> str:
    """Returns the answer to an emit in the single format; `echo` is the value as it was sent."""
    return (
        f'{{"timestamp":"{moment_text(answer.time)}","name":{scalar(answer.metric)},"value":{scalar(echo)},'
        '"metrics":null}'
    )


def moments(listed: Iterable[pb.AssetMoment]) -> str:
    """Returns moments as a list."""
    writer = MomentWriter()
    return writer.add(listed) + writer.end()


class MomentWriter:
    """Writes the list of moments a page at a time.

    A moment that does not fit on a page of the server is continued on its next one. So each stays open until another
    one comes, or the end.
    """

    def __init__(self) -> None:
        self._open: Timestamp | None = None
        self._begun = False

    def add(self, listed: Iterable[pb.AssetMoment]) -> str:
        """Returns the piece of the list that the moments of another page are."""
        pieces = [] if self._begun else ["["]
        self._begun = True
        for moment in listed:
            if self._open == moment.time:
                pieces.append(",")
            else:
                if self._open is not None:
                    pieces.append(f"{_closing(self._open)},")
                pieces.append('{"metrics":[')
                self._open = moment.time
            pieces.append(",".join(map(_metric, moment.metrics)))
        return "".join(pieces)

    def end(self) -> str:
        """Returns the last piece."""
        return "]" if self._open is None else f"{_closing(self._open)}]"


def scalar(value: Scalar) -> str:
    """Returns a value as JSON; numbers exactly, in the shortest form, integral ones without a fraction."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return json.dumps(value, ensure_ascii=False)


def _closing(time: Timestamp) -> str:
    return f'],"timestamp":"{moment_text(time)}"}}'


def _metric(metric: pb.AssetMetricValue) -> str:
    value = scalar(_held(metric.value))
    return f'{{"name":{scalar(metric.name)},"value":{value},"valueType":"{_TYPE_NAMES[metric.value_type]}"}}'


def _held(value: common_pb2.Value) -> Scalar:
    held: Scalar = getattr(value, value.WhichOneof("kind") or "string_value")
    return held
