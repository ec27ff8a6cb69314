"""The layout of samples in files: what is written is read back bit for bit, and what is wrong is told with its row."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamgauge.enums import Scalar
from streamgauge.files import FileError, FileFormat, parquet, texts
from streamgauge.files.formats import Compression, Place, TextFile, reading
from streamgauge.files.moments import to_micros, to_text
from streamgauge.files.pieces import MAX_SAMPLES, Assembly, Piece
from streamgauge.files.runs import FIELDS, Run, RunKey

LAST_MOMENT = 253_402_300_799_999_999
WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)
VALUES: dict[str, st.SearchStrategy[Scalar]] = {
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "string": st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20),
}
Sample = tuple[RunKey, int, Scalar]
MOMENTS = st.integers(0, LAST_MOMENT)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    kind = draw(st.sampled_from(sorted(VALUES)))
    key = RunKey(draw(WORDS), draw(WORDS), draw(st.none() | MOMENTS), draw(WORDS), kind)
    rows = draw(st.lists(st.tuples(MOMENTS, VALUES[kind]), min_size=1, max_size=4))
    return Run(key, [time for time, _ in rows], [value for _, value in rows])


def samples(given: Iterable[Run]) -> list[tuple[RunKey, int, str, object]]:
    """Every row by itself; doubles by their bits."""
    return [
        (run.key, time, type(value).__name__, struct.pack("<d", value) if isinstance(value, float) else value)
        for run in given
        for time, value in zip(run.times, run.values, strict=True)
    ]


def rows_of(given: Iterable[Run]) -> list[int]:
    return [run.row + place for run in given for place in range(len(run.times))]


def csv_text(given: Iterable[Run]) -> str:
    writer = texts.CsvWriter()
    return writer.head() + "".join(map(writer.lines, given))


def json_text(given: Iterable[Run]) -> str:
    writer = texts.JsonWriter()
    return writer.head() + "".join(map(writer.lines, given))


def lines(text: str) -> Iterator[str]:
    return iter(io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8", newline=""))


Write: TypeAlias = Callable[[Iterable[Run]], str]
Read: TypeAlias = Callable[[Iterable[str], int], Iterator[Run]]
BOTH: list[tuple[Write, Read]] = [(csv_text, texts.read_csv), (json_text, texts.read_json_lines)]


@pytest.mark.parametrize(("write", "read"), BOTH)
@given(given=st.lists(runs(), max_size=5), data=st.data())
def test_texts_come_back_as_they_were_written(write: Write, read: Read, given: list[Run], data: st.DataObject) -> None:
    wanted = samples(given)
    found = list(read(lines(write(given)), 0))
    assert samples(found) == wanted
    assert rows_of(found) == list(range(1, len(wanted) + 1))
    skip = data.draw(st.integers(0, len(wanted)))
    rest = list(read(lines(write(given)), skip))
    assert (samples(rest), rows_of(rest)) == (wanted[skip:], list(range(skip + 1, len(wanted) + 1)))


@pytest.mark.parametrize(("write", "read"), BOTH)
def test_batches_of_rows_are_read_one_after_the_other(write: Write, read: Read) -> None:
    run = Run(RunKey("sources/a", "", None, "m", "int64"), range(2_500), range(2_500))
    found = list(read(lines(write([run])), 7))
    assert samples(found) == samples([run])[7:]
    assert rows_of(found) == list(range(8, 2_501))


@settings(deadline=None)  # the first one loads pyarrow
@given(given=st.lists(runs(), max_size=5))
def test_parquet_comes_back_as_it_was_written(given: list[Run], tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("pyarrow", reason="Parquet is an extra")
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    writer = parquet.ParquetWriter(path)
    for run in given:
        writer.add(run)
    writer.close()
    wanted = samples(given)
    for skip in {0, len(wanted) // 2, len(wanted)}:
        found = list(parquet.read_parquet(path, skip))
        assert (samples(found), rows_of(found)) == (wanted[skip:], list(range(skip + 1, len(wanted) + 1)))
    assert parquet.row_count(path) == len(wanted)


def test_parquet_of_another_program_may_have_plain_columns_of_other_widths(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet is an extra")
    table = pa.table(
        {
            "metric": ["m", "m"],
            "subject": ["sources/a", "sources/a"],
            "time": pa.array([1_500, 2_000], pa.timestamp("ms")),
            "type": ["int64", "int64"],
            "int64_value": pa.array([5, 6], pa.int8()),
        }
    )
    pa.parquet.write_table(table, tmp_path / "x.parquet")
    key = RunKey("sources/a", "", None, "m", "int64")
    assert samples(parquet.read_parquet(tmp_path / "x.parquet")) == samples([Run(key, [1_500_000, 2_000_000], [5, 6])])


def test_parquet_names_the_row_that_has_no_value(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow", reason="Parquet is an extra")
    table = pa.table(
        {
            "subject": ["sources/a"] * 3,
            "metric": ["m"] * 3,
            "time": pa.array([1, 2, 3], pa.timestamp("us", tz="UTC")),
            "type": ["int64"] * 3,
            "int64_value": pa.array([5, None, 7], pa.int64()),
        }
    )
    pa.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(FileError, match=r"^row 2: int64_value is empty$"):
        list(parquet.read_parquet(tmp_path / "x.parquet"))


HEADER = ",".join(FIELDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no column"),
        ("subject,time,metric,type,rows\n", "line 1: unknown column 'rows'"),
        ("subject,time,metric,type,type\n", "line 1: a column is named twice"),
        (f"{HEADER}\nsources/a,,2026-01-01,,m,int64,,5\n", "row 1: has 8 cells, the header 10"),
        (
            f"{HEADER}\nsources/a,,2026-01-01,,m,int64,,5,,\nsources/a,,soon,,m,int64,,5,,\n",
            "row 2: 'soon' is no moment",
        ),
        (f"{HEADER}\nsources/a,,2026-01-01,,m,int64,,5.5,,\n", "row 1: invalid literal for int"),
        (f"{HEADER}\nsources/a,,2026-01-01,,m,int64,,9223372036854775808,,\n", "row 1: int64_value does not fit"),
        (f"{HEADER}\nsources/a,,2026-01-01,,m,double,,,,\n", "row 1: could not convert"),
        (f"{HEADER}\nsources/a,,2026-01-01,,m,bool,,,True,\n", "row 1: bool_value must be true or false"),
        (f"{HEADER}\nsources/a,,2026-01-01,,m,number,5,,,\n", "row 1: type must be one of"),
        (f'{HEADER}\n"sources/a,,2026-01-01\n', "line 2: unexpected end of data"),
    ],
)
def test_csv_that_is_wrong_is_told_with_its_row(text: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        list(texts.read_csv(lines(text)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "row 2: is not a JSON object"),
        ('{"subject"', "row 2: Expecting ':' delimiter"),
        ('{"subject":"a","rows":5}', "row 2: unknown key 'rows'"),
        (
            '{"subject":5,"time":"2026-01-01","metric":"m","type":"int64","int64_value":5}',
            "row 2: subject must be a text",
        ),
        ('{"time":"2026-01-01","metric":"m","type":"int64","int64_value":5}', "row 2: subject must be a text"),
        ('{"subject":"a","time":"x","metric":"m","type":"int64","int64_value":5}', "row 2: 'x' is no moment"),
        ('{"subject":"a","time":"2026-01-01","metric":"m","type":"int64"}', "row 2: int64_value must be an integer"),
        ('{"subject":"a","time":"2026-01-01","metric":"m","type":"double","double_value":NaN}', "row 2: NaN is not a"),
        ('{"subject":"a","time":"2026-01-01","metric":"m","type":"bool","bool_value":1}', "row 2: bool_value must be"),
        ('{"subject":"a","time":"2026-01-01","metric":"m","type":"string"}', "row 2: string_value must be a text"),
        ('{"subject":"a"},{"subject":"b"}', "row 2: Extra data"),
    ],
)
def test_json_that_is_wrong_is_told_with_its_row(line: str, message: str) -> None:
    good = '{"subject":"a","time":"2026-01-01","metric":"m","type":"double","double_value":1}\n'
    with pytest.raises(FileError, match=message):
        list(texts.read_json_lines(lines(good + line + "\n" + good)))


def test_columns_may_stand_in_any_order_and_be_left_out() -> None:
    text = "type,metric,int64_value,time,subject\nint64,m,5,2026-01-01T00:00:00+01:00,sources/a\n"
    key = RunKey("sources/a", "", None, "m", "int64")
    wanted = Run(key, [to_micros("2025-12-31T23:00:00Z")], [5])
    assert samples(texts.read_csv(lines(text))) == samples([wanted])


@given(MOMENTS)
def test_moments_come_back_to_the_microsecond(micros: int) -> None:
    assert to_micros(to_text(micros)) == micros


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a.parquet", (FileFormat.PARQUET, Compression.NONE)),
        ("a.csv", (FileFormat.CSV, Compression.NONE)),
        ("dir.x/a.csv.gz", (FileFormat.CSV, Compression.GZIP)),
        ("a.JSONL.zst", (FileFormat.JSONL, Compression.ZSTD)),
        ("a.ndjson", (FileFormat.JSONL, Compression.NONE)),
    ],
)
def test_the_name_of_a_file_tells_its_format(path: str, wanted: tuple[FileFormat, Compression]) -> None:
    place = Place.of(path)
    assert (place.format, place.compression) == wanted


@pytest.mark.parametrize(
    ("path", "format_", "message"),
    [
        ("a.txt", None, "tells no format"),
        ("a.gz", None, "tells no format"),
        ("a.parquet.gz", None, "compressed in itself"),
        ("-", None, "must be said"),
        ("-", "parquet", "needs a file"),
    ],
)
def test_a_name_that_tells_no_format_is_refused(path: str, format_: str | None, message: str) -> None:
    with pytest.raises(FileError, match=message):
        Place.of(path, format_)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.zst"])
def test_a_file_goes_on_after_what_was_saved(ending: str, tmp_path: Path) -> None:
    place = Place.of(tmp_path / f"a.{ending}")
    first = TextFile(Path(place.path), place.compression)
    first.write("one\n")
    size = first.save()
    first.write("lost\n")
    first.save()
    first.close()
    second = TextFile(Path(place.path), place.compression, size)
    second.write("two\n")
    assert second.save() == Path(place.path).stat().st_size
    second.close()
    with reading(place) as (found, counted):
        assert list(found) == ["one\n", "two\n"]
        assert counted.count == Path(place.path).stat().st_size


def test_a_compressed_file_that_ends_too_early_is_told(tmp_path: Path) -> None:
    place = Place.of(tmp_path / "a.csv.gz")
    whole = TextFile(Path(place.path), place.compression)
    whole.write("one\n" * 1_000)
    whole.save()
    whole.close()
    Path(place.path).write_bytes(Path(place.path).read_bytes()[:-9])
    with pytest.raises(FileError, match="damaged"), reading(place) as (found, _):
        list(found)


def piece_samples(pieces: Iterable[Piece]) -> dict[tuple[object, ...], Scalar]:
    return {
        (piece.subject, piece.part, piece.start, column.metric, column.type, time): value
        for piece in pieces
        for column in piece.columns
        for time, value in zip(column.times, column.values, strict=True)
    }


@given(given=st.lists(runs(), min_size=1, max_size=6))
def test_pieces_hold_what_stands_of_the_runs(given: list[Run]) -> None:
    assembly = Assembly()
    wanted: dict[tuple[object, ...], Scalar] = {}
    row = 1
    for run in given:
        assembly.add(Run(run.key, run.times, run.values, row))
        row += len(run.times)
        for time, value in zip(run.times, run.values, strict=True):
            wanted[run.key.subject, run.key.part, run.key.start, run.key.metric, run.key.type, time] = value
    pieces = list(assembly.pieces())
    assert piece_samples(pieces) == wanted
    assert assembly.last_row == row - 1
    for piece in pieces:
        message = piece.message()
        assert list(message.time_unix_micros) == sorted(set(message.time_unix_micros))
        assert len({column.metric for column in message.columns}) == len(message.columns)
        assert message.HasField("start_time") == (piece.start is not None)
        halves = piece.split()
        assert piece_samples(halves) == piece_samples([piece])
        assert len(halves) > 1 or piece.samples == 1


def test_large_groups_are_cut_at_midnight() -> None:
    day = 86_400_000_000
    key = RunKey("sources/a", "", None, "m", "int64")
    assembly = Assembly()
    times = range(0, 4 * day, day // (MAX_SAMPLES // 2))
    assembly.add(Run(key, times, list(range(len(times))), 1))
    pieces = list(assembly.pieces())
    assert sum(piece.samples for piece in pieces) == len(times)
    assert max(piece.samples for piece in pieces) <= MAX_SAMPLES
    assert all(piece.columns[0].times[0] % day == 0 for piece in pieces)


def test_a_piece_knows_the_rows_that_it_is_from() -> None:
    key, other = RunKey("sources/a", "", None, "m", "int64"), RunKey("sources/a", "", None, "n", "int64")
    assembly = Assembly()
    for run in (Run(key, [5, 1], [0, 1], 1), Run(other, [1, 2], [2, 3], 3), Run(key, [3], [4], 5)):
        assembly.add(run)
    (piece,) = assembly.pieces()
    assert piece.rows() == (1, 5)
    m, n = piece.split()
    assert (m.rows(), n.rows()) == ((1, 5), (3, 4))
    assert [half.rows() for half in m.split()] == [(2, 2), (1, 5)]


def test_a_text_of_zero_and_minus_zero_are_kept_apart() -> None:
    key = RunKey("sources/a", "", None, "m", "double")
    (found,) = texts.read_csv(lines(csv_text([Run(key, [1, 2], [0.0, -0.0])])))
    assert [math.copysign(1.0, float(value)) for value in found.values] == [1.0, -1.0]
