"""`streamgauge job-types`: the kinds of jobs."""

from __future__ import annotations

from itertools import islice
from typing import Any

import click

from streamgauge.cli import job_answers
from streamgauge.cli.connection import Session, server_command
from streamgauge.cli.examples import examples


@click.group("job-types")
def job_types() -> None:
    """The kinds of jobs, by which their runs are counted."""


@job_types.command("list", epilog=examples("streamgauge job-types list --active"))
@click.option("--type-name", default="", metavar="NAME", help="Only of this type name.")
@click.option("--version", default="", help="Only of this version.")
@click.option("--active", "active_only", is_flag=True, help="Only those that may be run.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many.  [default: all]")
@server_command
def list_(session: Session, type_name: str, version: str, active_only: bool, limit: int | None) -> None:
    """List job types by id."""
    with session.client() as client:
        pager = client.job_types.list(
            type_name=type_name, version=version, active_only=active_only, page_size=min(limit or 1000, 1000)
        )
        found = list(islice(pager, limit))
    session.show(job_answers.of_job_types(found))


@job_types.command(epilog=examples("streamgauge job-types show load-v2"))
@click.argument("job_type")
@server_command
def show(session: Session, job_type: str) -> None:
    """Show one job type, by id or by name."""
    with session.client() as client:
        session.show(job_answers.of_job_type(client.job_types.get(job_type)))


@job_types.command(
    epilog=examples("streamgauge job-types create load-v2 Load --version 2 --title 'Nightly load' --published")
)
@click.argument("job_type_id")
@click.argument("type_name")
@click.option("--version", help="Its version; type name and version are unique together.")
@click.option("--title", help="Its name for people.")
@click.option("--description", help="What it does.")
@click.option("--category", help="Its category.")
@click.option("--author-name", help="Who wrote it.")
@click.option("--author-url", help="Where to find the author.")
@click.option("--icon-code", help="An icon of the user interface.")
@click.option("--unmet-resources", help="What it needs and no node has.")
@click.option("--active/--inactive", "is_active", default=None, help="Whether it may be run.  [default: active]")
@click.option("--system", "is_system", is_flag=True, default=None, help="It belongs to the system itself.")
@click.option("--paused", "is_paused", is_flag=True, default=None, help="New runs are held back.")
@click.option("--published", "is_published", is_flag=True, default=None, help="It is offered to users.")
@click.option("--long-running", "is_long_running", is_flag=True, default=None, help="Its runs go on without an end.")
@click.option(
    "--operational/--not-operational",
    "is_operational",
    default=None,
    help="Whether its work matters to operations.  [default: operational]",
)
@server_command
def create(session: Session, /, job_type_id: str, type_name: str, **given: Any) -> None:
    """Register a job type."""
    fields: Any = {name: value for name, value in given.items() if value is not None}
    with session.client() as client:
        session.show(job_answers.of_job_type(client.job_types.create(job_type_id, type_name, **fields)))
