"""Measures, prints a table, and writes build/bench.json."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

from tests.bench import assets, calls, collecting, compaction, imports, jobs, machine, plots, postgres, ranges, rest
from tests.bench.report import Measurement, table, write_json
from tests.bench.session import ENGINES, FULL, POSTGRESQL, QUICK, SQLITE, Scale, Session

BUILD = Path(__file__).parents[2] / "build"

Measure = Callable[[Session], list[Measurement]]

MEASURES: dict[Measure, tuple[str, ...]] = {
    calls.unary_write: (calls.WRITE,),
    calls.latest_read: (calls.READ,),
    rest.rest_latest: (rest.VS_GRPC, rest.VS_FASTAPI),
    jobs.job_status: (jobs.STATUS,),
    imports.import_vs_rows: (imports.IMPORT,),
    ranges.ranges: tuple(one.name for one in ranges.RANGES),
    ranges.growth: (ranges.GROWTH,),
    compaction.compaction: (compaction.COMPACTION,),
    assets.emit_assets: (assets.EMIT,),
    assets.latest_assets: (assets.LATEST,),
    plots.plot_month: (plots.PLOT,),
    plots.report_runs: (plots.REPORT,),
    collecting.collecting: (collecting.CPU, collecting.POLL),
}
"""Each measure with the names of what it finds."""

ON_BOTH: tuple[Measure, ...] = (imports.import_vs_rows, compaction.compaction, assets.emit_assets)
"""Those that are also measured on PostgreSQL, where there is one: what they are compared with is of the engine."""


def main() -> None:
    """Runs what is asked for; by default all on SQLite, and writing in volume on PostgreSQL too where there is one."""
    arguments = _arguments()
    scale = QUICK if arguments.quick else FULL
    only = arguments.only or [name for names in MEASURES.values() for name in names]
    wanted = [measure for measure, names in MEASURES.items() if not set(names).isdisjoint(only)]
    plan = {arguments.engine or SQLITE: wanted}
    also = [measure for measure in wanted if measure in ON_BOTH]
    if not arguments.engine and also and postgres.available():
        plan[POSTGRESQL] = also
    started = time.monotonic()
    noise = machine.Noise()
    print(machine.describe(), flush=True)
    found = [
        measurement
        for engine, measures in plan.items()
        for measurement in _run(scale, engine, noise, measures, BUILD if arguments.profile else None)
    ]
    print(f"\n{table(found)}\n\nnoise of the machine: {noise}\n{time.monotonic() - started:.0f} s in all")
    write_json(found, BUILD / "bench.json")


def _run(
    scale: Scale, engine: str, noise: machine.Noise, measures: Collection[Measure], profiles: Path | None
) -> list[Measurement]:
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="streamgauge-bench-") as directory,
        Session(scale, engine, noise, Path(directory), profiles) as session,
    ):
        for measure in measures:
            started = time.monotonic()
            for measurement in measure(session):
                print(f"\n{measurement.name}", *measurement.notes, sep="\n  ")
                found.append(measurement)
            print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: under two minutes")
    parser.add_argument(
        "--only",
        action="append",
        choices=[name for names in MEASURES.values() for name in names],
        help="may be repeated",
    )
    parser.add_argument("--engine", choices=ENGINES, help="default: sqlite, and writing in volume on both")
    parser.add_argument("--profile", action="store_true", help="sample the server with py-spy into build/profile-*.txt")
    return parser.parse_args()


if __name__ == "__main__":
    main()
