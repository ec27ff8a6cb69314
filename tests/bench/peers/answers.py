"""Whether all systems say the same, within what their definitions allow."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from tests.bench.peers.peer import Peer
from tests.bench.peers.questions import Latest, WindowAnswer, Windows
from tests.bench.workload import COUNTERS

_SAME = 1e-6
"""Relative difference of numbers that are the same: integers came through doubles, or through JSON."""
_EXTRAPOLATED = 0.02
"""Relative difference of the sum of increases over all windows where they are extrapolated: Prometheus leaves the step
into a window out and stretches the others to its ends, which comes to the same on average."""
_OWN_BEGINNING = {"victoriametrics", "prometheus"}
"""Systems with a rule of their own for the first window of a series, which has no sample before it: VictoriaMetrics
takes a small first value for an increase from 0, Prometheus extrapolates."""
_NO_RESETS = {"influxdb"}
"""Systems that leave a window out which has a reset, or no sample before it, instead of counting on."""


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
    return [_compared(peer, expected, peer.windows(question)) for peer in others]


def _compared(peer: Peer, expected: WindowAnswer, answer: WindowAnswer) -> str:
    if answer.keys() != expected.keys():
        raise AnswersDiffer(f"{peer.title}: metrics {sorted(answer)}")
    off: list[float] = []
    missing = 0
    for metric, values in expected.items():
        found = answer[metric]
        both = {w: (found[w], value) for w, value in values.items() if w in found}
        missing += len(values) - len(both)
        compared = [_off(*pair) for window, pair in both.items() if window or peer.name not in _OWN_BEGINNING]
        off += compared
        if peer.name == "prometheus" and metric in COUNTERS:
            totals = [sum(side) for side in zip(*both.values(), strict=True)]
            if _off(*totals) > _EXTRAPOLATED:
                raise AnswersDiffer(f"{peer.title}: {metric} is {totals[0]} in all, not {totals[1]}")
        elif max(compared) > _SAME:
            raise AnswersDiffer(f"{peer.title}: {metric}: {both}")
    if missing and peer.name not in _NO_RESETS:
        raise AnswersDiffer(f"{peer.title}: {missing} windows are missing")
    told = f"{peer.title}: {len(off)} values, at most {max(off):.2g} off (relative), median {median(off):.2g}"
    return f"{told}; {missing} windows without a value" if missing else told


def _off(value: float, expected: float) -> float:
    """Returns the relative difference; of what is nearly nothing, the absolute one."""
    return abs(value - expected) / max(abs(expected), 1.0)


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
            if _off(answer[key], value) > _SAME:
                raise AnswersDiffer(f"{peer.title}: {key} is {answer[key]}, not {value}")
