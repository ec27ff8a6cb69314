"""The commands about what is stored: check, copy, compact, retention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from streamgauge_server.cli_options import (
    EXIT_DAMAGED,
    load_settings,
    run,
    settings_options,
    tenant_option,
    with_store,
)
from streamgauge_server.model.clock import MICROS_PER_DAY, SystemClock, isoformat
from streamgauge_server.startup import StartError

if TYPE_CHECKING:
    from streamgauge_server.services.compaction import Compacted
    from streamgauge_server.services.retention import Applied
    from streamgauge_server.storage.copying import CopyReport
    from streamgauge_server.storage.integrity import Finding
    from streamgauge_server.storage.store import Store


@click.command()
@settings_options
@click.option(
    "--deep", is_flag=True, help="Compare summaries with samples, latest values with blocks, figures with records."
)
@click.option("--repair", is_flag=True, help="Make whole what can be made again without a loss.")
def check(config_file: Path | None, assignments: Sequence[str], deep: bool, repair: bool, **flags: Any) -> None:
    """Check that the store answers, has the right schema, and that everything in it can be read.

    \b
    Examples:
      streamgauge-server check
      streamgauge-server check --deep --repair --database postgresql://sg:secret@db/streamgauge

    Names every damaged block with its subject, day and number, and how many samples of which metrics are
    lost, as far as its summaries tell. --repair makes summaries again out of samples, latest values out of
    blocks and figures out of records; what cannot be repaired stays as it is. Exits with 1 when something
    is left damaged, with 3 when the store cannot be checked. Servers may run meanwhile.
    """  # noqa: D301, click looks for the character

    async def work(store: Store) -> Counter[str]:
        info = await store.info()
        click.echo(f"{info.engine} {info.version}, schema {info.schema_revision}")
        counts = await store.integrity.counts()
        label = f"{counts['blocks']} blocks, {counts['latest']} latest rows, {counts['figures']} figures"
        found: Counter[str] = Counter()
        with click.progressbar(length=sum(counts.values()), label=label) as progress:
            async for examined in store.integrity.scan(deep=deep, repair=repair):
                progress.update(examined.rows)
                for finding in examined.findings:
                    found["repaired" if finding.repaired else "repairable" if finding.repairable else "damaged"] += 1
                    click.echo(_told(finding))
        return found

    settings = load_settings(config_file, assignments, **flags).model_copy(update={"migrate": "never"})
    found = with_store(settings, work)
    if not found:
        click.echo("everything can be read")
        return
    left = found["damaged"] + found["repairable"]
    click.echo(f"{found.total()} damaged, {found['repaired']} of them repaired, {left} left")
    if found["repairable"]:
        click.echo(f"{found['repairable']} can be repaired without a loss: check --repair")
    if left:
        raise SystemExit(EXIT_DAMAGED)


def _told(finding: Finding) -> str:
    """Returns the line about something that is damaged."""
    place = f" {finding.subject} of tenant {finding.tenant}" if finding.subject else ""
    if finding.part:
        place += f" part {finding.part!r}"
    if finding.day is not None:
        place += f" day {isoformat(finding.day * MICROS_PER_DAY)[:10]} seq {finding.seq}"
    line = f"{finding.what}{place}: {finding.problem}"
    if finding.lost is not None:
        lost = ", ".join(f"{count} of {metric}" for metric, count in finding.lost.items())
        line += f"; lost samples: {lost}; whole hours are answered by the summaries"
    return line + ("; repaired" if finding.repaired else "; can be repaired" if finding.repairable else "")


@click.command()
@click.option("--from", "source", metavar="URL", required=True, help="The store that is read.")
@click.option("--to", "target", metavar="URL", required=True, help="An empty database, or a copy to go on with.")
def copy(source: str, target: str) -> None:
    """Copy a whole store into another database, of the same engine or another one.

    \b
    Examples:
      streamgauge-server copy --from sqlite:///streamgauge.db --to postgresql://sg:secret@db/streamgauge
      streamgauge-server copy --from postgresql://db/streamgauge --to sqlite:///streamgauge.db

    Stop the servers of the source first: what they write after the beginning is not in the copy, and an
    interrupted copy is refused then. Run again it goes on where it was. Ids stay the same; watchers begin
    anew. At the end everything is read back and compared. Exits with 1 when the source was written to
    meanwhile or damaged bytes were copied, with 3 when there is no copy.
    """  # noqa: D301, click looks for the character
    from streamgauge_server.storage.copying import CopyRefused, copy_store

    async def work() -> CopyReport:
        with _CopyBars() as bars:
            try:
                return await copy_store(source, target, bars)
            except (CopyRefused, ValueError) as error:
                raise StartError(str(error)) from error

    began = monotonic()
    report = run(work())
    seconds = monotonic() - began
    rows, size = sum(table.rows for table in report.tables), sum(table.bytes for table in report.tables)
    for table in report.tables:
        if table.rows:
            click.echo(f"{table.table:<22}{table.rows:>14,} rows{table.bytes:>18,} bytes")
    click.echo(
        f"{rows:,} rows, {size / 1e6:,.1f} MB, copied and verified in {seconds:,.1f} s"
        f" ({rows / seconds:,.0f} rows/s, {size / 1e6 / seconds:,.1f} MB/s)" + (", resumed" if report.resumed else "")
    )
    for damaged in report.damaged:
        click.echo(f"damaged and copied as it is: {damaged.table} {damaged.key}, {damaged.column}")
    if report.damaged_count:
        click.echo(f"{report.damaged_count} damaged; `streamgauge-server check` tells what is lost", err=True)
    if report.written_since:
        click.echo("the source has been written to since the copy began: that is not in the copy", err=True)
    if report.damaged_count or report.written_since:
        raise SystemExit(EXIT_DAMAGED)


class _CopyBars:
    """A bar for each step of a copy with each table that has rows."""

    def __init__(self) -> None:
        self._bars = ExitStack()
        self._bar: Any = None

    def __enter__(self) -> _CopyBars:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()

    def begin(self, step: str, table: str, rows: int) -> None:
        """Shows a new bar in the place of the one before."""
        self._bars.close()
        self._bar = self._bars.enter_context(click.progressbar(length=rows, label=f"{step} {table}")) if rows else None

    def advance(self, rows: int) -> None:
        """Moves the bar on."""
        if self._bar is not None:
            self._bar.update(rows)


@click.command()
@settings_options
@click.option("--until-done", is_flag=True, help="Go on until nothing is due, also what becomes due meanwhile.")
@click.option("--watch-horizon", "watch_horizon_seconds", type=float, metavar="SECONDS", help="0 folds everything.")
def compact(config_file: Path | None, assignments: Sequence[str], until_done: bool, **flags: Any) -> None:
    """Fold small blocks of closed hours and days into large ones, as servers do in the background.

    Takes one core. Servers may run meanwhile. What has been committed for less than the watch horizon is
    left to later; how long that is is known as far as a server has been running.
    """

    async def work(store: Store) -> Compacted:
        compactor = Compactor(store, SystemClock(), horizon=settings.watch_horizon)
        total = Compacted()
        looked_at = await compactor.discover()
        due = (await store.compactions.queue()).days
        with click.progressbar(length=due, label=f"{looked_at} new blocks, {due} days due") as progress:
            while until_done or total.days < due:
                done = await compactor.fold()
                if not done.days:
                    break
                total.add(done)
                progress.update(done.days)
        return total

    from streamgauge_server.services.compaction import Compacted, Compactor

    settings = load_settings(config_file, assignments, **flags).model_copy(update={"migrate": "never"})
    done = with_store(settings, work)
    click.echo(
        f"{done.blocks} blocks became {done.folded}, {done.bytes_before} bytes of samples {done.bytes_after},"
        f" in {done.seconds:.1f} s"
    )


@click.command()
@settings_options
@tenant_option
@click.option("--dry-run", is_flag=True, help="Tell what would go and change nothing.")
@click.option(
    "--watch-horizon", "watch_horizon_seconds", type=float, metavar="SECONDS", help="0 takes what was written just now."
)
def retention(config_file: Path | None, assignments: Sequence[str], tenant: str, dry_run: bool, **flags: Any) -> None:
    """Let samples and summaries of a tenant go that are past their limits, as servers do in the background.

    \b
    Examples:
      streamgauge-server retention --dry-run
      streamgauge-server retention --set retention.gauge.sample_days=30 --set retention.gauge.summary_days=730

    Takes one core. Servers may run meanwhile. What has been committed for less than the watch horizon is
    left to later. It can be stopped at any time and goes on where it was.
    """  # noqa: D301, click looks for the character

    async def work(store: Store) -> Applied:
        service = RetentionService(store, SystemClock(), settings.retention.rules, horizon=horizon)
        with click.progressbar(length=1, label="subjects and parts") as bar:

            def progress(done: int, total: int) -> None:
                bar.length = max(total, 1)
                bar.update(done - bar.pos)

            return await service.apply(tenant, validate_only=dry_run, progress=progress)

    from streamgauge_server.services.retention import RetentionService

    settings = load_settings(config_file, assignments, **flags).model_copy(update={"migrate": "never"})
    horizon = settings.watch_horizon
    applied = with_store(settings, work)
    click.echo(f"{'what would go':<20}" if dry_run else f"{'what went':<20}", nl=False)
    click.echo(f"{'samples':>14}{'summary hours':>15}{'subjects':>10}{'days':>10}{'bytes freed':>14}")
    for kind, counts in sorted(applied.counts.items()):
        click.echo(
            f"{kind.name.lower():<20}{counts.samples:>14,}{counts.hours:>15,}{counts.subjects:>10,}{counts.days:>10,}"
            f"{counts.bytes:>14,}"
        )
    if applied.postponed:
        click.echo(f"{applied.postponed} days were written to within the watch horizon and are left to later")
    if applied.damaged:
        click.echo(f"{applied.damaged} days hold damaged blocks and stay as they are; see `streamgauge-server check`")
        raise SystemExit(EXIT_DAMAGED)
