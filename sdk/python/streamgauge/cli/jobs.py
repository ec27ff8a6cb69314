"""`streamgauge jobs`: what jobs are doing, what went wrong, and how to stop them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice

import click

from streamgauge.cli import answers, job_answers
from streamgauge.cli.connection import UNAVAILABLE, Session, fail, read_lines, server_command
from streamgauge.cli.examples import examples
from streamgauge.cli.inputs import parse_assignment
from streamgauge.cli.output import Format, json_line
from streamgauge.cli.questions import metric_option, to_labels
from streamgauge.cli.times import now, to_length, to_moment
from streamgauge.enums import JobState, Scalar, StopMode
from streamgauge.job_reports import ReportedException
from streamgauge.job_results import ExceptionPage, JobChange, JobException, TaskCounts
from streamgauge.names import job_name

_STATES = [state.value for state in JobState if state is not JobState.UNKNOWN]
_REPORTED = [state for state in _STATES if state != JobState.OTHER]

_label_option = click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", callback=to_labels, help="May be repeated."
)
_max_age_option = click.option(
    "--max-age",
    metavar="LENGTH",
    callback=to_length,
    help="Ask the cluster if what is stored is older.  [default: 15s]",
)


@click.group()
def jobs() -> None:
    """Jobs: what they are doing, what went wrong, and how to stop them.

    A JOB is an id, a resource name (jobs/ID), a Flink job id, or what its runner calls it.
    """


@jobs.command(
    "list",
    epilog=examples(
        "streamgauge jobs list --active",
        "streamgauge jobs list --state failed --state restarting --cluster main --output json",
    ),
)
@click.option("--active", "active_only", is_flag=True, help="Only jobs whose run has not ended.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(_STATES), help="Only in this state. May be repeated."
)
@click.option("--cluster", default="", metavar="NAME", help="Only of this cluster.")
@click.option("--type", "job_type", default="", metavar="ID", help="Only of this job type.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", callback=to_labels, help="Only with this label.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.  [default: all]")
@server_command
def list_(
    session: Session,
    active_only: bool,
    states: Sequence[str],
    cluster: str,
    job_type: str,
    labels: dict[str, str],
    limit: int | None,
) -> None:
    """List jobs, those that started last first, with counts by state and the clusters."""
    with session.client() as client:
        found = client.jobs.list(
            active_only=active_only,
            states=states,
            cluster=cluster,
            job_type=job_type,
            labels=labels,
            page_size=min(limit or 1000, 1000),
        )
        overview = found.overview()
        whole = len(overview.jobs) >= min(limit or overview.total, overview.total)
        listed = list(islice(overview.jobs if whole else found, limit))
    session.show(job_answers.of_jobs(listed, overview))


@jobs.command(epilog=examples("streamgauge jobs show orders"))
@click.argument("job")
@server_command
def show(session: Session, job: str) -> None:
    """Show one job as it is registered, with its newest run as stored."""
    with session.client() as client:
        session.show(job_answers.of_job(client.jobs.get(job)))


@jobs.command(
    epilog=examples(
        "streamgauge jobs status orders",
        "streamgauge jobs status orders --max-age 0s --metrics",
        "streamgauge jobs status jobs/orders -m numRecordsRead -m numRestarts --output json",
    )
)
@click.argument("job")
@_max_age_option
@click.option("--metrics", "with_metrics", is_flag=True, help="With the newest metrics.")
@metric_option("With this metric. May be repeated.")
@server_command
def status(session: Session, job: str, max_age: timedelta | None, with_metrics: bool, metrics: Sequence[str]) -> None:
    """Show what a job is doing: state, tasks, figures of its vertices.

    Of counters VALUE is the total over all restarts and runs. What the cluster has not gathered yet is "-".
    """
    with session.client() as client:
        if with_metrics or metrics:
            answer = client.jobs.status_and_metrics(job, metrics=metrics, max_age=max_age)
            session.show(job_answers.of_status(answer.status, answer.metrics))
        else:
            session.show(job_answers.of_status(client.jobs.status(job, max_age=max_age), None))


@jobs.command(epilog=examples("streamgauge jobs runs orders --limit 10"))
@click.argument("job")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.  [default: all]")
@server_command
def runs(session: Session, job: str, limit: int | None) -> None:
    """List the runs of a job, the newest first."""
    with session.client() as client:
        found = list(islice(client.jobs.runs(job, page_size=min(limit or 1000, 1000)), limit))
    session.show(job_answers.of_runs(found))


@jobs.command(
    epilog=examples("streamgauge jobs exceptions orders", "streamgauge jobs exceptions orders --stack --limit 1")
)
@click.argument("job")
@click.option("--run-id", default="", metavar="ID", help="The run.  [default: the one that the status tells of]")
@click.option("--stack", is_flag=True, help="Print the stack traces.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@_max_age_option
@server_command
def exceptions(session: Session, job: str, run_id: str, stack: bool, limit: int, max_age: timedelta | None) -> None:
    """List what went wrong in a run, the newest first. A healthy run has none."""
    found: list[JobException] = []
    about = ExceptionPage((), "")
    with session.client() as client:
        pages = client.jobs.exceptions(job, run_id=run_id, max_age=max_age, page_size=min(limit, 100)).pages()
        for about in pages:
            found += about.items
            if len(found) >= limit:
                break
    session.show(job_answers.of_exceptions(found[:limit], about, stacks=stack))


@jobs.command(
    epilog=examples(
        "streamgauge jobs stop orders",
        "streamgauge jobs stop orders --savepoint --wait 2m --yes",
        "streamgauge jobs stop orders --savepoint --drain --savepoint-directory s3://bucket/savepoints",
    )
)
@click.argument("job")
@click.option("--savepoint", is_flag=True, help="Take a savepoint and end the run, instead of cancelling it.")
@click.option("--drain", is_flag=True, help="With --savepoint: let event time run to its end. Cannot be undone.")
@click.option(
    "--savepoint-directory",
    default="",
    metavar="DIR",
    help="With --savepoint: where.  [default: as the cluster is set]",
)
@click.option("--run-id", default="", metavar="ID", help="The run; needed when several are active.")
@click.option("--wait", metavar="LENGTH", callback=to_length, help="Wait for the end of the run, for example 60s.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_command
def stop(
    session: Session,
    job: str,
    savepoint: bool,
    drain: bool,
    savepoint_directory: str,
    run_id: str,
    wait: timedelta | None,
    yes: bool,
) -> None:
    """Stop the active run of a job. One that has ended already is no error.

    With --wait it ends with exit code 3 when the run has not ended in time.
    """
    if (drain or savepoint_directory) and not savepoint:
        raise click.UsageError("--drain and --savepoint-directory go with --savepoint")
    mode = StopMode.SAVEPOINT if savepoint else StopMode.CANCEL
    with session.client() as client:
        if not yes and not session.show_grpcurl:
            asked = client.jobs.get(job)
            doing = "without a run" if asked.run is None else job_answers.state_text(asked.run)
            how = ("Drain and stop" if drain else "Stop") + " with a savepoint" if savepoint else "Cancel"
            click.confirm(f"{how}: {asked.name} ({doing})?", abort=True, err=True)
        result = client.jobs.stop(
            job, mode, drain=drain, savepoint_directory=savepoint_directory, run_id=run_id, wait=wait
        )
    session.show(job_answers.of_stop(job, result))
    if wait is not None and not result.ended:
        fail(f"the run has not ended within {wait.total_seconds():g} s", UNAVAILABLE)


@jobs.command(
    epilog=examples(
        "streamgauge jobs watch",
        "streamgauge jobs watch orders payments --current",
        "streamgauge jobs watch --output jsonl",
    )
)
@click.argument("of", nargs=-1, metavar="[JOB]...")
@click.option("--current", "include_current", is_flag=True, help="Begin with the present state of each job.")
@click.option("--cursor", default="", help="Go on after this cursor, which a watch tells at its end.")
@server_command
def watch(session: Session, of: Sequence[str], include_current: bool, cursor: str) -> None:
    """Print a line for each change of state of some jobs (by id), or of all, until Ctrl-C.

    When the server goes away and comes back the watch goes on where it was.
    """
    if session.format not in (Format.TABLE, Format.JSONL):
        raise click.UsageError("a watch has no end: use --output table or jsonl")
    with session.client() as client, client.jobs.watch(of, cursor=cursor, include_current=include_current) as found:
        try:
            for change in found:
                click.echo(_line(change, session.format))
        except KeyboardInterrupt:
            click.echo(f"\nGo on with --cursor {found.cursor}" if found.cursor else "", err=True)


def _line(change: JobChange, format_: Format) -> str:
    return json_line(answers.record_of(change)) if format_ is Format.JSONL else job_answers.change_text(change)


@jobs.command(
    epilog=examples(
        "streamgauge jobs report nightly-load running --run-id 2026-11-22 rows=5",
        "streamgauge jobs report nightly-load failed --run-id 2026-11-22 --error-file stderr.txt",
        "streamgauge jobs report nightly-load finished --run-id 2026-11-22 --start -2h rows=120000",
    )
)
@click.argument("job")
@click.argument("state", type=click.Choice(_REPORTED))
@click.argument("metrics", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--run-id", default="", metavar="ID", help="The run.  [default: the active one, or a new one]")
@click.option("--queued", metavar="TIME", callback=to_moment, help="When it was queued.")
@click.option("--start", metavar="TIME", callback=to_moment, help="When it started.  [default: the first report]")
@click.option("--end", metavar="TIME", callback=to_moment, help="When it ended.  [default: the server's now]")
@click.option("--error", metavar="TEXT", help="What went wrong.")
@click.option("--error-file", metavar="FILE", help="What went wrong, with the stack; - is stdin.")
@click.option("--error-class", default="", metavar="CLASS", help="The class of the exception.")
@click.option("--restarts", type=click.IntRange(min=0), metavar="N", help="How often it restarted.")
@click.option("--tasks", nargs=3, type=click.IntRange(min=0), metavar="RUNNING FINISHED TOTAL", help="Its tasks.")
@click.option("--type", "job_type", default="", metavar="ID", help="The type of a job that this registers.")
@server_command
def report(
    session: Session,
    job: str,
    state: str,
    metrics: Sequence[str],
    run_id: str,
    queued: datetime | None,
    start: datetime | None,
    end: datetime | None,
    error: str | None,
    error_file: str | None,
    error_class: str,
    restarts: int | None,
    tasks: tuple[int, int, int] | None,
    job_type: str,
) -> None:
    """Report a run of a job that runs where no collector looks. An unknown job is registered.

    Reporting the same again, with its --run-id, changes nothing; a run that has ended stays ended.
    """
    if error is not None and error_file is not None:
        raise click.UsageError("give --error or --error-file, not both")
    text = "".join(read_lines(error_file)) if error_file is not None else error
    if error_class and text is None:
        raise click.UsageError("--error-class goes with --error or --error-file")
    values: dict[str, Scalar] = {}
    try:
        for given in metrics:
            name, value = parse_assignment(given)
            values[name] = value
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None
    # A moment of our own: a report that is tried again tells of the same exception.
    at = now(click.get_current_context())
    with session.client() as client:
        reported = client.jobs.report(
            job,
            state,
            run_id=run_id,
            queue_time=queued,
            start_time=start,
            end_time=end,
            exceptions=() if text is None else (ReportedException(text, error_class, at),),
            metrics=values,
            restart_count=restarts,
            tasks=TaskCounts(*tasks) if tasks else None,
            job_type=job_type,
        )
    session.show(job_answers.of_report(reported))


@jobs.command(
    epilog=examples("streamgauge jobs create orders --cluster main --job-name 'orders to lake' --label team=shop")
)
@click.argument("job_id", required=False, default="")
@click.option(
    "--job-name", "runner_name", default="", metavar="TEXT", help="What its runner calls it.  [default: the id]"
)
@click.option("--cluster", default="", metavar="NAME", help="The cluster that it runs on.")
@click.option("--type", "job_type", default="", metavar="ID", help="Its job type.")
@_label_option
@server_command
def create(
    session: Session, job_id: str, runner_name: str, cluster: str, job_type: str, labels: dict[str, str]
) -> None:
    """Register a job. Reporting one that does not exist does so too, and so do collectors."""
    with session.client() as client:
        made = client.jobs.create(job_id, job_name=runner_name, cluster=cluster, job_type=job_type, labels=labels)
    session.show(job_answers.of_job(made))


@jobs.command(epilog=examples("streamgauge jobs delete orders --yes"))
@click.argument("job", metavar="JOB_ID")
@click.option("--etag", default="", help="Delete it only if it has not changed since this etag was read.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@server_command
def delete(session: Session, job: str, etag: str, yes: bool) -> None:
    """Delete a job with its runs, exceptions and metrics. Where it runs it goes on."""
    if not yes and not session.show_grpcurl:
        click.confirm(f"Delete {job} with its runs, exceptions and metrics?", abort=True, err=True)
    with session.client() as client:
        client.jobs.delete(job, etag=etag)
    session.show(answers.of_deletion(job_name(job)))
