"""Settings: where they come from, what is refused, and that the reference is complete."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from streamgauge_server.configuration import ConfigurationError, load, mask_url, reference, shown
from streamgauge_server.model.limits import Limits
from streamgauge_server.settings import Settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STREAMGAUGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "server.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= leaves(kind, f"{prefix}{name}.")
        elif kind is Limits:
            found |= {f"{prefix}{name}.{limit.name}" for limit in fields(Limits)}
        else:
            found.add(f"{prefix}{name}")
    return found


def problem_of(**arguments: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(**arguments)
    return str(caught.value)


def test_the_defaults_are_safe() -> None:
    settings = load()
    assert settings == Settings()
    assert (settings.listen, settings.auth, settings.insecure) == ("127.0.0.1:50051", "auto", False)
    assert settings.database == "sqlite:///streamgauge.db"
    assert settings.limits == Limits()


def test_flags_win_over_the_environment_over_the_file_over_the_defaults(
    toml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toml(
        'listen = "127.0.0.1:1"\nworkers = 2\nmetrics_port = 3\n[limits]\nmax_windows = 1\nmax_text_bytes = 1\n'
        "max_call_seconds = 1\n"
    )
    monkeypatch.setenv("STREAMGAUGE_WORKERS", "4")
    monkeypatch.setenv("STREAMGAUGE_METRICS_PORT", "5")
    monkeypatch.setenv("STREAMGAUGE_LIMITS__MAX_TEXT_BYTES", "2")
    monkeypatch.setenv("STREAMGAUGE_LIMITS__MAX_CALL_SECONDS", "2")
    settings = load({"metrics_port": 6, "limits.max_call_seconds": "3"}, config=config)
    assert (settings.listen, settings.workers, settings.metrics_port) == ("127.0.0.1:1", 4, 6)
    limits = settings.limits
    assert (limits.max_windows, limits.max_text_bytes, limits.max_call_seconds) == (1, 2, 3)
    assert limits.max_parts_per_subject == Limits().max_parts_per_subject


def test_the_environment_can_name_the_file(toml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE_CONFIG", str(toml("workers = 3")))
    assert load().workers == 3


@pytest.mark.parametrize("name", sorted(leaves(Settings)))
def test_every_setting_can_be_set_by_its_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together: dict[str, dict[str, Any]] = {
        "tls": {"tls.cert": "c", "tls.key": "k", "tls.client_ca": "a"},
        "openid": {"openid.issuer": "i", "openid.audience": "a", "openid.jwks_url": "https://k"},
        "http.upstream": {"http.upstream.cert": "c", "http.upstream.key": "k"},
    }
    for kind in ("gauge", "counter", "state", "text"):  # summaries are limited where samples are
        if name == f"retention.{kind}.summary_days":
            together[f"retention.{kind}"] = {f"retention.{kind}.sample_days": 5}
    entry = next(entry for entry in reference() if entry.name == name)
    values = {**together.get(name.rpartition(".")[0], {})}
    values.setdefault(name, _another(entry.type, entry.default, name))
    for other, value in values.items():
        monkeypatch.setenv("STREAMGAUGE_" + other.upper().replace(".", "__"), str(value))
    assert str(shown(load())[name]) == str(values[name])


def _another(kind: str, default: Any, name: str) -> Any:
    if " | " in kind:
        return next(word for word in kind.split(" | ") if word != default)
    by_name = {"listen": "127.0.0.1:7", "database": "sqlite:///other.db", "clusters": "a=http://f:81; b=https://g/x"}
    by_end = {"prefix": "/x", "share": 0.5}
    by_kind = {"integer": 7, "number": 7.5, "boolean": not default, "text": "x", "path": "p", "list of texts": "a, b"}
    return by_name.get(name) or by_end.get(name.rpartition(".")[2]) or by_kind[kind]


def test_the_reference_lists_every_setting_with_a_meaning() -> None:
    entries = reference()
    assert {entry.name for entry in entries} == leaves(Settings)
    assert len(entries) == len(leaves(Settings))
    values = shown(Settings())
    for entry in entries:
        assert entry.description.endswith((".", "name.", "keys."))
        assert entry.variable == "STREAMGAUGE_" + entry.name.upper().replace(".", "__")
        if entry.name != "database":
            assert entry.default == values[entry.name]


def test_unknown_names_are_refused_with_what_was_meant(toml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = problem_of(config=toml('listn = "x"\n[limits]\nmax_window = 1\n'))
    assert "listn; did you mean listen?" in told
    assert "max_window; did you mean max_windows?" in told
    assert "tls.certificate" in problem_of(config=toml('[tls]\ncertificate = "x"\n'))
    assert "worker; did you mean workers?" in problem_of(flags={"worker": 1})
    monkeypatch.setenv("STREAMGAUGE_LISTENN", "x")
    monkeypatch.setenv("STREAMGAUGE_LIMITS_MAX_WINDOWS", "5")
    told = problem_of()
    assert "STREAMGAUGE_LISTENN; did you mean STREAMGAUGE_LISTEN?" in told
    assert "STREAMGAUGE_LIMITS_MAX_WINDOWS; did you mean STREAMGAUGE_LIMITS__MAX_WINDOWS?" in told


@pytest.mark.parametrize(
    "name",
    [
        "STREAMGAUGE_TOKEN",
        "STREAMGAUGE_TARGET",
        "STREAMGAUGE_TEST_PG_DSN",
        "STREAMGAUGE_SERVICE_HOST",
        "STREAMGAUGE_SERVICE_PORT_GRPC",
        "STREAMGAUGE_PORT",
        "STREAMGAUGE_PORT_50051_TCP_ADDR",
    ],
)
def test_variables_of_the_client_and_of_kubernetes_are_no_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:50051")
    assert load() == Settings()


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"workers": "many"}, "workers: "),
        ({"workers": 0}, "workers: "),
        ({"auth": "maybe"}, "'auto', 'required' or 'off'"),
        ({"listen": "50051"}, "listen must be host:port"),
        ({"listen": ":50051"}, "listen must be host:port"),
        ({"listen": "127.0.0.1:70000"}, "listen must be host:port"),
        ({"listen": "unix:/tmp/s", "workers": 2}, "unix socket"),
        ({"database": "sqlite://:memory:", "workers": 2}, "in memory"),
        ({"metrics_port": 65_535, "workers": 2}, "metrics_port"),
        ({"tls.cert": "c"}, "cert and key go together"),
        ({"tls.client_ca": "c"}, "client_ca needs"),
        ({"openid.issuer": "i"}, "go together"),
        ({"openid.issuer": "i", "openid.audience": "a", "openid.jwks_url": "file:///x"}, "https://"),
        ({"limits.max_windows": 0}, "max_windows must be at least 1"),
        ({"limits.max_windows": "x"}, "limits.max_windows: "),
    ],
)
def test_wrong_values_are_refused_by_name(flags: dict[str, Any], told: str) -> None:
    assert told in problem_of(flags=flags)


def test_a_wrong_value_names_where_it_comes_from(toml: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = toml('workers = "x"')
    assert str(config) in problem_of(config=config)
    monkeypatch.setenv("STREAMGAUGE_WORKERS", "x")
    assert "STREAMGAUGE_WORKERS" in problem_of()


def test_a_file_that_is_missing_or_no_toml_is_refused(toml: Any, tmp_path: Path) -> None:
    assert "cannot read" in problem_of(config=tmp_path / "none.toml")
    assert "server.toml" in problem_of(config=toml("x = ["))


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("sqlite+aiosqlite:///streamgauge.db", "sqlite+aiosqlite:///streamgauge.db"),
        ("sqlite://:memory:", "sqlite://:memory:"),
        ("postgresql://h/db", "postgresql://h/db"),
        ("postgresql://me@h/db", "postgresql://me@h/db"),
        ("postgresql://me:hunter2@h:5432/db", "postgresql://me:***@h:5432/db"),
        ("postgresql://me:hun@ter2:@h/db", "postgresql://me:***@h/db"),
        (
            "postgresql://h/db?user=me&password=hunter2&sslmode=require",
            "postgresql://h/db?user=me&password=***&sslmode=require",
        ),
        ("postgresql://h/db?sslpassword=hunter2", "postgresql://h/db?sslpassword=***"),
    ],
)
def test_the_password_of_a_database_is_never_shown(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    assert "hunter2" not in str(shown(Settings(database=url)))


@pytest.mark.parametrize(
    ("listen", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/s", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.168.0.1:1", False),
        ("gauge.example:1", False),
    ],
)
def test_what_this_machine_alone_reaches_is_known(listen: str, loopback: bool) -> None:
    assert Settings(listen=listen).loopback_only is loopback
