"""Whether all systems say the same, within what their definitions allow."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tests.bench.peers.peer import Peer
from tests.bench.peers.questions import Latest, Windows
from tests.bench.workload import COUNTERS

_SAME = 1e-6
"""Relative difference of numbers that are the same: integers came through doubles, or through JSON."""
_ALLOWED = {"prometheus": 0.02}
"""Relative difference of increases over a window where that is not `_SAME`: Prometheus extrapolates the first and last
sample of a window to its ends, and does not count the step into the window."""
_NO_RESETS = {"influxdb"}
"""Systems that leave a window with a reset out instead of counting on."""


class AnswersDiffer(Exception):
    """A system answers something else; its times would compare nothing."""


def compare_windows(peers: Sequence[Peer], question: Windows) -> list[str]:
    """Compares answers with those of the first one; returns a line on each of the others.

    Raises:
        AnswersDiffer: one is further off than its definitions explain.
    """
    first, *others = peers
    expected = first.windows(question)
    if missing := [metric for metric, values in expected.items() if len(values) != question.count]:
        raise AnswersDiffer(f"{first.title}: windows of {missing} are missing")
    lines = []
    for peer in others:
        answer = peer.windows(question)
        if answer.keys() != expected.keys():
            raise AnswersDiffer(f"{peer.title}: metrics {sorted(answer)}")
        off: list[float] = []
        missing_windows = 0
        for metric, values in expected.items():
            allowed = _ALLOWED.get(peer.name, _SAME) if metric in COUNTERS else _SAME
            for window, value in values.items():
                if window not in answer[metric]:
                    missing_windows += 1
                    continue
                # An increase of nearly nothing is an integer that extrapolation makes a fraction of.
                difference = abs(answer[metric][window] - value) / max(abs(value), 1.0)
                off.append(difference)
                if difference > allowed and not (peer.name == "prometheus" and window == 0):
                    raise AnswersDiffer(
                        f"{peer.title}: {metric} in window {window} is {answer[metric][window]}, not {value}"
                    )
        if missing_windows and peer.name not in _NO_RESETS | {"prometheus"}:
            raise AnswersDiffer(f"{peer.title}: {missing_windows} windows are missing")
        lines.append(
            f"{peer.title}: {len(off)} values, at most {max(off):.2g} off (relative), median {median(off):.2g}"
            + (f"; {missing_windows} windows without a value" if missing_windows else "")
        )
    return lines


def compare_latest(peers: Sequence[Peer], question: Latest, metrics: int) -> None:
    """Compares newest values with those of the first one.

    Raises:
        AnswersDiffer: one says something else, or not of all metrics.
    """
    first, *others = peers
    expected = first.latest(question)
    if len(expected) != metrics * len(question.sources):
        raise AnswersDiffer(f"{first.title}: {len(expected)} newest values")
    for peer in others:
        answer = peer.latest(question)
        if answer.keys() != expected.keys():
            raise AnswersDiffer(f"{peer.title}: {len(answer)} newest values, not {len(expected)}")
        for key, value in expected.items():
            if abs(answer[key] - value) > _SAME * max(abs(value), 1.0):
                raise AnswersDiffer(f"{peer.title}: {key} is {answer[key]}, not {value}")
