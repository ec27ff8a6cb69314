"""Which type a value of an asset's metric has: the tables of guesses and of types that are asked for."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.values import AssetValueType, Scalar, ValueType
from streamgauge_server.services.asset_values import BEYOND_INT64, Mismatch, Typed, asset_type_of, typed_value

STRING, NUMBER, BOOLEAN = AssetValueType
INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(INT64, st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text())


def same(found: Typed | Mismatch, value: Scalar) -> bool:
    """Tells whether a typed value is exactly this one, its Python type and the sign of a zero included."""
    return (
        isinstance(found, Typed)
        and type(found.value) is type(value)
        and found.value == value
        and (not isinstance(value, float) or math.copysign(1, value) == math.copysign(1, float(found.value)))
    )


@pytest.mark.parametrize(
    ("sent", "asset_type", "stored"),
    [
        (18, NUMBER, 18),
        (-0.5, NUMBER, -0.5),
        (1000.0, NUMBER, 1000.0),
        (True, BOOLEAN, True),
        (False, BOOLEAN, False),
        ("50", NUMBER, 50),
        ("-50", NUMBER, -50),
        ("0", NUMBER, 0),
        ("-0", NUMBER, 0),
        ("-0.5", NUMBER, -0.5),
        ("0.1", NUMBER, 0.1),
        ("1e3", NUMBER, 1000),
        ("1E+3", NUMBER, 1000),
        ("1.0", NUMBER, 1),
        ("1.5e1", NUMBER, 15),
        ("1500e-2", NUMBER, 15),
        ("15e-2", NUMBER, 0.15),
        ("0.0", NUMBER, 0),
        ("0e99999999999999999999999", NUMBER, 0),
        ("-0.0", NUMBER, -0.0),
        ("-0e0", NUMBER, -0.0),
        ("1e-400", NUMBER, 0.0),
        ("1e-99999999999999999999999", NUMBER, 0.0),
        ("1e300", NUMBER, 1e300),
        ("1e19", NUMBER, 1e19),
        ("9007199254740993", NUMBER, 9007199254740993),
        ("9007199254740993.0", NUMBER, 9007199254740993),
        ("9007199254740993.5", NUMBER, 9007199254740993.5),
        ("0.99999999999999999999", NUMBER, 1.0),
        ("9223372036854775807", NUMBER, 2**63 - 1),
        ("9223372036854775807.0", NUMBER, 2**63 - 1),
        ("9223372036854775808.0", NUMBER, 2.0**63),
        ("-9223372036854775808", NUMBER, -(2**63)),
        ("-9223372036854775808e0", NUMBER, -(2**63)),
        ("0." + "0" * 2_000 + "5e2001", NUMBER, 5),
        ("true", BOOLEAN, True),
        ("false", BOOLEAN, False),
        ("True", STRING, "True"),
        ("TRUE", STRING, "TRUE"),
        ("yes", STRING, "yes"),
        ("1 ", STRING, "1 "),
        (" 1", STRING, " 1"),
        ("1\n", STRING, "1\n"),
        ("true\n", STRING, "true\n"),
        ("", STRING, ""),
        ("007", STRING, "007"),
        ("-007", STRING, "-007"),
        ("00", STRING, "00"),
        ("+5", STRING, "+5"),
        (".5", STRING, ".5"),
        ("5.", STRING, "5."),
        ("1.e3", STRING, "1.e3"),
        ("1e", STRING, "1e"),
        ("1e+", STRING, "1e+"),
        ("-", STRING, "-"),
        ("0x10", STRING, "0x10"),
        ("1_000", STRING, "1_000"),
        ("1,5", STRING, "1,5"),
        ("\u0665\u0660", STRING, "\u0665\u0660"),
        ("\uff15\uff10", STRING, "\uff15\uff10"),
        ("1²", STRING, "1²"),
        ("NaN", STRING, "NaN"),
        ("Infinity", STRING, "Infinity"),
        ("-Infinity", STRING, "-Infinity"),
        ("inf", STRING, "inf"),
        ("null", STRING, "null"),
        ('"50"', STRING, '"50"'),
        ("{}", STRING, "{}"),
        ("2024-03-02T17:44:00.000Z", STRING, "2024-03-02T17:44:00.000Z"),
        ("1e400", STRING, "1e400"),
        ("-1e400", STRING, "-1e400"),
        ("9" * 4_000 + ".5", STRING, "9" * 4_000 + ".5"),
    ],
)
def test_a_type_that_is_not_given_is_guessed(sent: Scalar, asset_type: AssetValueType, stored: Scalar) -> None:
    found = typed_value(sent, None, ValueType.ANY)
    assert found == Typed(stored, asset_type, True)
    assert same(found, stored)


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "-9223372036854775809", "12345678901234567890", "9" * 20, "-" + "9" * 5_000]
)
@pytest.mark.parametrize("asked", [None, NUMBER])
@pytest.mark.parametrize("declared", [ValueType.ANY, ValueType.NUMBER, ValueType.DOUBLE, ValueType.INT64])
def test_an_integer_beyond_64_bits_is_refused_and_never_rounded(
    text: str, asked: AssetValueType | None, declared: ValueType
) -> None:
    assert typed_value(text, asked, declared) == Mismatch(BEYOND_INT64)
    assert same(typed_value(text, STRING, ValueType.ANY), text)


TABLE: list[tuple[Scalar, Scalar | None, Scalar | None, Scalar | None]] = [
    # value, as STRING, as NUMBER, as BOOLEAN; None is refused
    (18, None, 18, None),
    (1, None, 1, None),
    (0, None, 0, None),
    (0.5, None, 0.5, None),
    (1.0, None, 1.0, None),
    (True, None, None, True),
    (False, None, None, False),
    ("50", "50", 50, None),
    ("1e3", "1e3", 1000, None),
    ("0.5", "0.5", 0.5, None),
    ("true", "true", None, True),
    ("false", "false", None, False),
    ("True", "True", None, None),
    ("1", "1", 1, None),
    ("0", "0", 0, None),
    ("abc", "abc", None, None),
    ("", "", None, None),
    ("007", "007", None, None),
    ("NaN", "NaN", None, None),
    ("1e400", "1e400", None, None),
]


@pytest.mark.parametrize(("sent", "as_string", "as_number", "as_boolean"), TABLE)
def test_a_type_that_is_asked_for_must_match_the_value(
    sent: Scalar, as_string: Scalar | None, as_number: Scalar | None, as_boolean: Scalar | None
) -> None:
    for asked, stored in ((STRING, as_string), (NUMBER, as_number), (BOOLEAN, as_boolean)):
        found = typed_value(sent, asked, ValueType.ANY)
        if stored is None:
            assert isinstance(found, Mismatch)
            assert found.of_type
            assert (found.expected, found.actual) == (asked.name, asset_type_of(sent).name)
        else:
            assert same(found, stored)
            assert found == Typed(stored, asked, False)


@pytest.mark.parametrize(("sent", "as_string", "as_number", "as_boolean"), TABLE)
def test_a_declared_metric_is_not_guessed_and_reads_values_as_its_type(
    sent: Scalar, as_string: Scalar | None, as_number: Scalar | None, as_boolean: Scalar | None
) -> None:
    for declared, asked, stored in (
        (ValueType.STRING, STRING, as_string),
        (ValueType.NUMBER, NUMBER, as_number),
        (ValueType.BOOL, BOOLEAN, as_boolean),
    ):
        found = typed_value(sent, None, declared)
        if stored is None:
            assert isinstance(found, Mismatch)
            assert not found.of_type
        else:
            assert found == Typed(stored, asked, False)
            assert found == typed_value(sent, asked, declared)


@pytest.mark.parametrize("declared", [ValueType.DOUBLE, ValueType.INT64, ValueType.NUMBER])
@pytest.mark.parametrize("asked", [STRING, BOOLEAN])
def test_a_type_other_than_the_declared_one_is_refused(declared: ValueType, asked: AssetValueType) -> None:
    for sent in ("50", "true", 50, True):
        found = typed_value(sent, asked, declared)
        assert isinstance(found, Mismatch)
        assert (found.of_type, found.expected, found.actual) == (True, "NUMBER", asked.name)


@pytest.mark.parametrize(
    ("sent", "declared", "stored"),
    [
        (5, ValueType.DOUBLE, 5.0),
        ("5", ValueType.DOUBLE, 5.0),
        (5.0, ValueType.INT64, 5),
        ("5.0", ValueType.INT64, 5),
        (0.5, ValueType.INT64, None),
        ("0.5", ValueType.INT64, None),
        (9007199254740993, ValueType.DOUBLE, None),
        (2.0**63, ValueType.INT64, None),
        (5, ValueType.NUMBER, 5),
        (5.0, ValueType.NUMBER, 5.0),
    ],
)
def test_a_declared_number_converts_without_loss_or_is_refused(
    sent: Scalar, declared: ValueType, stored: Scalar | None
) -> None:
    found = typed_value(sent, None, declared)
    if stored is None:
        assert isinstance(found, Mismatch)
        assert found.expected == declared.name
    else:
        assert same(found, stored)


@given(SCALARS)
def test_a_value_stored_once_is_stored_the_same_again(value: Scalar) -> None:
    """What an answer tells, value and type, can be sent back as it is."""
    found = typed_value(value, None, ValueType.ANY)
    if isinstance(found, Typed):
        assert same(typed_value(found.value, found.type, ValueType.ANY), found.value)


@given(st.one_of(INT64, st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
def test_a_number_or_boolean_is_kept_and_so_is_its_json_text(value: Any) -> None:
    assert same(typed_value(value, None, ValueType.ANY), value)
    found = typed_value(json.dumps(value), None, ValueType.ANY)
    assert isinstance(found, Typed)
    assert found.type == asset_type_of(value)
    # A double that is written as an integer comes back as that one, which is the same double.
    assert type(value)(found.value) == value


@given(st.text())
def test_a_text_is_a_number_or_boolean_exactly_if_json_says_so(text: str) -> None:
    def strict(constant: str) -> Any:
        raise ValueError(constant)

    try:
        literal = json.loads(text, parse_constant=strict)
    except ValueError:
        literal = None
    expected = STRING
    if text == text.strip() and isinstance(literal, bool):
        expected = BOOLEAN
    elif text == text.strip() and isinstance(literal, int | float) and math.isfinite(literal):
        expected = NUMBER
    found = typed_value(text, None, ValueType.ANY)
    assert isinstance(found, Mismatch) or found.type == expected


@given(st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{0,5})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_numbers_in_texts_are_those_that_json_reads(text: str) -> None:
    found = typed_value(text, None, ValueType.ANY)
    try:
        number = json.loads(text)
    except ValueError:
        assert found == Typed(text, STRING, True)
        return
    if isinstance(number, int) and not -(2**63) <= number < 2**63:
        assert found == Mismatch(BEYOND_INT64)
    elif not math.isfinite(number):
        assert found == Typed(text, STRING, True)
    else:
        assert isinstance(found, Typed)
        assert float(found.value) == float(number)
