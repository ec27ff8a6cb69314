"""The distribution: what the wheel holds, and that the SDK in it works on its own."""

from __future__ import annotations

import email
import email.message
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"streamgauge": ROOT / "sdk/python/streamgauge", "streamgauge_server": ROOT / "server/streamgauge_server"}

SERVER_ONLY = (
    "alembic",
    "asyncpg",
    "click",
    "grpc_channelz",
    "grpc_health",
    "grpc_reflection",
    "grpc_status",
    "numpy",
    "pandas",
    "pcodec",
    "plotext",
    "prometheus_client",
    "pyarrow",
    "pydantic_settings",
    "rich",
    "sqlalchemy",
    "structlog",
    "zstandard",
)
"""What a program that only uses the SDK must not need."""

CONSUMER = """\
from streamgauge import Client, Observation, SourceNotFoundError


def grown(client: Client, source: str) -> dict[str, int | float]:
    client.metrics.write([Observation(f"sources/{source}", {"byteTotal": 1024})]).raise_for_rejected()
    try:
        summary = client.sources.timesummary(source, metrics=["byteTotal"])
    except SourceNotFoundError as error:
        reveal_type(error.request_id)
        return {}
    found = {name: metric.value for name, metric in summary.values.items()}
    reveal_type(summary.end)
    return {name: value for name, value in found.items() if isinstance(value, (int, float))}
"""
"""A program of a user who checks types as strictly as we do."""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # No variable may point the child at this checkout.
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MYPY", "STREAMGAUGE"))}
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the Python of an environment with the wheel and its plain dependencies, no extras."""
    directory = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(directory, with_pip=True)
    python = directory / "bin/python"
    done = run(python, "-m", "pip", "install", "--quiet", wheel, cwd=directory)
    assert done.returncode == 0, done.stderr
    return python


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata_of(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    wanted = {
        f"{package}/{path.relative_to(directory)}"
        for package, directory in PACKAGES.items()
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {n for n in names_in(wheel) if n.split("/")[0] in PACKAGES} == wanted
    assert {"streamgauge/py.typed", "streamgauge_server/py.typed"} <= wanted


def test_the_wheel_says_what_it_needs_and_under_which_licence(wheel: Path) -> None:
    metadata = metadata_of(wheel)
    needs = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    names = {re.split("[<>=]", r)[0] for r in needs}
    assert names == {"grpcio", "googleapis-common-protos", "protobuf"}
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == {"cli", "pandas", "parquet", "server"}


def test_the_sdk_works_without_what_the_server_needs(clean: Path, tmp_path: Path) -> None:
    program = f"""
import importlib.util, sys
import streamgauge
import streamgauge.files
assert [m for m in {SERVER_ONLY!r} if importlib.util.find_spec(m)] == []
with streamgauge.Client("127.0.0.1:1", timeout=0.5) as client:
    try:
        client.server.info()
    except streamgauge.UnavailableError:
        pass
assert [m for m in sys.modules if m.startswith("streamgauge_server")] == []
print(streamgauge.__version__)
"""
    done = run(clean, "-W", "error", "-c", program, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == metadata_version(clean, tmp_path)


def metadata_version(python: Path, cwd: Path) -> str:
    return run(python, "-c", "import importlib.metadata as m; print(m.version('streamgauge'))", cwd=cwd).stdout.strip()


@pytest.mark.parametrize(("command", "extra"), [("streamgauge", "cli"), ("streamgauge-server", "server")])
def test_a_command_without_its_extra_says_how_to_install_it(
    clean: Path, tmp_path: Path, command: str, extra: str
) -> None:
    done = run(clean.parent / command, "--help", cwd=tmp_path)
    assert done.returncode != 0
    assert f"pip install 'streamgauge[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_typed_program_against_the_wheel_passes_mypy_strict(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(CONSUMER, encoding="utf-8")
    done = run(
        sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", clean, "consumer.py",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.findall(r'Revealed type is "([^"]+)"', done.stdout) == ["str", "datetime.datetime"]
