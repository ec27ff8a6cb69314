"""`streamgauge assets` and `streamgauge descriptors`, against a real server."""

from __future__ import annotations

import csv
import io
import json
import uuid
from datetime import UTC, datetime

import pytest
from streamgauge import AssetValue, Client, Emit, MetricDirection, Scalar, ValueType

from tests.cli.conftest import CommandLine

T0 = datetime(2026, 11, 21, 10, tzinfo=UTC)
AT = ("--time", "2026-11-21T10:00:00Z")


@pytest.fixture
def urn() -> str:
    """An asset of the test's own, with all that a shell and a path would trip over."""
    return f"urn:li:dataset:(urn:li:dataPlatform:postgres,shop.a%2Fb/c d-{uuid.uuid4().hex},PROD)"


def values(client: Client, urn: str) -> dict[str, object]:
    return {name: metric.value for name, metric in client.assets.latest(urn)[urn].metrics.items()}


# --- Emitting --------------------------------------------------------------------------------------------------------


def test_emit_from_arguments_has_its_types_guessed_by_the_server(cli: CommandLine, client: Client, urn: str) -> None:
    given = ("rowCount=9223372036854775807", "ratio=0.1", "fresh=true", "zip=00123", "word=True", "eq=x=y", "none=")
    out = cli.ok("assets", "emit", urn, *given, *AT)
    assert out.count("guessed") == len(given)
    assert f"{len(given)} metrics emitted at 2026-11-21 10:00:00Z on {urn}" in out
    assert values(client, urn) == {
        "rowCount": 2**63 - 1,
        "ratio": 0.1,
        "fresh": True,
        "zip": "00123",
        "word": "True",
        "eq": "x=y",
        "none": "",
    }


def test_emit_with_types_and_a_run(cli: CommandLine, client: Client, urn: str) -> None:
    run = uuid.uuid4().hex
    arguments = ("batch=50", "a=b=c", "--type", "batch=string", "--type", "a=string", "--run-id", run)
    document = json.loads(cli.ok("assets", "emit", urn, *arguments, *AT, "--output", "json"))
    assert document["time"] == "2026-11-21T10:00:00Z"
    assert document["metrics"][0] == {"name": "batch", "value": "50", "value_type": "string", "guessed": False}
    assert client.assets.delete_metrics(urn, run_id=run, validate_only=True).values == 2
    result = cli("assets", "emit", urn, "n=18", "--type", "n=boolean")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: VALUE_TYPE_MISMATCH: metrics[0].value_type: ")


@pytest.mark.parametrize("option", ["--dry-run", "--validate-only"])
def test_a_dry_run_stores_nothing_and_tells_the_types(cli: CommandLine, urn: str, option: str) -> None:
    out = cli.ok("assets", "emit", urn, "rowCount=5", option)
    assert "number" in out
    assert "1 metric would be emitted (nothing was)" in out
    assert cli("assets", "show", urn).exit_code == 1


@pytest.mark.parametrize("option", ["--jsonl", "--from-file"])
def test_emit_from_a_file(cli: CommandLine, client: Client, urn: str, option: str) -> None:
    lines = [
        {"asset": urn, "metrics": {"n": 5, "b": True, "f": 0.5, "t": "50"}, "time": "2026-11-21T10:00:00Z"},
        {"asset": urn, "metrics": {"t": {"value": "50", "type": "string"}}, "time": "2026-11-21T10:00:00.001Z"},
        {"asset": "nonsense", "metrics": {"n": 1}, "run_id": "r"},
    ]
    result = cli("assets", "emit", option, "-", stdin="\n\n".join(map(json.dumps, lines)))
    assert result.exit_code == 1
    assert result.stdout == "2 emits stored, 1 refused\n"
    assert result.stderr.startswith("Error: emit 2 (nonsense): INVALID_FIELD: asset: ")
    assert [{n: m.value for n, m in moment.metrics.items()} for moment in client.assets.history(urn)] == [
        {"n": 5, "b": True, "f": 0.5, "t": 50},
        {"t": "50"},
    ]


def test_a_bad_line_says_what_was_stored_before_it(cli: CommandLine, urn: str) -> None:
    good = json.dumps({"asset": urn, "metrics": {"n": 1}, "time": "2026-11-21"}) + "\n"
    result = cli("assets", "emit", "--jsonl", "-", stdin=good * 5_000 + "oops\n")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: line 5001: Expecting value")
    assert "5000 emits were stored before it" in result.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "is not a JSON object"),
        ('{"metrics": {"a": 1}}', "`asset` is missing"),
        ('{"asset": 1, "metrics": {"a": 1}}', "`asset` must be a text"),
        ('{"asset": "urn:x:a"}', "`metrics` must be an object"),
        ('{"asset": "urn:x:a", "metrics": {}}', "`metrics` must be an object"),
        ('{"asset": "urn:x:a", "metrics": {"a": null}}', "the value of 'a' must be a number"),
        ('{"asset": "urn:x:a", "metrics": {"a": NaN}}', "NaN is not a finite number"),
        ('{"asset": "urn:x:a", "metrics": {"a": 1e999}}', "the value of 'a' is not a finite number"),
        ('{"asset": "urn:x:a", "metrics": {"a": 9223372036854775808}}', "does not fit into 64 bits"),
        ('{"asset": "urn:x:a", "metrics": {"a": {"value": 1}}}', 'must be {"value", "type"}'),
        ('{"asset": "urn:x:a", "metrics": {"a": {"value": 1, "type": "NUMBER"}}}', "string, number, boolean"),
        ('{"asset": "urn:x:a", "metrics": {"a": 1}, "part": "x"}', "unknown key 'part'"),
        ('{"asset": "urn:x:a", "metrics": {"a": 1}, "time": "soon"}', "'soon' is no moment"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(cli: CommandLine, line: str, message: str) -> None:
    result = cli("assets", "emit", "--jsonl", "-", stdin="\n" + line)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: line 2: ")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give ASSET NAME=VALUE"),
        (("urn:x:a",), "give at least one NAME=VALUE"),
        (("urn:x:a", "n=1", "--jsonl", "-"), "give ASSET NAME=VALUE"),
        (("--jsonl", "-", "--run-id", "r"), "stand in the file"),
        (("urn:x:a", "n"), "'n' is not NAME=VALUE"),
        (("urn:x:a", "n=1", "n=2"), "n is given twice"),
        (("urn:x:a", "n=1", "--type", "n=date"), "is not NAME=TYPE"),
        (("urn:x:a", "n=1", "--type", "m=number"), "there is no m=VALUE"),
    ],
)
def test_wrong_usage_exits_with_2(cli: CommandLine, arguments: tuple[str, ...], message: str) -> None:
    result = cli("assets", "emit", *arguments, stdin="")
    assert result.exit_code == 2
    assert message in result.stderr


# --- Reading ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(client: Client, urn: str) -> str:
    """An asset with three moments."""
    days = [T0.replace(day=day) for day in (19, 20, 21)]
    metrics: list[dict[str, Scalar]] = [
        {"rowCount": 2**53 + 1, "status": "open"},
        {"rowCount": 2},
        {"rowCount": 3, "fresh": True},
    ]
    emits = [Emit(urn, values, day) for values, day in zip(metrics, days, strict=True)]
    client.assets.emit_many(emits).raise_for_rejected()
    return urn


def test_metrics_shows_moments_exactly_in_every_format(cli: CommandLine, measured: str) -> None:
    document = json.loads(cli.ok("assets", "get", measured, "-o", "json"))
    assert document["asset"] == measured
    assert [moment["time"][:10] for moment in document["moments"]] == ["2026-11-19", "2026-11-20", "2026-11-21"]
    assert document["moments"][0]["metrics"][0]["value"] == 2**53 + 1
    rows = list(csv.DictReader(io.StringIO(cli.ok("assets", "get", measured, "-m", "rowCount", "-o", "csv"))))
    assert [(row["name"], row["value"], row["value_type"]) for row in rows] == [
        ("rowCount", str(2**53 + 1), "number"),
        ("rowCount", "2", "number"),
        ("rowCount", "3", "number"),
    ]
    assert "3 moments" in cli.ok("assets", "get", measured)


def test_metrics_takes_a_range_and_a_limit(cli: CommandLine, measured: str) -> None:
    lines = cli.ok("assets", "get", measured, "--from", "2026-11-20", "--limit", "1", "-o", "jsonl").splitlines()
    assert [json.loads(line)["value"] for line in lines] == [2]
    assert cli.ok("assets", "get", measured, "--to", "2026-11-19", "-o", "jsonl") == ""


def test_latest_shows_values_with_their_age_and_ends_with_an_error_for_unknown_assets(
    cli: CommandLine, measured: str
) -> None:
    document = json.loads(cli.ok("assets", "latest", measured, "-o", "json"))
    found = document["assets"][0]["metrics"]
    assert {name: metric["value"] for name, metric in found.items()} == {"rowCount": 3, "status": "open", "fresh": True}
    assert found["status"]["age"] - found["rowCount"]["age"] == pytest.approx(2 * 86_400)
    result = cli("assets", "latest", measured, "urn:x:nobody", "-m", "fresh")
    assert (result.exit_code, result.stderr) == (1, "Error: NOT_FOUND: urn:x:nobody\n")
    assert "yes" in result.stdout


def test_a_query_tells_for_how_long_each_value_stood(cli: CommandLine, client: Client, measured: str) -> None:
    name = client.assets.get(measured).name
    range_ = ("--from", "2026-11-19T10:00:00Z", "--to", "2026-11-19T11:00:00Z")
    arguments = ("query", name, "-m", "status", "-a", "time_in_value", *range_)
    (row,) = csv.DictReader(io.StringIO(cli.ok(*arguments, "-o", "csv")))
    assert (row["value"], row["sample_type"], row["of_value"]) == ("3600.0", "string", "open")
    assert "time_in_value open" in cli.ok(*arguments)


def test_assets_are_created_listed_shown_and_deleted(cli: CommandLine, urn: str) -> None:
    made = json.loads(cli.ok("assets", "create", urn, "--label", "team=shop", "-o", "json"))
    assert (made["urn"], made["platform"], made["labels"]) == (urn, "postgres", {"team": "shop"})
    assert json.loads(cli.ok("assets", "show", made["name"], "-o", "json")) == made
    prefix = urn.rpartition(",")[0]
    listed = ("assets", "list", "--prefix", prefix, "--platform", "postgres", "--label", "team=shop", "--limit", "1")
    assert json.loads(cli.ok(*listed, "-o", "json")) == [made]
    assert urn in cli.ok(*listed)
    declined = cli("assets", "delete", urn, stdin="n\n")
    assert declined.exit_code == 1
    assert f"Delete {urn} and every metric of it?" in declined.stderr
    assert cli.ok("assets", "delete", urn, "--yes") == f"{urn} deleted\n"
    assert cli("assets", "show", urn).stderr.startswith("Error: ASSET_NOT_FOUND: ")


# --- Corrections -----------------------------------------------------------------------------------------------------


def test_metrics_are_deleted_after_a_question_that_counts_them(cli: CommandLine, client: Client, measured: str) -> None:
    arguments = ("assets", "delete-metrics", measured, "-m", "rowCount", "--to", "2026-11-21")
    declined = cli(*arguments, stdin="n\n")
    assert declined.exit_code == 1
    assert "Delete 2 values of 1 asset?" in declined.stderr
    assert "2 values of 1 asset would be deleted (nothing was)" in cli.ok(*arguments, "--dry-run")
    assert len(list(client.assets.history(measured, metrics=["rowCount"]))) == 3
    assert "2 values of 1 asset deleted" in cli.ok(*arguments, stdin="y\n")
    assert len(list(client.assets.history(measured, metrics=["rowCount"]))) == 1
    out = json.loads(cli.ok("assets", "delete-metrics", measured, "--all", "--yes", "-o", "json"))
    assert out == {"values": 3, "assets": 1, "by_metric": {"fresh": 1, "rowCount": 1, "status": 1}}


def test_a_run_is_taken_back_from_every_asset(cli: CommandLine, client: Client, urn: str) -> None:
    run = uuid.uuid4().hex
    cli.ok("assets", "emit", urn, "n=1", *AT)
    cli.ok("assets", "emit", urn, "n=2", *AT, "--run-id", run)
    cli.ok("assets", "emit", f"{urn}2", "n=3", "--run-id", run)
    assert "2 values of 2 assets deleted" in cli.ok("assets", "delete-metrics", "assets/-", "--run-id", run, "--yes")
    assert values(client, urn) == {"n": 1}


def test_a_deletion_without_any_filter_is_refused_by_the_server_before_it_asks(cli: CommandLine, measured: str) -> None:
    result = cli("assets", "delete-metrics", measured, stdin="y\n")
    assert result.exit_code == 1
    assert "Delete" not in result.stderr
    assert "INVALID_FIELD" in result.stderr


def test_the_grpcurl_line_of_a_deletion_is_the_deletion_and_not_its_preview(cli: CommandLine, measured: str) -> None:
    line = cli.ok("assets", "delete-metrics", measured, "--all", "--show-grpcurl")
    assert "AssetMetricService/DeleteAssetMetrics" in line
    assert "validateOnly" not in line


# --- Declared metrics ------------------------------------------------------------------------------------------------


def test_a_metric_is_declared_shown_and_checked(cli: CommandLine, client: Client, urn: str) -> None:
    name = f"rows-{uuid.uuid4().hex}/all"
    arguments = ("--type", "number", "--min", "0", "--direction", "higher", "--unit", "rows")
    document = json.loads(cli.ok("descriptors", "declare", f"assets/{name}", *arguments, "-o", "json"))
    assert (document["metric"], document["value_type"], document["min_value"]) == (name, "number", 0.0)
    found = client.metrics.descriptors.get(name, subject_kind="assets")
    assert (found.value_type, found.direction, found.unit) == (
        ValueType.NUMBER,
        MetricDirection.HIGHER_IS_BETTER,
        "rows",
    )
    assert "higher_is_better" in cli.ok("descriptors", "get", f"assets/{name}")
    assert "guessed" not in cli.ok("assets", "emit", urn, f"{name}=5")
    assert cli("assets", "emit", urn, f"{name}=many").stderr.startswith("Error: VALUE_TYPE_MISMATCH: ")
    assert cli("assets", "emit", urn, f"{name}=-1").exit_code == 1
    cli.ok("descriptors", "declare", f"assets/{name}", "--type", "any", "--display-name", "Rows")
    kept = client.metrics.descriptors.get(name, subject_kind="assets")
    assert (kept.value_type, kept.min_value, kept.unit, kept.display_name) == (ValueType.ANY, None, "rows", "Rows")
    assert client.assets.emit(urn, {name: AssetValue("many")})[name].value == "many"


@pytest.mark.parametrize("metric", ["rowCount", "assets/", "things/rowCount"])
def test_a_metric_is_named_with_its_kind_of_subject(cli: CommandLine, metric: str) -> None:
    result = cli("descriptors", "declare", metric, "--type", "number")
    assert result.exit_code == 2
    assert "is not SUBJECTS/METRIC, such as assets/rowCount" in " ".join(result.stderr.split())
