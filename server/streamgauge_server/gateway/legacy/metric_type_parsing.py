"""What requests of the legacy metric types API ask for: their parameters, as lenient and as strict as it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import QueryParams
from streamgauge.v1 import common_pb2
from streamgauge.v1 import metric_type_service_pb2 as pb

from streamgauge_server.gateway.api import HttpFailure
from streamgauge_server.gateway.legacy.metric_type_times import Bin, moment, plot_range

_INTEGER = re.compile(r"\s*([+-]?)0*([0-9]{1,19})\s*", re.ASCII)
_UNSET = ("", "null")
"""What web pages send in the place of a parameter that they leave out."""
_INT64_MAX = 2**63 - 1
_ECHOED = 64


@dataclass(frozen=True, slots=True)
class PlotQuery:
    """What a plot is asked for.

    `bad_choice` is a choice that is no number, None without any: it is told only of metric types that there are.
    """

    columns: Sequence[str]
    groups: Sequence[str]
    choices: Sequence[int]
    bad_choice: str | None
    bin: Bin
    time_range: common_pb2.TimeRange | None

    @classmethod
    def of(cls, query: QueryParams, clock: Callable[[], int]) -> PlotQuery:
        """Reads the parameters; of one that stands for one thing the last counts. `clock` is in microseconds.

        Raises:
            HttpFailure: 400 for a range of time that is malformed or reversed, or bins that there are not.
        """
        now = clock()
        started = _moment(query, "started", now)
        # Time has gone on between the two: from P1D to P1D is a range.
        ended = _moment(query, "ended", now + 1)
        if started is not None:
            if started == ended:
                raise HttpFailure(400, "started and ended must differ")
            if started > (now if ended is None else ended):
                raise HttpFailure(400, f"started must be before {'now' if ended is None else 'ended'}")
        bin = _bin(query)
        chosen = {text: _number(text) for text in query.getlist("choice_id")}
        return cls(
            columns=tuple(dict.fromkeys(query.getlist("column"))),
            groups=tuple(dict.fromkeys(group for group in query.getlist("group") if group not in _UNSET)),
            choices=tuple(dict.fromkeys(number for number in chosen.values() if number is not None)),
            bad_choice=next((text for text, number in chosen.items() if number is None), None),
            bin=bin,
            time_range=plot_range(started, ended, bin, now),
        )

    def request(self, name: str, groups: Sequence[str]) -> pb.GetPlotDataRequest:
        """Returns the request for the plot of the metric type with resource name `name`, with those of its groups.

        Raises:
            HttpFailure: 400 for a choice that is no number.
        """
        if self.bad_choice is not None:
            raise HttpFailure(400, f"choice_id: {self.bad_choice[:_ECHOED]!r} is no integer of 64 bits")
        return pb.GetPlotDataRequest(
            name=name,
            columns=self.columns,
            groups=groups,
            choices=self.choices,
            time_range=self.time_range,
            window=common_pb2.Window(count=1, unit=self.bin.unit),
        )


def _moment(query: QueryParams, name: str, now: int) -> int | None:
    if name not in query:
        return None
    try:
        return moment(query[name], now)
    except ValueError as error:
        raise HttpFailure(400, f"{name}: {error}") from error


def _bin(query: QueryParams) -> Bin:
    text = query.get("bin", "")
    if text in _UNSET:
        return Bin.HOUR
    try:
        return Bin(text)
    except ValueError as error:
        allowed = ", ".join(bin.value for bin in Bin)
        raise HttpFailure(400, f"bin: {text[:_ECHOED]!r} is none of {allowed}") from error


def _number(text: str) -> int | None:
    """Returns the integer of 64 bits that a text is, None when it is none."""
    found = _INTEGER.fullmatch(text)
    number = int(f"{found[1]}{found[2]}") if found else _INT64_MAX + 1
    return number if abs(number) <= _INT64_MAX else None
