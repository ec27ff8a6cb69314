"""Answers to emits: how large they are told to be, and that they are kept exactly for a repeat."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.clock import MAX_MICROS, MIN_MICROS
from streamgauge_server.model.errors import Reason, Violation
from streamgauge_server.model.values import AssetValueType, Scalar
from streamgauge_server.rpc.assets import outcomes_message
from streamgauge_server.services.emit_answers import (
    EmitOutcomes,
    Emitted,
    EmittedMetric,
    Refused,
    answer_size,
    kept_emitted,
    kept_outcomes,
    serialise,
)

TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(st.sampled_from("aü\u2028\U0001f44b"), max_size=20).map(lambda text: text * 50),
)
VALUES: st.SearchStrategy[Scalar] = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), TEXTS
)
EMITTED = st.builds(
    Emitted,
    st.just("assets/" + "f" * 40),
    TEXTS,
    st.integers(MIN_MICROS, MAX_MICROS - 1),
    st.lists(st.builds(EmittedMetric, TEXTS, VALUES, st.sampled_from(AssetValueType), st.booleans()), max_size=5),
    st.lists(TEXTS, max_size=3),
)
REFUSED = st.builds(
    Refused,
    st.lists(st.builds(Violation, TEXTS, TEXTS, st.sampled_from(Reason)), min_size=1, max_size=5),
    st.integers(5, 100_000),
)
OUTCOMES = st.builds(
    EmitOutcomes,
    st.integers(0, 5_000),
    st.integers(0, 5_000),
    st.lists(st.tuples(st.integers(0, 5_000), st.one_of(EMITTED, REFUSED)), max_size=4),
)


def exact(answer: Emitted) -> list[tuple[type, object]]:
    """Values with what `==` does not tell apart: their types, and the sign of a zero."""
    return [
        (type(m.value), math.copysign(1, m.value) if isinstance(m.value, float) else m.value) for m in answer.metrics
    ]


@given(st.one_of(EMITTED, REFUSED))
def test_an_answer_is_never_larger_than_it_is_told_to_be(answer: Emitted | Refused) -> None:
    """An emit is refused before it is stored if its answer could not be told: after that it would be too late."""
    message = outcomes_message(EmitOutcomes(5_000, 5_000, [(4_999, answer)]))
    assert message.ByteSize() <= answer_size(answer)


@given(EMITTED)
def test_a_kept_answer_comes_back_exactly(answer: Emitted) -> None:
    kept = kept_emitted(serialise(answer))
    assert kept == answer
    assert exact(kept) == exact(answer)


@given(OUTCOMES)
def test_kept_outcomes_come_back_exactly(answer: EmitOutcomes) -> None:
    kept = kept_outcomes(serialise(answer))
    assert outcomes_message(kept) == outcomes_message(answer)
    assert kept == answer
