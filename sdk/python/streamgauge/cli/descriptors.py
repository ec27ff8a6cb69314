"""`streamgauge descriptors`: what metrics there are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from streamgauge.cli import answers
from streamgauge.cli.connection import Session, server_command
from streamgauge.cli.examples import examples
from streamgauge.enums import MetricDirection, SubjectKind, ValueType

_KINDS = [kind.value for kind in SubjectKind if kind is not SubjectKind.UNKNOWN]
_TYPES = [kind.value for kind in ValueType if kind is not ValueType.UNKNOWN]
_NUMERIC = (ValueType.NUMBER, ValueType.DOUBLE, ValueType.INT64)
_DIRECTIONS = {"higher": MetricDirection.HIGHER_IS_BETTER, "lower": MetricDirection.LOWER_IS_BETTER}


@click.group()
def descriptors() -> None:
    """What metrics there are: unit, kind, and how they are aggregated."""


@descriptors.command("list", epilog=examples("streamgauge descriptors list --kind sources"))
@click.option("--kind", type=click.Choice(_KINDS), help="Only metrics of these subjects.  [default: all]")
@server_command
def list_(session: Session, kind: str | None) -> None:
    """List the metrics by kind of subject and name."""
    with session.client() as client:
        found = list(client.metrics.descriptors.list(subject_kind=kind, page_size=1000))
    session.show(answers.of_descriptors(found))


@descriptors.command(epilog=examples("streamgauge descriptors get assets/rowCount"))
@click.argument("metric", metavar="SUBJECTS/METRIC")
@server_command
def get(session: Session, metric: str) -> None:
    """Show one metric, by kind of subject and name."""
    kind, name = _named(metric)
    with session.client() as client:
        session.show(answers.of_descriptor(client.metrics.descriptors.get(name, subject_kind=kind)))


@descriptors.command(
    epilog=examples(
        "streamgauge descriptors declare assets/rowCount --type number --min 0 --direction higher --unit rows",
        "streamgauge descriptors declare assets/status --type string --description 'open or closed'",
        "streamgauge descriptors declare assets/rowCount --type any",
        "streamgauge descriptors declare sources/load --type double --keep-samples 30 --keep-summaries 730",
    )
)
@click.argument("metric", metavar="SUBJECTS/METRIC")
@click.option("--type", "value_type", type=click.Choice(_TYPES), required=True, help="The type of its values.")
@click.option("--min", "min_value", type=float, metavar="NUMBER", help="The smallest number that may be written.")
@click.option("--max", "max_value", type=float, metavar="NUMBER", help="The largest number that may be written.")
@click.option("--direction", type=click.Choice(list(_DIRECTIONS)), help="Which is better.")
@click.option("--keep-samples", type=click.IntRange(1), metavar="DAYS", help="After this many days samples go.")
@click.option("--keep-summaries", type=click.IntRange(1), metavar="DAYS", help="After this many summaries go too.")
@click.option("--unit", help="The unit in words.")
@click.option("--display-name", help="Its name for people.")
@click.option("--description", help="What it is.")
@server_command
def declare(
    session: Session,
    /,
    metric: str,
    direction: str | None,
    value_type: str,
    keep_samples: int | None,
    keep_summaries: int | None,
    **given: Any,
) -> None:
    """Say what a metric is, whether or not it was written before.

    What is written to a declared metric of assets must be of its type, and is not guessed any more. What is not given
    stays as it is; a type that is not of numbers takes the bounds away.
    """
    kind, name = _named(metric)
    changes: dict[str, Any] = {} if value_type in _NUMERIC else {"min_value": None, "max_value": None}
    changes |= {field: value for field, value in given.items() if value is not None}
    if direction is not None:
        changes["direction"] = _DIRECTIONS[direction]
    for field, days in (("sample_retention", keep_samples), ("summary_retention", keep_summaries)):
        if days is not None:
            changes[field] = timedelta(days=days)
    with session.client() as client:
        declared = client.metrics.descriptors.declare(name, value_type, subject_kind=kind, **changes)
    session.show(answers.of_descriptor(declared))


def _named(text: str) -> tuple[SubjectKind, str]:
    """Returns kind and name of `assets/rowCount`; the first `/` divides."""
    kind, slash, name = text.partition("/")
    if not slash or not name or kind not in _KINDS:
        raise click.UsageError(
            f"{text!r} is not SUBJECTS/METRIC, such as assets/rowCount; SUBJECTS are {', '.join(_KINDS)}"
        )
    return SubjectKind(kind), name
