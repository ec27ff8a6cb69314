"""Only the clock asks the system for the time: everything else is told, so that tests can tell it."""

from __future__ import annotations

import ast
from pathlib import Path

SERVER = Path(__file__).resolve().parents[2] / "server/streamgauge_server"
CLOCK = SERVER / "model/clock.py"

WALL_CLOCK = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "uuid.uuid1",
}
"""`time.monotonic` and `time.perf_counter` measure durations and are not meant."""


def wall_clock_uses(source: str) -> list[tuple[int, str]]:
    """Returns line and name of every use of the wall clock, also under another name (`from time import time as t`)."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return names.get(node.id, node.id)
        return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""

    used = [(n.lineno, dotted(n)) for n in ast.walk(tree) if isinstance(n, (ast.Name, ast.Attribute))]
    return [(line, name) for line, name in used if ".".join(name.split(".")[-2:]) in WALL_CLOCK]


def test_the_wall_clock_is_read_in_the_clock_alone() -> None:
    found = {
        f"{path.relative_to(SERVER)}:{line} {name}"
        for path in SERVER.rglob("*.py")
        if path != CLOCK
        for line, name in wall_clock_uses(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_the_search_finds_every_way_to_ask() -> None:
    for source in (
        "import time\ntime.time()",
        "import time as t\nt.time_ns()",
        "from time import time\ntime()",
        "from time import time as now\nf(default=now)",
        "import datetime\ndatetime.datetime.now(datetime.UTC)",
        "from datetime import datetime as dt\ndt.utcnow()",
        "from datetime import date\ndate.today()",
    ):
        assert len(wall_clock_uses(source)) == 1, source
    assert wall_clock_uses("import time\ntime.monotonic()\nself.clock.now()\nrow.time") == []
    assert wall_clock_uses(CLOCK.read_text(encoding="utf-8")) != []
