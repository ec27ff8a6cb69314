"""The body of an emit on an asset: JSON in one of two formats, with every number as it was written.

What is wrong with a single member is collected, to be told along with what the server finds; what leaves nothing to
look at is raised.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import common_pb2

from streamgauge_server.gateway.legacy.assets_problems import Fault, Faults, Problem
from streamgauge_server.gateway.legacy.assets_times import MOMENT_FORM, parse_moment

VALUE_TYPES = {
    "STRING": pb.ASSET_VALUE_TYPE_STRING,
    "NUMBER": pb.ASSET_VALUE_TYPE_NUMBER,
    "BOOLEAN": pb.ASSET_VALUE_TYPE_BOOLEAN,
}

MAX_METRICS = 100_000
"""Metrics of a list that are looked at; the server allows 10,000 unless its limits are raised."""

_STAND_IN = "-"
"""In place of a name that cannot be sent."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_INT64_CHARACTERS = len(str(_INT64_MIN))


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


@dataclass(slots=True)
class Emission:
    """An emit as its body has it: moment and metrics are in `request`. In the single format there is one metric."""

    single: bool
    request: pb.EmitAssetMetricsRequest = field(default_factory=pb.EmitAssetMetricsRequest)
    text: str = ""
    """The value of the single format as text."""
    echo: str | int | float | bool = ""
    """The value of the single format as it was sent."""
    warnings: list[str] = field(default_factory=list)
    faults: Faults = field(default_factory=Faults)


def parse(body: bytes) -> Emission:
    """Returns the emit that a body is. What it does not know in it is ignored, and null is as good as absent.

    Where something is wrong, `faults` says so, and a stand-in that is right is in its place: such an emit is only good
    for asking the server what else is wrong.

    Raises:
        Problem: 400; the body is not JSON, or in neither or both of the formats.
    """
    document = _json(body)
    if not isinstance(document, dict):
        raise _malformed("", "must be a JSON object")
    members = {name: value for name, value in document.items() if value is not None}
    metrics = members.get("metrics")
    single = members.keys() & {"name", "value"}
    if metrics is not None and single:
        named = " and ".join(sorted(single))
        raise _malformed("", f"must have either metrics or name and value, has metrics and {named}")
    if metrics is None and not single:
        raise _malformed("", "must have metrics: a list of objects with name, value and, optionally, valueType")
    emission = Emission(single=metrics is None)
    if "timestamp" in members:
        _fill_moment(emission.request.time, members["timestamp"], emission.faults)
    if metrics is None:
        _fill_single(emission, members)
    elif not isinstance(metrics, list):
        raise _malformed("/metrics", "must be a list")
    elif len(metrics) > MAX_METRICS:
        raise _malformed("/metrics", f"has {len(metrics)} entries, which is more than can be emitted at once")
    else:
        add = emission.request.metrics.add
        for position, entry in enumerate(metrics):
            _fill_metric(add(), entry, f"/metrics/{position}", emission.faults)
    return emission


def number_of(text: str) -> int | float | str:
    """Returns the number that a JSON number is stored as, or what is wrong with it.

    It is an integer where it is one within 64 bits, else a double.

    So `1e3` is 1000 and 9007199254740993 keeps its last digit. The server has the same rule for numbers in texts.
    """
    if not any(letter in text for letter in ".eE"):
        # Python does not convert integers of thousands of digits, and there is no need to.
        integer = int(text) if len(text) <= _INT64_CHARACTERS else _INT64_MAX + 1
        if _INT64_MIN <= integer <= _INT64_MAX:
            return integer
        return (
            f"is an integer beyond 64 bits ({_INT64_MIN} to {_INT64_MAX}), which would be rounded: send it as a text "
            "with valueType STRING, or as a number with a fraction or an exponent"
        )
    double = float(text)
    if not math.isfinite(double):
        return "is beyond what a number can be (binary64)"
    if double == 0:
        # Negative zero, and what is too small for a double, are no integers.
        return double if text.startswith("-") or text.lower().partition("e")[0].strip("0.") else 0
    if 1 <= abs(double) <= 2.0**63:
        exact = Decimal(text)
        if exact == exact.to_integral_value() and _INT64_MIN <= exact <= _INT64_MAX:
            return int(exact)
    return double


def _json(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_members,
        )
    except UnicodeDecodeError as error:
        raise _malformed("", f"is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise _malformed("", f"is not JSON: {error.msg}, at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise _malformed("", "is nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise _malformed("", f"is not JSON: {name} is no value")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise _malformed("", f"names {_shown(name)} twice in one object")
    return members


def _fill_single(emission: Emission, members: Mapping[str, Any]) -> None:
    given, metric = members.get("value"), emission.request.metrics.add()
    metric.name = _name(members.get("name"), "/name", emission.faults)
    right = _fill_value(metric.value, given, "/value", emission.faults)
    if "valueType" in members:
        emission.warnings.append("valueType is not part of the single format and was ignored: the type is guessed")
    if right:
        emission.echo = getattr(metric.value, metric.value.WhichOneof("kind") or "string_value")
        emission.text = str(given) if isinstance(given, str) else json.dumps(given)


def _fill_metric(metric: pb.AssetMetric, entry: Any, pointer: str, faults: Faults) -> None:
    if not isinstance(entry, dict):
        faults.add(Fault("must be an object with name, value and, optionally, valueType", pointer=pointer))
        metric.name, metric.value.bool_value = _STAND_IN, False
        return
    metric.name = _name(entry.get("name"), f"{pointer}/name", faults)
    right = _fill_value(metric.value, entry.get("value"), f"{pointer}/value", faults)
    value_type = entry.get("valueType")
    if value_type is None:
        return
    if isinstance(value_type, str) and value_type in VALUE_TYPES:
        if right:
            metric.value_type = VALUE_TYPES[value_type]
    else:
        faults.add(Fault(f"must be one of {', '.join(VALUE_TYPES)}", pointer=f"{pointer}/valueType"))


def _name(given: Any, pointer: str, faults: Faults) -> str:
    if isinstance(given, str) and not isinstance(given, Number) and _is_unicode(given):
        return given
    faults.add(Fault("is required" if given is None else "must be a text of Unicode characters", pointer=pointer))
    return _STAND_IN


def _fill_value(value: common_pb2.Value, given: Any, pointer: str, faults: Faults) -> bool:
    """Fills in a value; tells whether it is right."""
    problem = "is required" if given is None else "must be a text, a number or a boolean"
    if isinstance(given, bool):
        value.bool_value = given
        return True
    if isinstance(given, Number):
        number = number_of(given)
        if isinstance(number, int):
            value.int64_value = number
            return True
        if isinstance(number, float):
            value.double_value = number
            return True
        problem = number
    elif isinstance(given, str):
        if _is_unicode(given):
            value.string_value = given
            return True
        problem = "must be of Unicode characters, has half of a surrogate pair"
    faults.add(Fault(problem, pointer=pointer))
    value.bool_value = False
    return False


def _fill_moment(time: Timestamp, given: Any, faults: Faults) -> None:
    moment = parse_moment(given) if isinstance(given, str) else None
    if moment is None:
        faults.add(Fault(MOMENT_FORM, pointer="/timestamp"))
    else:
        time.CopyFrom(moment)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 64 else name[:64] + "...")


def _malformed(pointer: str, message: str) -> Problem:
    return Problem(400, [Fault(message, pointer=pointer)])
