"""The recorded answers of Flink 2.3 and 1.20."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "recordings"
VERSIONS = ("v2_3", "v1_20")


@dataclass(frozen=True, slots=True)
class Recording:
    """One answer; `target` is path and query."""

    version: str
    name: str
    method: str
    target: str
    status: int
    content_type: str

    @property
    def body(self) -> bytes:
        return (FOLDER / self.version / f"{self.name}.json").read_bytes()

    @property
    def answer(self) -> Any:
        return json.loads(self.body)

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@cache
def recordings(version: str) -> tuple[Recording, ...]:
    """Returns all recordings of a version, in the order in which they were made."""
    index = json.loads((FOLDER / version / "index.json").read_bytes())
    return tuple(
        Recording(version, row["name"], row["method"], row["path"], row["status"], row["content_type"]) for row in index
    )


def recording(name: str, version: str = "v2_3") -> Recording:
    return next(one for one in recordings(version) if one.name == name)
