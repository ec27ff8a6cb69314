"""What `pyproject.toml` declares is what the code imports, and the lowest versions it allows can be told."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
SDK = ROOT / "sdk/python/streamgauge"
SERVER = ROOT / "server/streamgauge_server"

DRIVERS = {"asyncpg"}
"""Imported by SQLAlchemy, by the name in the store's URL."""

WITH_SERVER = frozenset({"demo", "testing"})
"""Packages of the SDK that run a server, and so need its extra."""

OF_THE_TESTER = {"pytest"}
"""Imported by `streamgauge.testing.fixtures`, which is of use only where pytest is."""


def name_of(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    return match[0].lower().replace("_", "-")


def declared(*lists: list[str]) -> set[str]:
    """Returns the distributions that requirements name, without the package's own extras."""
    return {name_of(r) for requirements in lists for r in requirements} - {PROJECT["name"]}


def imported(*directories: Path, without: frozenset[str] = frozenset()) -> set[str]:
    """Returns the distributions that the modules under directories import, by any import statement in them."""
    known = packages_distributions()
    found: set[str] = set()
    for path in (path for directory in directories for path in directory.rglob("*.py")):
        if not without.isdisjoint(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found.update(distribution for name in names for distribution in distributions_of(name, known))
    return found - {PROJECT["name"]}


def distributions_of(module: str, known: Mapping[str, Sequence[str]]) -> set[str]:
    """Returns the distribution of a module; the namespace `google` belongs to several."""
    top = module.split(".")[0]
    if top == "google":
        if module.startswith("google.protobuf"):
            return {"protobuf"}
        return {"googleapis-common-protos"} if module.startswith(("google.rpc", "google.api")) else set()
    return {name.lower().replace("_", "-") for name in known.get(top, ())}


def test_the_sdk_imports_what_its_dependencies_and_extras_declare() -> None:
    core = declared(PROJECT["dependencies"])
    extras = declared(*(EXTRAS[extra] for extra in ("cli", "pandas", "parquet")))
    found = imported(SDK, without=WITH_SERVER)
    assert found - core - extras == set()
    assert (core | extras) - found == set()


def test_the_server_imports_what_its_extra_declares() -> None:
    server = declared(EXTRAS["server"], EXTRAS["cli"])
    found = imported(SERVER, *(SDK / package for package in WITH_SERVER))
    assert found - declared(PROJECT["dependencies"]) - server - OF_THE_TESTER == set()
    assert server - found - imported(SDK / "cli") - DRIVERS == set()


def test_every_dependency_has_a_floor_and_the_floors_can_be_printed() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools/floors.py")], capture_output=True, text=True, check=True)
    floors = dict(line.split("==") for line in done.stdout.split())
    assert set(floors) == declared(PROJECT["dependencies"], *EXTRAS.values())
    assert floors["grpcio"] == "1.75.1"
