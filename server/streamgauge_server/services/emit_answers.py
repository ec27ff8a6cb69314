"""What an emit answers, how large that is, and how it is kept for a repeat of the request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from streamgauge_server.model.errors import Reason, Violation
from streamgauge_server.model.values import AssetValueType, Scalar
from streamgauge_server.services.emit_checks import Draft

MAX_VIOLATIONS = 100
"""How many violations the outcome of one emit lists."""

_METRIC_BYTES = 32
"""The most that a metric takes in an answer beside its name and text."""
_ANSWER_BYTES = 96
"""The most that an answer takes beside its URN, metrics, warnings and violations."""


class EmittedMetric(NamedTuple):
    """A metric as it is stored."""

    name: str
    value: Scalar
    type: AssetValueType
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Emitted:
    """An emit that is stored: the asset's resource name and URN, the moment in microseconds, and its metrics."""

    asset: str
    urn: str
    time: int
    metrics: Sequence[EmittedMetric] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """An emit that is not stored: how many things are wrong with it, and the first of them."""

    violations: Sequence[Violation]
    count: int

    @property
    def message(self) -> str:
        """What is wrong, in words."""
        first, more = self.violations[0], f" (and {self.count - 1} more)" if self.count > 1 else ""
        return f"{first.field}: {first.description}{more}"


@dataclass(frozen=True, slots=True)
class EmitOutcomes:
    """What became of a batch of emits, by index: all of them, or only those that were refused."""

    accepted: int
    rejected: int
    outcomes: Sequence[tuple[int, Emitted | Refused]]


def emitted(draft: Draft) -> Emitted:
    """Returns the answer to an emit that is stored."""
    metrics = [EmittedMetric(name, typed.value, typed.type, typed.guessed) for name, typed in draft.typed.items()]
    return Emitted(str(draft.subject), draft.urn, draft.time, metrics, draft.warnings)


def outcomes(drafts: Sequence[Draft], *, errors_only: bool) -> EmitOutcomes:
    """Returns the answer to a batch; drafts with violations are refused."""
    rejected = sum(1 for draft in drafts if draft.violations)
    found = [
        (draft.index, Refused(draft.violations[:MAX_VIOLATIONS], len(draft.violations)))
        if draft.violations
        else (draft.index, emitted(draft))
        for draft in drafts
        if draft.violations or not errors_only
    ]
    return EmitOutcomes(len(drafts) - rejected, rejected, found)


def answer_size(answer: Emitted | Refused) -> int:
    """Returns how many bytes an answer takes at most. Cheap: characters beyond ASCII count as four bytes."""
    if isinstance(answer, Refused):
        # The first violation is told once more as the message.
        told = [*answer.violations[:1], *answer.violations]
        return _ANSWER_BYTES + sum(_METRIC_BYTES + _size(v.field) + _size(v.description) for v in told)
    return (
        _ANSWER_BYTES
        + _size(answer.urn)
        + sum(map(_size, answer.warnings))
        + sum(
            _METRIC_BYTES + _size(metric.name) + (_size(metric.value) if isinstance(metric.value, str) else 0)
            for metric in answer.metrics
        )
    )


def _size(text: str) -> int:
    return 4 + (len(text) if text.isascii() else 4 * len(text))


def serialise(answer: Emitted | EmitOutcomes) -> bytes:
    """Returns what is kept of an answer. JSON keeps every value: integers whole, and doubles to their last bit."""
    if isinstance(answer, Emitted):
        plain: Any = _plain(answer)
    else:
        found = [
            [index, _plain(one) if isinstance(one, Emitted) else _plain_refused(one)] for index, one in answer.outcomes
        ]
        plain = {"accepted": answer.accepted, "rejected": answer.rejected, "outcomes": found}
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()


def kept_emitted(stored: bytes) -> Emitted:
    """Returns the answer to an emit that `serialise` has kept."""
    return _emitted(json.loads(stored))


def kept_outcomes(stored: bytes) -> EmitOutcomes:
    """Returns the answer to a batch that `serialise` has kept."""
    plain = json.loads(stored)
    found = [(index, _refused(one) if "count" in one else _emitted(one)) for index, one in plain["outcomes"]]
    return EmitOutcomes(plain["accepted"], plain["rejected"], found)


def _plain(answer: Emitted) -> dict[str, Any]:
    return {
        "asset": answer.asset,
        "urn": answer.urn,
        "time": answer.time,
        "metrics": answer.metrics,
        "warnings": answer.warnings,
    }


def _emitted(plain: dict[str, Any]) -> Emitted:
    metrics = [EmittedMetric(name, value, AssetValueType(t), guessed) for name, value, t, guessed in plain["metrics"]]
    return Emitted(plain["asset"], plain["urn"], plain["time"], metrics, plain["warnings"])


def _plain_refused(answer: Refused) -> dict[str, Any]:
    violations = [[violation.field, violation.description, violation.reason.name] for violation in answer.violations]
    return {"count": answer.count, "violations": violations}


def _refused(plain: dict[str, Any]) -> Refused:
    violations = [Violation(field, description, Reason[reason]) for field, description, reason in plain["violations"]]
    return Refused(violations, plain["count"])
