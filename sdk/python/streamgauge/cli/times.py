"""Moments as people type them (`2026-11-21T10:00:00Z`, `2026-11-21`, `-24h`, `now`) and lengths of time (`90s`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

_RELATIVE = re.compile(r"-(\d{1,9})(s|m|h|d|w)")
_LENGTH = re.compile(r"(\d{1,6})(s|m|h|d|w)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NOW = "streamgauge.cli.now"


def parse_time(text: str, now: datetime) -> datetime:
    """Returns the moment that a text names, UTC. ValueError says what is accepted.

    `-24h` is relative to `now` (units s, m, h, d, w). A date is its midnight. Without an offset it is UTC.
    """
    if text == "now":
        return now
    if relative := _RELATIVE.fullmatch(text):
        try:
            return now - timedelta(**{_UNITS[relative[2]]: int(relative[1])})
        except OverflowError:
            raise ValueError(f"{text!r} is before year 1") from None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no moment; use 2026-11-21T10:00:00Z, 2026-11-21, now, or a time ago such as -90s, -24h, -7d"
        ) from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is outside the years 1 to 9999") from None


def format_time(moment: datetime) -> str:
    """Returns a moment as ISO 8601 in UTC, with microseconds only where there are any: it parses back exactly."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return utc.isoformat() + "Z"


def parse_length(text: str) -> timedelta:
    """Returns the length of time that `90s`, `5m`, `2h`, `1d` or `1w` is. ValueError says what is accepted."""
    if (length := _LENGTH.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is no length of time; use for example 0s, 90s, 5m, 2h or 1d")
    return timedelta(**{_UNITS[length[2]]: int(length[1])})


def now(ctx: click.Context) -> datetime:
    """Returns the moment at which the command began: all relative moments of one command agree."""
    moment: datetime = ctx.meta.setdefault(_NOW, datetime.now(UTC))
    return moment


def to_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Click's callback of an option that is a moment; a usage error when the text names none."""
    if value is None:
        return None
    try:
        return parse_time(value, now(ctx))
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def to_length(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """Click's callback of an option that is a length of time; a usage error when the text is none."""
    if value is None:
        return None
    try:
        return parse_length(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
