"""The body of an emit on an asset: JSON in one of two formats, with every number as it was written.

What is wrong with a single member is collected, to be told along with what the server finds; what leaves nothing to
look at is raised.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from google.protobuf.timestamp_pb2 import Timestamp
from streamgauge.v1 import asset_metric_service_pb2 as pb
from streamgauge.v1 import common_pb2

from streamgauge_server.gateway.legacy.assets_problems import Fault, Problem
from streamgauge_server.gateway.legacy.assets_times import MOMENT_FORM, parse_moment

VALUE_TYPES = {
    "STRING": pb.ASSET_VALUE_TYPE_STRING,
    "NUMBER": pb.ASSET_VALUE_TYPE_NUMBER,
    "BOOLEAN": pb.ASSET_VALUE_TYPE_BOOLEAN,
}

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_INT64_CHARACTERS = len(str(_INT64_MIN))


@dataclass(frozen=True, slots=True)
class Number:
    """A JSON number as it was written."""

    text: str


@dataclass(slots=True)
class Emission:
    """An emit as its body has it. In the single format there is one metric, whose value is in `text` and `echo`."""

    single: bool
    time: Timestamp | None = None
    metrics: list[pb.AssetMetric] = field(default_factory=list)
    text: str = ""
    """The value of the single format as text."""
    echo: str | int | float | bool = ""
    """The value of the single format as it was sent."""
    warnings: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def parse(body: bytes) -> Emission:
    """Returns the emit that a body is. What it does not know in it is ignored, and null is as good as absent.

    Where something is wrong, `faults` says so, and a stand-in that the server refuses, or that is of no account, is in
    its place: such an emit is only good for finding out what else is wrong.

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
        emission.time = _moment(members["timestamp"], emission.faults)
    if metrics is None:
        _add_single(emission, members)
    elif isinstance(metrics, list):
        emission.metrics = [_metric(entry, f"/metrics/{i}", emission.faults) for i, entry in enumerate(metrics)]
    else:
        raise _malformed("/metrics", "must be a list")
    return emission


def number_of(number: Number) -> int | float | str:
    """Returns the number that is stored: an integer where it is one within 64 bits, else a double; or what is wrong.

    So `1e3` is 1000 and 9007199254740993 keeps its last digit. The server has the same rule for numbers in texts.
    """
    text = number.text
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
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise _malformed("", f"names {_shown(name)} twice in one object")
        members[name] = value
    return members


def _add_single(emission: Emission, members: Mapping[str, Any]) -> None:
    faults = emission.faults
    name, given = _name(members.get("name"), "/name", faults), members.get("value")
    value = _value(given, "/value", faults)
    if "valueType" in members:
        emission.warnings.append("valueType is not part of the single format and was ignored: the type is guessed")
    kind = value.WhichOneof("kind")
    if kind is not None:
        emission.echo = getattr(value, kind)
        emission.text = given.text if isinstance(given, Number) else _json_text(emission.echo)
    emission.metrics = [pb.AssetMetric(name=name, value=value)]


def _json_text(value: str | float | bool) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _metric(entry: Any, pointer: str, faults: list[Fault]) -> pb.AssetMetric:
    if not isinstance(entry, dict):
        faults.append(Fault("must be an object with name, value and, optionally, valueType", pointer=pointer))
        # Two members of it would be told to be missing.
        return pb.AssetMetric(name="-", value=common_pb2.Value(bool_value=False))
    return pb.AssetMetric(
        name=_name(entry.get("name"), f"{pointer}/name", faults),
        value=_value(entry.get("value"), f"{pointer}/value", faults),
        value_type=_value_type(entry.get("valueType"), f"{pointer}/valueType", faults),
    )


def _name(given: Any, pointer: str, faults: list[Fault]) -> str:
    if isinstance(given, str) and _is_unicode(given):
        return given
    faults.append(Fault("is required" if given is None else "must be a text of Unicode characters", pointer=pointer))
    return ""


def _value(given: Any, pointer: str, faults: list[Fault]) -> common_pb2.Value:
    problem = "is required" if given is None else "must be a text, a number or a boolean"
    if isinstance(given, bool):
        return common_pb2.Value(bool_value=given)
    if isinstance(given, str):
        if _is_unicode(given):
            return common_pb2.Value(string_value=given)
        problem = "must be of Unicode characters, has half of a surrogate pair"
    elif isinstance(given, Number):
        number = number_of(given)
        if isinstance(number, int):
            return common_pb2.Value(int64_value=number)
        if isinstance(number, float):
            return common_pb2.Value(double_value=number)
        problem = number
    faults.append(Fault(problem, pointer=pointer))
    return common_pb2.Value()


def _value_type(given: Any, pointer: str, faults: list[Fault]) -> pb.AssetValueType.ValueType:
    if given is None:
        return pb.ASSET_VALUE_TYPE_UNSPECIFIED
    if isinstance(given, str) and given in VALUE_TYPES:
        return VALUE_TYPES[given]
    faults.append(Fault(f"must be one of {', '.join(VALUE_TYPES)}", pointer=pointer))
    return pb.ASSET_VALUE_TYPE_UNSPECIFIED


def _moment(given: Any, faults: list[Fault]) -> Timestamp | None:
    moment = parse_moment(given) if isinstance(given, str) else None
    if moment is None:
        faults.append(Fault(MOMENT_FORM, pointer="/timestamp"))
    return moment


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
