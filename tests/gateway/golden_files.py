"""Answers that are kept in files: `tests/gateway/golden/{api}/{case}.json`.

With STREAMGAUGE_WRITE_GOLDEN=1 the tests write what they get instead of comparing it; look at the difference before
you commit it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
WRITE_VARIABLE = "STREAMGAUGE_WRITE_GOLDEN"


def check_golden(api: str, case: str, body: bytes) -> None:
    """Compares a JSON body with the file of a case: keys in their order, integers exact."""
    told = json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"
    path = GOLDEN / api / f"{case}.json"
    if os.environ.get(WRITE_VARIABLE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told, encoding="utf-8")
    assert path.exists(), f"{path} is missing; {WRITE_VARIABLE}=1 writes it"
    assert told == path.read_text(encoding="utf-8")


def golden_cases(api: str) -> set[str]:
    """Returns the cases that there are files of."""
    return {path.stem for path in (GOLDEN / api).glob("*.json")}
