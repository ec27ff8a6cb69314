"""`streamgauge-server`: its commands, their exit statuses and what they print."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import grpc
import pytest
from click.testing import CliRunner, Result
from streamgauge.v1 import server_service_pb2, server_service_pb2_grpc
from streamgauge_server import logs
from streamgauge_server.cli import cli
from streamgauge_server.configuration import reference
from streamgauge_server.model.clock import SystemClock
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import MetricKind, SubjectKind, ValueType
from streamgauge_server.settings import Settings
from streamgauge_server.storage.blocks import SubjectWrite
from streamgauge_server.storage.store import Store
from streamgauge_server.storage.subjects import SubjectKey
from streamgauge_server.timeseries.block import encode_row

from tests.rpc.processes import SECONDS, ServerProcess

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Runs a command in a directory of its own, without touching the logging of the test's process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "configure", lambda *arguments, **options: None)
    for name in [name for name in os.environ if name.startswith("STREAMGAUGE_")]:
        monkeypatch.delenv(name)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    return invoke


def secret_of(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_every_command_helps() -> None:
    def walk(command: click.Command, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        below = command.commands.items() if isinstance(command, click.Group) else ()
        return [path, *(found for name, sub in below for found in walk(sub, (*path, name)))]

    for path in walk(cli, ()):
        result = CliRunner().invoke(cli, [*path, "--help"])
        assert result.exit_code == 0
        assert "Usage:" in result.output


def test_the_command_line_is_free_of_grpc() -> None:
    """The supervisor of several workers runs it."""
    code = "import sys, streamgauge_server.cli; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_tells_its_version() -> None:
    assert re.fullmatch(r"streamgauge-server, version \d+\.\d+\.\d+\n", CliRunner().invoke(cli, ["--version"]).output)


def test_the_flags_of_serve_are_settings() -> None:
    names = {entry.name for entry in reference()}
    own = {"assignments", "config_file"}
    flags = {parameter.name.replace("__", ".") for parameter in cli.commands["serve"].params if parameter.name}
    assert flags - own <= names


def test_a_token_is_created_listed_and_revoked(invoke: Invoke) -> None:
    created = invoke(
        "token", "create", "--scope", "admin", "--scope", "read:jobs", "--name", "ci", "--expires-in", "90d"
    )
    secret = secret_of(created)
    assert re.fullmatch(r"sg_[a-z2-7]{16}_[A-Za-z0-9_-]{43}", secret)
    token_id = secret.split("_")[1]
    listed = invoke("token", "list").stdout
    assert listed.startswith(f"{token_id}  expires ")
    assert "admin,read:jobs  ci" in listed
    assert secret not in listed
    assert invoke("token", "revoke", f"tokens/{token_id}").exit_code == 0
    assert f"{token_id}  revoked " in invoke("token", "list").stdout
    missing = invoke("token", "revoke", token_id, "--tenant", "other")
    assert missing.exit_code == 3
    assert f"no tokens/{token_id}" in missing.stderr


def test_tokens_have_the_tenant_that_is_named(invoke: Invoke) -> None:
    secret_of(invoke("token", "create", "--scope", "admin", "--tenant", "acme"))
    assert invoke("token", "list").stdout == ""
    assert "never expires  admin" in invoke("token", "list", "--tenant", "acme").stdout


@pytest.mark.parametrize("age", ["90", "d", "0d", "-1d", "1y", "1.5h", "99999999999d"])
def test_a_malformed_age_is_a_usage_error(invoke: Invoke, age: str) -> None:
    result = invoke("token", "create", "--scope", "admin", "--expires-in", age)
    assert result.exit_code == 2
    assert "90d" in result.stderr


def test_an_unknown_scope_a_missing_scope_and_a_wrong_tenant_are_refused(invoke: Invoke) -> None:
    assert invoke("token", "create", "--scope", "world").exit_code == 2
    assert invoke("token", "create").exit_code == 2
    result = invoke("token", "create", "--scope", "admin", "--tenant", "a b")
    assert result.exit_code == 3
    assert "tenant" in result.stderr


def test_the_reference_names_every_setting(invoke: Invoke) -> None:
    output = invoke("config", "--reference").stdout
    for entry in reference():
        assert f"{entry.name}\n    {entry.variable}  (" in output


def test_the_settings_in_force_are_shown_with_secrets_masked(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("[limits]\nmax_windows = 7\n")
    arguments = ("config", "--config", "s.toml", "--database", "postgresql://me:hunter2@h/db", "--set", "workers=3")
    output = invoke(*arguments).stdout
    assert "limits.max_windows = 7\n" in output
    assert "workers = 3\n" in output
    assert "database = postgresql://me:***@h/db\n" in output
    assert "hunter2" not in output
    assert len(output.splitlines()) == len(reference())


def test_wrong_settings_are_named_and_exit_with_2(invoke: Invoke) -> None:
    result = invoke("config", "--set", "limits.max_window=1")
    assert result.exit_code == 2
    assert "limits.max_window; did you mean limits.max_windows?" in result.stderr
    assert invoke("config", "--set", "nonsense").exit_code == 2
    assert invoke("config", "--show", "--reference").exit_code == 2
    assert invoke("serve", "--workers", "0").exit_code == 2


def test_migrating_is_told_and_again_changes_nothing(invoke: Invoke) -> None:
    assert "it was not there" in invoke("migrate").stdout
    again = invoke("migrate")
    assert again.exit_code == 0
    assert "was" not in again.stdout
    for url in ("mysql://x/y", "nonsense", "sqlite://:memory:"):
        refused = invoke("migrate", "--database", url)
        assert refused.exit_code == 3
        assert "database: " in refused.stderr


def test_an_exposed_server_is_refused(invoke: Invoke) -> None:
    result = invoke("serve", "--listen", "0.0.0.0:0")
    assert result.exit_code == 3
    assert "--insecure" in result.stderr


def fill(url: str) -> None:
    """Writes three blocks of two sources."""

    async def work() -> None:
        clock = SystemClock()
        store = await Store.open(url, clock=clock)
        keys = [SubjectKey(SubjectName(SubjectKind.SOURCE, name), part) for name, part in (("a", ""), ("b", "task=0"))]
        ids = await store.subjects.register("default", keys, limits=Limits())
        metrics = await store.metrics.ensure(
            "default", SubjectKind.SOURCE, [("x", MetricKind.GAUGE, ValueType.INT64)], limits=Limits()
        )
        values: dict[int, Any] = {metrics["x"].id: 1}
        for key, time in ((keys[0], 1_000_000), (keys[0], 2_000_000), (keys[1], 3_000_000)):
            await store.blocks.append([SubjectWrite(ids[key], [encode_row(time, -1, values)], row=(time, -1, values))])
        await store.close()

    asyncio.run(work())


def damage(statement: str) -> None:
    with sqlite3.connect("streamgauge.db") as database:
        database.execute(statement)
    database.close()


def test_a_sound_store_passes_the_check(invoke: Invoke) -> None:
    assert invoke("migrate").exit_code == 0
    fill(Settings().database)
    result = invoke("check")
    assert result.exit_code == 0, result.output
    assert "everything can be read" in result.stdout
    assert "3 blocks, 3 latest rows" in result.output


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        (
            "UPDATE blocks SET data = substr(data, 1, 9) WHERE seq = 3",
            "block sources/b of tenant default part 'task=0' day 1970-01-01 seq 3: samples: checksum",
        ),
        (
            "UPDATE blocks SET data = x'00' WHERE seq = 1",
            "block sources/a of tenant default day 1970-01-01 seq 1: samples",
        ),
        ("UPDATE blocks SET last_time = last_time + 1 WHERE seq = 2", "rows, first and last time"),
        (
            "UPDATE blocks SET day_summary = x'ff' WHERE seq = 2",
            "block sources/a of tenant default day 1970-01-01 seq 2: summary of the day",
        ),
        ("UPDATE latest SET samples = x'ff' WHERE subject_id = 1", "latest sources/a of tenant default"),
    ],
)
def test_the_check_finds_what_is_damaged(invoke: Invoke, statement: str, told: str) -> None:
    assert invoke("migrate").exit_code == 0
    fill(Settings().database)
    damage(statement)
    result = invoke("check")
    assert result.exit_code == 1
    assert told in result.output
    assert "1 damaged" in result.output


def test_the_check_repairs_what_loses_nothing(invoke: Invoke) -> None:
    assert invoke("migrate").exit_code == 0
    fill(Settings().database)
    damage("UPDATE blocks SET data = x'00' WHERE seq = 1")
    damage("UPDATE blocks SET last_time = last_time + 1, day_summary = x'ff' WHERE seq = 2")
    damage("UPDATE latest SET samples = x'ff' WHERE subject_id = 2")
    found = invoke("check")
    assert (found.exit_code, "2 can be repaired without a loss" in found.stdout) == (1, True)
    repaired = invoke("check", "--repair", "--deep")
    assert repaired.exit_code == 1
    assert "3 damaged, 2 of them repaired, 1 left" in repaired.stdout
    left = invoke("check", "--deep")
    assert left.exit_code == 1
    assert "1 damaged, 0 of them repaired, 1 left" in left.stdout
    assert "seq 1: samples" in left.stdout


def test_a_store_is_copied(invoke: Invoke) -> None:
    assert invoke("migrate").exit_code == 0
    fill(Settings().database)
    done = invoke("copy", "--from", Settings().database, "--to", "sqlite:///copy.db")
    assert done.exit_code == 0, done.output
    assert "copied and verified" in done.stdout
    assert "3 blocks" in invoke("check", "--deep", "--database", "sqlite:///copy.db").stdout
    again = invoke("copy", "--from", Settings().database, "--to", "sqlite:///copy.db")
    assert again.exit_code == 3
    assert "not empty" in again.stderr


def test_a_copy_tells_of_damage(invoke: Invoke) -> None:
    assert invoke("migrate").exit_code == 0
    fill(Settings().database)
    damage("UPDATE blocks SET data = x'00' WHERE seq = 1")
    done = invoke("copy", "--from", Settings().database, "--to", "sqlite:///copy.db")
    assert done.exit_code == 1
    assert "damaged and copied as it is: blocks (1,), data" in done.stdout


def test_a_copy_that_is_not_finished_is_not_served(invoke: Invoke) -> None:
    assert invoke("migrate").exit_code == 0
    damage("UPDATE alembic_version SET version_num = 'copying'")
    for command in ("migrate", "check", "serve"):
        refused = invoke(command)
        assert (refused.exit_code, "copy that is not finished" in refused.stderr) == (3, True), command


def test_the_check_of_a_missing_or_stale_store_says_so(invoke: Invoke) -> None:
    missing = invoke("check")
    assert missing.exit_code == 3
    assert not Path("streamgauge.db").exists()
    sqlite3.connect("streamgauge.db").close()
    stale = invoke("check")
    assert stale.exit_code == 3
    assert "migrate" in stale.stderr


def test_the_printed_secret_opens_the_server_and_closes_it_for_others(tmp_path: Path) -> None:
    from tests.rpc.processes import run

    secret = run("token", "create", "--scope", "read:jobs", cwd=tmp_path).stdout.strip()
    request = server_service_pb2.GetServerInfoRequest()
    with ServerProcess("--listen", "127.0.0.1:0", cwd=tmp_path) as server:
        assert server.wait_for("serving")["authentication"] is True
        with grpc.insecure_channel(server.address()) as channel:
            stub = server_service_pb2_grpc.ServerServiceStub(channel)
            answer = stub.GetServerInfo(request, timeout=SECONDS, metadata=(("authorization", f"Bearer {secret}"),))
            assert list(answer.scopes) == ["read:jobs"]
            with pytest.raises(grpc.RpcError) as refused:
                stub.GetServerInfo(request, timeout=SECONDS)
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        server.terminate()
        assert server.wait() == 0
        assert secret not in str(server.lines)
