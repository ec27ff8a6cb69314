"""Prints pip constraints that hold every dependency of the package at the lowest version that pyproject.toml allows.

Used by `make test-floor`, so that the lower bounds in the package's metadata are bounds that work.
"""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)(?:\[[\w,-]+\])?(?P<bounds>[^;]*)")


def floors() -> list[str]:
    """Returns `name==version` for every dependency and extra; the package's own extras are left out."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    found = []
    for requirement in chain(project["dependencies"], *project["optional-dependencies"].values()):
        match = REQUIREMENT.match(requirement)
        if match is None:
            raise ValueError(f"cannot read the requirement {requirement!r}")
        if match["name"] == project["name"]:
            continue
        floor = re.search(r">=\s*([\w.]+)", match["bounds"])
        if floor is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        found.append(f"{match['name']}=={floor[1]}")
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(floors()))
