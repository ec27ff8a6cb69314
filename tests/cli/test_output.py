"""Answers for people and for programs."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest
from streamgauge.cli.output import Answer, Format, Table, human, show
from streamgauge.enums import Aggregate

AT = datetime(2026, 11, 21, 10, 0, 0, 123456, tzinfo=UTC)
RECORD = {
    "name": "sources/a",
    "big": 2**63 - 1,
    "ratio": 0.1 + 0.2,
    "ok": True,
    "none": None,
    "at": AT,
    "aggregate": Aggregate.MAX,
    "labels": {"team": "a, b"},
}
ANSWER = Answer(
    document=[RECORD],
    fields=tuple(RECORD),
    records=[RECORD],
    table=Table(("NAME", ">BIG"), [("sources/" + "long" * 60, human(2**63 - 1))], notes=("a note",)),
)


def printed(format_: Format, capsys: pytest.CaptureFixture[str]) -> str:
    show(ANSWER, format_)
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_json_keeps_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    (record,) = json.loads(printed(Format.JSON, capsys))
    assert record == RECORD | {"at": "2026-11-21T10:00:00.123456Z", "aggregate": "max"}


def test_json_lines_are_one_record_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = printed(Format.JSONL, capsys).splitlines()
    assert json.loads(line)["big"] == 2**63 - 1


def test_csv_has_a_header_and_exact_cells(capsys: pytest.CaptureFixture[str]) -> None:
    header, row = csv.reader(io.StringIO(printed(Format.CSV, capsys)))
    cells = dict(zip(header, row, strict=True))
    assert float(cells["ratio"]) == 0.1 + 0.2
    assert int(cells["big"]) == 2**63 - 1
    assert (cells["ok"], cells["none"], cells["at"]) == ("true", "", "2026-11-21T10:00:00.123456Z")
    assert json.loads(cells["labels"]) == {"team": "a, b"}


def test_a_table_in_a_pipe_has_no_colours_and_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(Format.TABLE, capsys)
    assert "\x1b" not in text
    assert "sources/" + "long" * 60 in text
    assert "9,223,372,036,854,775,807" in text
    assert "a note" in text


def test_markup_in_values_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show(Answer([], (), [], Table(("NAME",), [("[red]x[/red] [/]",)])), Format.TABLE)
    assert "[red]x[/red] [/]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (None, "bytes", "-"),
        (True, "boolean", "yes"),
        (False, "", "no"),
        (1234567, "count", "1,234,567"),
        (1234567, "bytes", "1,234,567 bytes"),
        (0.1 + 0.2, "", "0.3"),
        (1e300, "", "1e+300"),
        ("connected", "enum", "connected"),
        (AT, "", "2026-11-21 10:00:00Z"),
        ({"a": "b", "c": "d"}, "", "a=b, c=d"),
    ],
)
def test_values_as_people_read_them(value: object, unit: str, expected: str) -> None:
    assert human(value, unit) == expected
