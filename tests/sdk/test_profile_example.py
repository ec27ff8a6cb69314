"""The example that profiles tables, run as anybody would, against real databases and a real server."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from streamgauge import AssetMoment, Client, testing

from tests.conftest import Postgres

EXAMPLE = Path(__file__).parents[2] / "sdk/python/examples/profile_table.py"
STATEMENTS = (
    """CREATE TABLE orders (
        id bigint PRIMARY KEY, customer text, amount numeric, note json, updated_at timestamptz, "odd,(name)" integer
    )""",
    """INSERT INTO orders VALUES
        (1, 'ann', 10.5, '{"a": 1}', now() - interval '1 hour', NULL),
        (2, 'bob', NULL, '{"a": 1}', now() - interval '2 hours', NULL),
        (3, 'ann', 10.5, NULL, NULL, NULL),
        (4, NULL, 0, NULL, NULL, NULL)""",
    "CREATE TABLE empty (id integer, updated_at timestamptz)",
)


def run(*arguments: str, target: str = "127.0.0.1:1") -> subprocess.CompletedProcess[str]:
    """Runs the example against a server."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE_")}
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        env={**environment, "STREAMGAUGE_TARGET": target},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def only(client: Client, urn: str) -> dict[str, object]:
    """Returns the metrics of an asset that has one moment."""
    moments: list[AssetMoment] = list(client.assets.history(urn))
    assert len(moments) == 1, urn
    return {name: metric.value for name, metric in moments[0].metrics.items()}


def test_tables_of_postgresql_are_profiled_and_read_back(pg_cluster: Postgres, server: testing.RunningServer) -> None:
    url = pg_cluster.create_database(migrated=False)
    for statement in STATEMENTS:
        pg_cluster.execute(statement, url)
    options = ("--freshness-column", "updated_at", "--database-name", "shop", "--run-id", "r1")
    done = run(url, *options, target=server.target)
    assert done.returncode == 0, done.stderr
    assert "public.orders: 4 rows" in done.stderr
    assert "no distinct count of note" in done.stderr
    assert done.stdout == "10 assets have new metrics; run id r1\n"

    client = server.client()
    table = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)"
    figures = only(client, table)
    assert (figures["rowCount"], figures["columnCount"]) == (4, 6)
    seconds = figures["freshnessSeconds"]
    assert isinstance(seconds, float)
    assert 3_600 <= seconds < 3_660
    assert client.assets.get(table).platform == "postgres"

    def column(name: str) -> dict[str, object]:
        return only(client, f"urn:li:schemaField:({table},{name})")

    assert column("id") == {"nullFraction": 0.0, "distinctCount": 4}
    assert column("customer") == {"nullFraction": 0.25, "distinctCount": 2}
    assert column("amount") == {"nullFraction": 0.25, "distinctCount": 2}
    assert column("note") == {"nullFraction": 0.5}
    assert column("odd%2C%28name%29") == {"nullFraction": 1.0, "distinctCount": 0}
    empty = "urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.empty,PROD)"
    assert only(client, empty) == {"rowCount": 0, "columnCount": 2}
    assert only(client, f"urn:li:schemaField:({empty},id)") == {"distinctCount": 0}
    assert client.assets.delete_metrics("assets/-", run_id="r1").assets == 10
    pg_cluster.drop_database(url)


def test_one_table_of_sqlite_is_profiled_under_a_run_of_its_own(tmp_path: Path, server: testing.RunningServer) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, at DATETIME)")
        database.executemany("INSERT INTO orders VALUES (?, ?)", [(1, "2026-11-21 10:00:00"), (2, None)])
        database.execute("CREATE TABLE other (id INTEGER)")
    database.close()
    url = f"sqlite:///{tmp_path}/shop.db"
    done = run(url, "--table", "orders", "--freshness-column", "at", "--environment", "DEV", target=server.target)
    assert done.returncode == 0, done.stderr
    client = server.client()
    table = "urn:li:dataset:(urn:li:dataPlatform:sqlite,shop.orders,DEV)"
    figures = only(client, table)
    assert (figures["rowCount"], figures["lastRowTime"]) == (2, "2026-11-21T10:00:00+00:00")
    assert only(client, f"urn:li:schemaField:({table},at)") == {"nullFraction": 0.5, "distinctCount": 1}
    assert len(list(client.assets.list())) == 3
    run_id = done.stdout.rpartition(" ")[2].strip()
    assert client.assets.delete_metrics("assets/-", run_id=run_id, validate_only=True).assets == 3


def test_what_goes_wrong_is_told_in_one_line(tmp_path: Path, server: testing.RunningServer) -> None:
    path = tmp_path / "shop.db"
    sqlite3.connect(path).close()
    url = f"sqlite:///{path}"
    path.touch()
    cases = {
        ("sqlite:////nowhere/shop.db",): (1, "there is no file /nowhere/shop.db"),
        ("mysql://h/shop",): (2, "is not one of postgresql, sqlite"),
        ("nonsense",): (2, "Could not parse"),
        ("postgresql://u:secret@127.0.0.1:1/shop",): (1, "cannot read postgresql+asyncpg://u:***@127.0.0.1:1/shop"),
        (url, "--table", "orders"): (1, "no such table: orders; there are none"),
    }
    for arguments, (code, message) in cases.items():
        done = run(*arguments, target=server.target)
        assert (done.returncode, message in done.stderr) == (code, True), (arguments, done.stderr)
        assert "Traceback" not in done.stderr


def test_its_help_shows_examples() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "python profile_table.py sqlite:///shop.db" in done.stdout
