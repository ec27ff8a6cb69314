"""Answers that are kept in files: `tests/gateway/golden/{api}/{case}.json`.

With STREAMGAUGE_WRITE_GOLDEN=1 the tests write what they get instead of comparing it; look at the difference before
you commit it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
WRITE_VARIABLE = "STREAMGAUGE_WRITE_GOLDEN"

_MARKED = re.compile(r'"\\u0000([^"\\]*)\\u0000"')
"""A number among the strings, so that it is not read and printed anew."""


def check_golden(api: str, case: str, body: bytes) -> None:
    """Compares a JSON body with the file of a case: keys in their order, numbers as they are spelled."""
    told = json.dumps(json.loads(body, parse_float=_marked, parse_constant=_refuse), indent=2, ensure_ascii=False)
    told = _MARKED.sub(r"\1", told) + "\n"
    path = GOLDEN / api / f"{case}.json"
    if os.environ.get(WRITE_VARIABLE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told, encoding="utf-8")
    assert path.exists(), f"{path} is missing; {WRITE_VARIABLE}=1 writes it"
    assert told == path.read_text(encoding="utf-8")


def golden_cases(api: str) -> set[str]:
    """Returns the cases that there are files of."""
    return {path.stem for path in (GOLDEN / api).glob("*.json")}


def _marked(spelling: str) -> str:
    return f"\0{spelling}\0"


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
