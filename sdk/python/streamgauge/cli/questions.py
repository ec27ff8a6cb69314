"""Options that questions about metrics share: range, windows, metrics, how counters are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from streamgauge.cli.times import to_moment
from streamgauge.enums import CounterMode, WindowUnit

F = TypeVar("F", bound=Callable[..., Any])

UNITS = [unit.value for unit in WindowUnit if unit is not WindowUnit.UNKNOWN]


def range_options(function: F) -> F:
    """Adds `--from` and `--to` of a range that is the last 24 hours by default."""
    return _range(function, "  [default: -24h]", "  [default: now]")


def open_range_options(function: F) -> F:
    """Adds `--from` and `--to` of a range that is open where an end is not given."""
    return _range(function, "", "")


def _range(function: F, default_start: str, default_end: str) -> F:
    start = click.option(
        "--from",
        "start",
        metavar="TIME",
        callback=to_moment,
        help=f"The first moment, ISO 8601 or -24h.{default_start}",
    )
    end = click.option(
        "--to", "end", metavar="TIME", callback=to_moment, help=f"The first moment after the range.{default_end}"
    )
    return start(end(function))


def window_options(*, default_unit: str | None) -> Callable[[F], F]:
    """Adds `--unit` and `--interval`."""
    note = f"  [default: {default_unit}]" if default_unit else "  [default: one window, the whole range]"

    def add(function: F) -> F:
        unit = click.option("--unit", type=click.Choice(UNITS), help=f"The unit of a window, UTC.{note}")
        interval = click.option("--interval", type=int, metavar="N", help="How many units a window has.  [default: 1]")
        return unit(interval(function))

    return add


def metric_option(help_: str) -> Callable[[F], F]:
    """Adds `--metric`, which may be repeated."""
    return click.option("-m", "--metric", "metrics", multiple=True, metavar="NAME", help=help_)


def counter_mode_option(function: F) -> F:
    """Adds `--counter-mode`."""
    return click.option(
        "--counter-mode",
        type=click.Choice([mode.value for mode in CounterMode]),
        help="How counters are read: growth, total since the first sample, or as written.  [default: increase]",
    )(function)


def to_labels(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> dict[str, str]:
    """Click's callback of `KEY=VALUE` options."""
    labels = {}
    for text in value:
        key, equals, label = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", ctx, param)
        labels[key] = label
    return labels
