"""`streamgauge export` and `import`: out of one server and into another one, also when they are killed on the way."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamgauge import Client, Frame, testing
from streamgauge.testing import RunningServer

from tests.cli.conftest import CommandLine

T0 = datetime(2026, 1, 1, tzinfo=UTC)
FORMATS = ("parquet", "csv", "jsonl", "csv.gz", "jsonl.zst")
START = T0 - timedelta(microseconds=1)
URN = "urn:x:orders"


@pytest.fixture(scope="module")
def store() -> Iterator[RunningServer]:
    """A server with samples of every type."""
    with testing.server() as server:
        client = server.client()
        client.metrics.descriptors.declare(
            "rowCount", subject_kind="sources", value_type="int64", kind="counter", unit="rows"
        )
        hours = [T0 + timedelta(hours=12 * n, microseconds=n) for n in range(6)]
        client.sources.create("a", display_name="Orders, all", labels={"team": "x"}, connector_class="c.d.E")
        client.metrics.import_frames(
            [
                Frame(
                    "sources/a",
                    hours,
                    {
                        "rowCount": [1, 2, -(2**63), 2**63 - 1, 5, None],
                        "double": [0.1, -0.0, 5e-324, 1.7976931348623157e308, None, 1.0],
                        "flag": [True, False, None, True, True, True],
                        "text": ["", "a\nb", 'q"u,o', "\r\n", "grüße 👋", " "],
                    },
                    start_time=START,
                ),
                Frame("sources/a", hours, {"rowCount": range(6)}, part="task=0,topic=x"),
                Frame("sources/b", hours[:1], {"double": [2.0]}),
            ]
        ).raise_for_rejected()
        client.assets.create(URN, labels={"owner": "me"})
        client.assets.emit(URN, {"m": 5}, time=T0)
        client.assets.emit(URN, {"m": 6}, time=datetime(1, 1, 1, tzinfo=UTC))
        client.assets.emit(URN, {"m": 5.5}, time=T0 + timedelta(hours=1))
        client.assets.emit(URN, {"m": "five"}, time=T0 + timedelta(hours=2))
        client.assets.emit(URN, {"m": True}, time=T0 + timedelta(hours=3))
        yield server


@pytest.fixture
def empty() -> Iterator[RunningServer]:
    with testing.server() as server:
        yield server


def samples(client: Client, kind: str = "sources") -> dict[tuple[object, ...], str]:
    """Every sample that stands, as text, which keeps types and zeros apart."""
    found: dict[tuple[object, ...], str] = {}
    for frame in client.metrics.export(subject_kind=kind):
        for metric, column in frame.columns.items():
            for row, value in zip(column.rows, column.values, strict=True):
                at = (frame.subject, frame.part, frame.start_time, metric, frame.times[row])
                assert at not in found
                found[at] = repr(value)
    return found


@pytest.mark.parametrize("ending", FORMATS)
def test_everything_comes_back_in_an_empty_store(
    store: RunningServer, empty: RunningServer, ending: str, tmp_path: Path
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet is an extra")
    there, here = CommandLine(store.target), CommandLine(empty.target)
    for kind in ("sources", "assets"):
        path = str(tmp_path / f"{kind}.{ending}")
        there.ok("export", path, "--kind", kind)
        assert sorted(left.name for left in tmp_path.glob(f"{kind}.*")) == [
            f"{kind}.{ending}",
            f"{kind}.{ending}.catalog.json",
        ]
        assert "Error" not in here("import", path).stderr
        assert samples(empty.client(), kind) == samples(store.client(), kind)
        assert here("import", path).exit_code == 0
        assert samples(empty.client(), kind) == samples(store.client(), kind)
    described = empty.client().metrics.descriptors.get("rowCount")
    assert (described.kind, described.value_type, described.unit) == ("counter", "int64", "rows")
    source, asset = empty.client().sources.get("a"), empty.client().assets.get(URN)
    assert (source.display_name, source.labels, source.connector_class) == ("Orders, all", {"team": "x"}, "c.d.E")
    assert asset.labels == {"owner": "me"}


def test_pipes_take_texts(store: RunningServer, empty: RunningServer) -> None:
    out = CommandLine(store.target).ok("export", "-", "--format", "jsonl", "sources/b", "sources/a")
    assert [json.loads(line)["metric"] for line in out.splitlines()].count("double") == 6
    CommandLine(empty.target).ok("import", "-", "--format", "jsonl", stdin=out)
    assert samples(empty.client()) == samples(store.client())


def test_subjects_metrics_and_range_choose(store: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    there = CommandLine(store.target)
    there.ok("export", str(path), "sources/a", "-m", "flag", "--from", "2026-01-01T12:00:00Z", "--to", "2026-01-02")
    assert path.read_text() == (
        "subject,part,time,start_time,metric,type,double_value,int64_value,bool_value,string_value\n"
        "sources/a,,2026-01-01T12:00:00.000001Z,2025-12-31T23:59:59.999999Z,flag,bool,,,false,\n"
    )
    assert path.read_bytes().count(b"\r\n") == 2


def test_what_the_server_refuses_is_told_with_its_row(empty: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [f"sources/a,{T0 + timedelta(seconds=n):%Y-%m-%dT%H:%M:%SZ},m,int64,{n},," for n in range(500)]
    rows[123] = "sources/a,2999-01-01T00:00:00Z,m,int64,123,,"
    rows[400] = "sources/a,2026-01-01T00:00:07Z,t,string,,,a\0b"
    rows[450] = "jobs/none,2026-01-01T00:00:07Z,m,int64,5,,"
    path.write_text("subject,time,metric,type,int64_value,double_value,string_value\n" + "\n".join(rows) + "\n")
    result = CommandLine(empty.target)("import", str(path))
    assert result.exit_code == 1
    assert "497 samples in 500 rows stored" in result.stderr
    assert "row 124: sources/a: INVALID_FIELD" in result.stderr
    assert "row 401: sources/a t: INVALID_FIELD" in result.stderr
    assert "row 451: jobs/none: JOB_NOT_FOUND" in result.stderr
    assert result.stderr.endswith("Error: 3 samples were refused\n")
    assert len(samples(empty.client())) == 497


def test_more_bad_frames_than_an_answer_names_are_all_found(empty: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows = [f"sources/s{n},{'2999' if n % 2 else '2026'}-01-01,m,int64,{n}" for n in range(500)]
    path.write_text("subject,time,metric,type,int64_value\n" + "\n".join(rows) + "\n")
    result = CommandLine(empty.target)("import", str(path))
    assert result.exit_code == 1
    assert "250 samples in 500 rows stored" in result.stderr
    assert result.stderr.endswith("Error: 250 samples were refused (230 more not shown)\n")
    assert len(samples(empty.client())) == 250


def test_a_file_that_is_not_of_the_layout_is_wrong_usage(empty: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"subject":"sources/a","time":"soon","metric":"m","type":"int64","int64_value":1}\n')
    result = CommandLine(empty.target)("import", str(path))
    # Older versions of rich end a line even where they show no progress.
    assert result.exit_code == 2
    assert result.stderr.strip() == "Error: row 1: 'soon' is no moment such as 2026-11-21T10:00:00.25Z"
    missing = CommandLine(empty.target)("import", str(tmp_path / "none.csv"))
    assert (missing.exit_code, "No such file" in missing.stderr) == (2, True)


def test_dry_runs_change_nothing(store: RunningServer, empty: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    there = CommandLine(store.target)
    said = there("export", str(path), "--kind", "sources", "--dry-run")
    assert (said.exit_code, said.stderr) == (0, f"3 subjects and parts would go to {path} as jsonl\n")
    assert list(tmp_path.iterdir()) == []
    there.ok("export", str(path), "--kind", "sources")
    dry = CommandLine(empty.target)("import", str(path), "--dry-run")
    assert "2 sources and 0 assets would be registered" in dry.stderr
    assert f"{len(samples(store.client()))} samples" in dry.stderr
    assert list(empty.client().sources.list()) == []
    assert not Path(f"{path}.import.json").exists()


def test_a_file_is_not_overwritten_unasked(store: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("mine")
    there = CommandLine(store.target)
    result = there("export", str(path), "sources/b")
    assert (result.exit_code, path.read_text()) == (2, "mine")
    there.ok("export", str(path), "sources/b", "--overwrite")
    assert path.read_text().startswith("subject,")


def test_unknown_subjects_are_told(store: RunningServer, tmp_path: Path) -> None:
    result = CommandLine(store.target)("export", str(tmp_path / "x.csv"), "sources/b", "sources/none")
    assert (result.exit_code, "NOT_FOUND: sources/none" in result.stderr) == (1, True)


def test_parquet_without_pyarrow_names_the_extra(
    store: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = CommandLine(store.target)("export", str(tmp_path / "x.parquet"), "sources/b")
    assert (result.exit_code, "pip install 'streamgauge[parquet]'" in result.stderr) == (2, True)


def test_metrics_that_are_read_in_another_way_are_told(
    store: RunningServer, empty: RunningServer, tmp_path: Path
) -> None:
    path = str(tmp_path / "x.csv")
    CommandLine(store.target).ok("export", path, "--kind", "sources")
    empty.client().metrics.descriptors.declare("rowCount", subject_kind="sources", value_type="int64", kind="gauge")
    result = CommandLine(empty.target)("import", path)
    assert (result.exit_code, "metricDescriptors/sources/rowCount in another way" in result.stderr) == (0, True)
