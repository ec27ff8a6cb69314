"""The commands, against a real server."""

from __future__ import annotations

import csv
import io
import json
import shlex
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import pytest
from streamgauge import Client
from streamgauge.cli.app import app

from tests.cli.conftest import CommandLine

RANGE = ("--from", "2026-11-21T10:00:00Z", "--to", "2026-11-21T10:04:00Z")


@pytest.fixture
def source() -> str:
    """A source of the test's own."""
    return f"sources/t-{uuid.uuid4().hex}"


@pytest.fixture
def measured(cli: CommandLine, source: str) -> str:
    """A source with a counter, a gauge and a state: samples in minutes 0, 1 and 3 of the range."""
    rows = [
        {"time": "2026-11-21T10:00:10Z", "values": {"byteTotal": 100, "lag": 0.5, "connector_status": "Active"}},
        {"time": "2026-11-21T10:00:20.000001Z", "values": {"byteTotal": 150}},
        {"time": "2026-11-21T10:01:00Z", "values": {"byteTotal": 150, "lag": 2.5}},
        {"time": "2026-11-21T10:03:59.999999Z", "values": {"byteTotal": 1000, "connector_status": "Paused"}},
    ]
    cli.ok("write", "--jsonl", "-", stdin="".join(json.dumps({"subject": source, **row}) + "\n" for row in rows))
    return source


# --- Writing ---------------------------------------------------------------------------------------------------------


def test_write_from_arguments_keeps_types_exactly(cli: CommandLine, client: Client, source: str) -> None:
    out = cli.ok("write", source, "rows=9223372036854775807", "ratio=0.1", "on=true", "name=x=y", 'zip="00123"')
    assert out == "1 observation written\n"
    values = client.metrics.latest([source]).subjects[0].values
    assert {name: value.value for name, value in values.items()} == {
        "rows": 2**63 - 1,
        "ratio": 0.1,
        "on": True,
        "name": "x=y",
        "zip": "00123",
    }


def test_write_with_time_part_and_start(cli: CommandLine, client: Client, source: str) -> None:
    cli.ok("write", source, "byteTotal=7", "--part", "task=0", "--time", "2026-11-21T10:00:00.000001Z",
           "--start-time", "2026-11-21")  # fmt: skip
    (found,) = [s for s in client.metrics.latest([source], by_part=True).subjects if s.part == "task=0"]
    assert found["byteTotal"].time == datetime(2026, 11, 21, 10, 0, 0, 1, tzinfo=UTC)
    assert found["byteTotal"].start_time == datetime(2026, 11, 21, tzinfo=UTC)


def test_write_csv_from_standard_input(cli: CommandLine, client: Client, source: str) -> None:
    text = f"subject,time,rows,state\n{source},2026-11-21,1,\n{source},2026-11-22T00:00:00Z,2,up\n"
    out = cli.ok("write", "--csv", "-", "--output", "json", stdin=text)
    assert json.loads(out) == {"accepted": 2, "rejected": 0, "errors": []}
    assert client.metrics.latest([source], metrics=["rows"]).subjects[0]["rows"].value == 2


def test_write_in_several_requests(cli: CommandLine, client: Client, source: str) -> None:
    lines = "".join(
        json.dumps({"subject": source, "time": f"2026-11-21T10:{n // 60 % 60:02}:{n % 60:02}.{n:06}Z",
                    "values": {"n": n}}) + "\n"
        for n in range(5_001)
    )  # fmt: skip
    assert cli.ok("write", "--jsonl", "-", stdin=lines) == "5,001 observations written\n"
    result = client.metrics.query(
        [source], start=datetime(2026, 11, 21, tzinfo=UTC), end=datetime(2026, 11, 22, tzinfo=UTC), aggregates=["count"]
    )
    assert result.series[0].column("n").values == (5_001,)


def test_validate_only_stores_nothing(cli: CommandLine, client: Client, source: str) -> None:
    assert cli.ok("write", source, "rows=5", "--validate-only") == "1 observation would be written (nothing was)\n"
    assert client.metrics.latest([source]).unknown_subjects == (source,)


def test_refused_observations_are_named_and_the_others_written(cli: CommandLine, source: str) -> None:
    cli.ok("write", source, "rows=5")
    lines = [
        json.dumps({"subject": source, "values": {"rows": 6}}),
        json.dumps({"subject": source, "values": {"rows": "six"}}),
        json.dumps({"subject": "nowhere", "values": {"rows": 6}}),
    ]
    result = cli("write", "--jsonl", "-", stdin="\n".join(lines))
    assert result.exit_code == 1
    assert "1 observation written, 2 refused" in result.stdout
    first, second = result.stderr.splitlines()
    assert first.startswith(f"Error: observation 1 ({source} rows): VALUE_TYPE_MISMATCH: ")
    assert second.startswith("Error: observation 2 (nowhere): INVALID_FIELD: ")


def test_a_bad_line_says_what_was_written_before_it(cli: CommandLine, source: str) -> None:
    good = json.dumps({"subject": source, "values": {"rows": 6}}) + "\n"
    result = cli("write", "--jsonl", "-", stdin=good * 5_000 + "oops\n")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: line 5001: Expecting value")
    assert "5000 observations were written before it" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give SUBJECT METRIC=VALUE"),
        (("sources/a",), "at least one METRIC=VALUE"),
        (("sources/a", "rows"), "'rows' is not metric=value"),
        (("sources/a", "rows=1", "rows=2"), "twice"),
        (("sources/a", "rows=1", "--csv", "-"), "give SUBJECT"),
        (("sources/a", "rows=1", "--time", "noon"), "'noon'"),
        (("--csv", "-", "--part", "x"), "stand in the file"),
        (("--csv", "/does/not/exist"), "cannot read /does/not/exist"),
    ],
)
def test_wrong_usage_of_write_exits_with_2(cli: CommandLine, arguments: tuple[str, ...], message: str) -> None:
    result = cli("write", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_input_that_is_not_utf8_is_refused(cli: CommandLine) -> None:
    result = cli("write", "--jsonl", "-", stdin=b'{"subject": "\xff"}')
    assert result.exit_code == 2
    assert "not UTF-8" in result.stderr


# --- Sources ---------------------------------------------------------------------------------------------------------


def test_sources_are_created_shown_listed_and_deleted(cli: CommandLine, source: str) -> None:
    short = source.partition("/")[2]
    label = f"run={short}"
    created = json.loads(cli.ok("sources", "create", short, "--display-name", "Orders", "--connector-class", "a.b.C",
                                "--label", label, "--output", "json"))  # fmt: skip
    assert created["name"] == source
    assert created["labels"] == {"run": short}
    assert json.loads(cli.ok("sources", "get", short, "-o", "json")) == created
    assert json.loads(cli.ok("sources", "get", source, "-o", "jsonl")) == created
    assert [s["name"] for s in json.loads(cli.ok("sources", "list", "--label", label, "-o", "json"))] == [source]
    assert cli.ok("sources", "list", "--label", label, "--connector-class", "x", "-o", "csv").count("\n") == 1
    table = cli.ok("sources", "list", "--label", label)
    assert source in table
    assert "Orders" in table
    assert cli.ok("sources", "delete", short, "--yes") == f"{source} deleted\n"
    assert cli("sources", "get", short).exit_code == 1


def test_list_pages_through_and_keeps_the_limit(cli: CommandLine, source: str) -> None:
    short = source.partition("/")[2]
    for number in range(3):
        cli.ok("sources", "create", f"{short}-{number}", "--label", f"page={short}")
    assert len(json.loads(cli.ok("sources", "list", "--label", f"page={short}", "-o", "json"))) == 3
    assert len(json.loads(cli.ok("sources", "list", "--label", f"page={short}", "--limit", "2", "-o", "json"))) == 2


def test_delete_asks_first(cli: CommandLine, source: str) -> None:
    cli.ok("sources", "create", source.partition("/")[2])
    assert cli("sources", "delete", source, stdin="n\n").exit_code == 1
    cli.ok("sources", "get", source)
    result = cli("sources", "delete", source, "-o", "json", stdin="y\n")
    answer = result.stdout.removeprefix(" y\n")  # up to 8.3, click's runner repeats what it is told
    assert json.loads(answer) == {"deleted": source}  # the question is not part of the answer


def test_a_stale_etag_deletes_nothing(cli: CommandLine, source: str) -> None:
    cli.ok("sources", "create", source.partition("/")[2])
    result = cli("sources", "delete", source, "--yes", "--etag", "stale")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ETAG_MISMATCH: ")


# --- Questions -------------------------------------------------------------------------------------------------------


def test_a_time_series_as_json_keeps_nulls_apart_from_zeros(cli: CommandLine, measured: str) -> None:
    answer = json.loads(
        cli.ok("sources", "metrics", measured, "--unit", "minute", *RANGE, "-m", "byteTotal", "-o", "json")
    )
    assert answer["metrics"]["byteTotal"]["values"] == [50, 0, None, 850]
    assert answer["metrics"]["byteTotal"]["unit"] == "bytes"
    assert answer["windows"][0] == {"start": "2026-11-21T10:00:00Z", "end": "2026-11-21T10:01:00Z"}
    assert answer["window"] == {"count": 1, "unit": "minute"}


def test_a_time_series_as_csv_has_a_row_for_every_window(cli: CommandLine, measured: str) -> None:
    out = cli.ok("sources", "metrics", measured, "--unit", "minute", *RANGE, "-m", "byteTotal", "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["value"] for row in rows] == ["50", "0", "", "850"]
    assert rows[2] == {
        "source": measured,
        "metric": "byteTotal",
        "aggregate": "increase",
        "start": "2026-11-21T10:02:00Z",
        "end": "2026-11-21T10:03:00Z",
        "value": "",
        "unit": "bytes",
    }


def test_a_time_series_as_a_table_draws_it(cli: CommandLine, measured: str) -> None:
    table = cli.ok("sources", "metrics", measured, "--unit", "minute", *RANGE, "-m", "byteTotal")
    row = next(line for line in table.splitlines() if line.startswith("byteTotal"))
    assert "▁▁ █" in row
    assert row.split()[-3:] == ["850", "850", "bytes"]
    assert "2026-11-21 10:00:00Z to 2026-11-21 10:04:00Z, 4 windows of 1 minute" in table
    assert "\x1b" not in table


def test_a_summary_says_resets_and_samples(cli: CommandLine, measured: str) -> None:
    out = cli.ok("sources", "metrics", measured, "--type", "timesummary", *RANGE, "-m", "byteTotal", "-o", "jsonl")
    assert json.loads(out) == {
        "source": measured,
        "metric": "byteTotal",
        "aggregate": "increase",
        "value": 900,
        "sample_count": 4,
        "first_time": "2026-11-21T10:00:10Z",
        "last_time": "2026-11-21T10:03:59.999999Z",
        "reset_count": 0,
        "unit": "bytes",
    }
    assert "900" in cli.ok("sources", "metrics", measured, "--type", "timesummary", *RANGE)


def test_the_latest_values_of_a_source(cli: CommandLine, measured: str) -> None:
    answer = json.loads(cli.ok("sources", "metrics", measured, "--type", "latest", "-o", "json"))
    assert answer["metrics"]["connector_status"]["value"] == "Paused"
    assert answer["metrics"]["lag"]["value"] == 2.5
    assert answer["metrics"]["recordSendTotal"]["value"] is None
    assert "Paused" in cli.ok("sources", "metrics", measured, "--type", "latest")


def test_query_computes_the_aggregates_asked_for(cli: CommandLine, measured: str) -> None:
    out = cli.ok("query", measured, "-m", "lag", "-a", "min", "-a", "avg", *RANGE, "-o", "csv")
    assert [(row["aggregate"], row["value"]) for row in csv.DictReader(io.StringIO(out))] == [
        ("min", "0.5"),
        ("avg", "1.5"),
    ]
    windows = json.loads(
        cli.ok("query", measured, "-m", "lag", "--unit", "minute", "--interval", "2", *RANGE, "-o", "json")
    )
    assert len(windows["windows"]) == 2
    assert measured in cli.ok("query", measured, "--unit", "minute", *RANGE)


def test_parts_are_shown_by_themselves(cli: CommandLine, source: str) -> None:
    for task, value in (("task=0", "5"), ("task=1", "7")):
        cli.ok("write", source, f"rows={value}", "--part", task)
    answer = json.loads(cli.ok("latest", source, "--by-part", "-m", "rows", "-o", "json"))
    assert {s["part"]: s["metrics"]["rows"]["value"] for s in answer["subjects"] if s["metrics"]} == {
        "task=0": 5,
        "task=1": 7,
    }
    assert "task=1" in cli.ok("latest", source, "--by-part")


def test_subjects_that_do_not_exist_are_named_and_the_others_answered(cli: CommandLine, measured: str) -> None:
    for command in ("latest", "query"):
        result = cli(command, measured, "sources/does-not-exist", "-m", "lag", "-o", "jsonl")
        assert result.exit_code == 1
        assert result.stderr == "Error: NOT_FOUND: sources/does-not-exist\n"
    assert (
        json.loads(cli("latest", measured, "sources/does-not-exist", "-m", "lag", "-o", "jsonl").stdout)["value"] == 2.5
    )


def test_descriptors_are_listed(cli: CommandLine, measured: str) -> None:
    found = {d["metric"]: d for d in json.loads(cli.ok("descriptors", "list", "--kind", "sources", "-o", "json"))}
    assert found["byteTotal"]["display_name"] == "Volume"
    assert found["byteTotal"]["built_in"] is True
    assert found["lag"]["built_in"] is False
    assert "connector_status" in cli.ok("descriptors", "list")


def test_the_server_tells_what_it_is(cli: CommandLine) -> None:
    info = json.loads(cli.ok("server", "info", "-o", "json"))
    assert info["store"] == "sqlite"
    assert info["limits"]["max_windows"] == {"value": 11_000, "unit": "windows"}
    assert "max windows" in cli.ok("server", "info").replace("_", " ")


# --- Errors ----------------------------------------------------------------------------------------------------------


def test_a_refusal_is_one_line_with_its_reason(cli: CommandLine) -> None:
    result = cli("sources", "get", "does-not-exist")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: SOURCE_NOT_FOUND: ")
    assert "does-not-exist" in line


def test_a_refusal_names_every_wrong_field(cli: CommandLine, source: str) -> None:
    result = cli("sources", "create", "bad id", "--display-name", "x" * 300)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "source_id: " in line
    assert "display_name: " in line


def test_a_reversed_range_is_refused_by_the_server(cli: CommandLine, measured: str) -> None:
    result = cli("query", measured, "--from", "now", "--to", "-1h")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: INVALID_TIME_RANGE: ")


def test_no_server_exits_with_3() -> None:
    with socket.socket() as taken:  # bound, not listening: nobody answers, and nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CommandLine(target)("server", "info", "--timeout", "0.3")
    assert result.exit_code == 3
    (line,) = result.stderr.splitlines()
    assert line.startswith(("Error: UNAVAILABLE: no answer from 127.0.0.1:", "Error: DEADLINE_EXCEEDED: "))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ca-file", "/does/not/exist"), "cannot read /does/not/exist"),
        (("--token-file", "/does/not/exist"), "cannot read /does/not/exist"),
        (("--timeout", "soon"), "STREAMGAUGE_TIMEOUT"),
        (("--token", "x", "--target", "metrics.example:443"), "--tls"),
        (("--client-cert-file", "x"), "STREAMGAUGE_CLIENT_KEY_FILE"),
        (("--output", "xml"), "xml"),
    ],
)
def test_wrong_options_of_the_connection_exit_with_2(arguments: tuple[str, ...], message: str) -> None:
    result = CommandLine(None)("server", "info", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_environment_names_the_server(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_TARGET", target)
    assert CommandLine(None).ok("server", "info")


def test_a_token_on_the_command_line_stands_over_a_token_file_in_the_environment(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGAUGE_TOKEN_FILE", "/does/not/exist")
    assert CommandLine(target)("server", "info").exit_code == 2
    assert "--show-grpcurl" not in CommandLine(target)("server", "info", "--token", "x").stderr


# --- grpcurl ---------------------------------------------------------------------------------------------------------


def grpcurl(line: str) -> dict[str, object]:
    """Runs a printed line in a shell, with the grpcurl of this environment, and returns its answer."""
    path = f"{sys.prefix}/bin:/usr/bin:/bin"
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, text=True, timeout=30, env={"PATH": path}, check=False
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    "command",
    [
        "server info",
        "descriptors list --kind sources",
        "sources list --label a=b",
        "sources get {source}",
        "sources metrics {source} --unit minute --from 2026-11-21T10:00:00Z --to 2026-11-21T10:04:00Z",
        "sources metrics {source} --type latest -m byteTotal",
        "query {source} -m lag -a max --unit hour --from 2026-11-21 --to 2026-11-22",
        "latest {source} --by-part",
        'write {source} rows=5 lag=1.5 name="it\'s" --time 2026-11-21T10:00:00Z',
        "sources create {source}-new --label k=v",
        "sources delete {source}",
    ],
)
def test_the_grpcurl_line_does_what_the_command_does(cli: CommandLine, measured: str, command: str) -> None:
    name = measured.partition("/")[2] if "create" in command else measured
    line = cli.ok(*shlex.split(command.format(source=name)), "--show-grpcurl")
    assert line.count("\n") == 1
    grpcurl(line)


def test_the_grpcurl_line_gets_the_same_answer(cli: CommandLine, measured: str) -> None:
    command = ("query", measured, "-m", "byteTotal", *RANGE)
    ours = json.loads(cli.ok(*command, "-o", "json"))["series"][0]["columns"][0]["values"]
    theirs: dict[str, object] = grpcurl(cli.ok(*command, "--show-grpcurl"))
    assert json.dumps(theirs).count('"ints": {"values": ["900"]}') == 1
    assert ours == [900]


def test_show_grpcurl_does_nothing_itself(cli: CommandLine, client: Client, source: str) -> None:
    cli.ok("write", source, "rows=5", "--show-grpcurl")
    assert client.metrics.latest([source]).unknown_subjects == (source,)


# --- Help ------------------------------------------------------------------------------------------------------------


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


LEAVES = {path: command for path, command in commands(app) if not isinstance(command, click.Group)}


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(path: tuple[str, ...]) -> None:
    out = CommandLine(None).ok(*path, "--help")
    assert f"streamgauge {' '.join(path)}" in out.partition("Examples:")[2]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_examples_of_the_help_are_valid_usage(path: tuple[str, ...]) -> None:
    for line in str(LEAVES[path].epilog).splitlines()[2:]:
        words = shlex.split(line.rpartition("|")[2])
        assert words[0] == "streamgauge"
        command: click.Command = app
        arguments = words[1:]
        while isinstance(command, click.Group):
            command, arguments = command.commands[arguments[0]], arguments[1:]
        command.make_context("streamgauge", arguments)


def test_without_click_the_entry_point_says_how_to_install_it() -> None:
    program = "import sys; sys.modules['click'] = None; from streamgauge.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "pip install 'streamgauge[cli]'" in done.stderr
