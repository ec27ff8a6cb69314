"""What is written, as people and programs hand it over."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest
from streamgauge.cli.inputs import parse_assignment, parse_scalar, read_csv, read_json_lines
from streamgauge.cli.times import parse_time
from streamgauge.observations import Observation

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TIME = partial(parse_time, now=NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5),
        ("-5", -5),
        ("9223372036854775807", 2**63 - 1),
        ("5.0", 5.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("connected", "connected"),
        ('"5"', "5"),
        ('"a\\nb"', "a\nb"),
        ('"', '"'),
        ("", ""),
        ("1_000", "1_000"),
        ("nan", "nan"),
    ],
)
def test_a_text_becomes_the_value_it_looks_like(text: str, expected: object) -> None:
    value = parse_scalar(text)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("text", ["9223372036854775808", "1e999", '"a"b"'])
def test_values_that_cannot_be_kept_exactly_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text[:5]):
        parse_scalar(text)


def test_the_first_equals_sign_divides() -> None:
    assert parse_assignment("filter=a=b") == ("filter", "a=b")


@pytest.mark.parametrize("text", ["rows", "=5"])
def test_an_assignment_needs_metric_and_equals_sign(text: str) -> None:
    with pytest.raises(ValueError, match="metric=value"):
        parse_assignment(text)


def test_json_lines_hold_one_observation_each() -> None:
    lines = [
        '{"subject": "sources/a", "values": {"rows": 5, "lag": 1.5, "ok": true, "state": "up"}}\n',
        "\n",
        '{"subject": "sources/b", "part": "task=0", "time": "-1h", "start_time": "2026-11-01", "values": {"x": 1}}',
    ]
    assert list(read_json_lines(lines, TIME)) == [
        Observation("sources/a", {"rows": 5, "lag": 1.5, "ok": True, "state": "up"}),
        Observation(
            "sources/b",
            {"x": 1},
            time=datetime(2026, 11, 21, 23, tzinfo=UTC),
            part="task=0",
            start_time=datetime(2026, 11, 1, tzinfo=UTC),
        ),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "not a JSON object"),
        ("{", "Expecting"),
        ('{"values": {"x": 1}}', "`subject` is missing"),
        ('{"subject": "sources/a"}', "`values`"),
        ('{"subject": "sources/a", "values": {}}', "no value"),
        ('{"subject": "sources/a", "values": {"x": null}}', "'x'"),
        ('{"subject": "sources/a", "values": {"x": [1]}}', "'x'"),
        ('{"subject": "sources/a", "values": {"x": NaN}}', "NaN"),
        ('{"subject": "sources/a", "values": {"x": 1e999}}', "finite"),
        ('{"subject": "sources/a", "values": {"x": 9223372036854775808}}', "64 bits"),
        ('{"subject": "sources/a", "values": {"x": 1}, "tme": "now"}', "'tme'"),
        ('{"subject": "sources/a", "values": {"x": 1}, "time": 5}', "`time`"),
        ('{"subject": "sources/a", "values": {"x": 1}, "time": "soon"}', "'soon'"),
    ],
)
def test_a_bad_line_is_named_with_its_number(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^line 2: .*" + message):
        list(read_json_lines(['{"subject": "sources/a", "values": {"x": 1}}', line], TIME))


def test_csv_columns_are_metrics_and_empty_cells_are_no_values() -> None:
    lines = ["time,subject,rows,state\n", "2026-11-21,sources/a,5,\n", ',sources/b,,"up, and running"\n']
    assert list(read_csv(lines, TIME)) == [
        Observation("sources/a", {"rows": 5}, time=datetime(2026, 11, 21, tzinfo=UTC)),
        Observation("sources/b", {"state": "up, and running"}),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: .*subject"),
        (["name,rows"], "line 1: .*subject"),
        (["subject,x,x"], "line 1: .*twice"),
        (["subject,x", "sources/a"], "line 2: has 1 cells, the header 2"),
        (["subject,x", "sources/a,1", ",1"], "line 3: `subject`"),
        (["subject,x", "sources/a,"], "line 2: there is no value"),
        (["subject,x", "sources/a,1e999"], "line 2: .*finite"),
    ],
)
def test_a_bad_table_is_refused_where_it_is_bad(lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_csv(lines, TIME))
