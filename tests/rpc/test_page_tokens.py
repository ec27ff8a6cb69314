"""Page sizes and page tokens."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.services.page_tokens import (
    cut_page,
    number_in,
    page_size_of,
    request_digest,
    token_after,
    token_for,
)

DIGEST = request_digest("ListThings", "a")


@pytest.mark.parametrize(("requested", "in_force"), [(0, 100), (1, 1), (999, 999), (1_000, 1_000), (1_001, 1_000)])
def test_a_page_size_is_defaulted_and_bounded(requested: int, in_force: int) -> None:
    assert page_size_of(requested) == in_force


def test_a_negative_page_size_is_refused() -> None:
    with pytest.raises(DomainError) as caught:
        page_size_of(-1)
    assert caught.value.reason is Reason.INVALID_FIELD
    assert caught.value.metadata == {"field": "page_size"}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3))
def test_a_token_brings_back_the_key_that_it_was_made_of(after: list[str]) -> None:
    token = token_for(DIGEST, after)
    assert token_after(token, DIGEST, keys=len(after)) == tuple(after)
    assert not set(token) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_the_first_page_needs_no_token() -> None:
    assert token_after("", DIGEST, keys=1) == ()


@given(st.text(min_size=1, max_size=40))
def test_whatever_is_no_token_is_a_mismatch_and_not_a_fault(token: str) -> None:
    with pytest.raises(DomainError) as caught:
        token_after(token, DIGEST, keys=1)
    assert caught.value.reason is Reason.PAGE_TOKEN_MISMATCH


@given(st.binary(max_size=60))
def test_whatever_bytes_a_token_holds_they_are_a_mismatch_and_not_a_fault(content: bytes) -> None:
    token = base64.urlsafe_b64encode(b"x" + content).decode()
    with pytest.raises(DomainError) as caught:
        token_after(token, DIGEST, keys=1)
    assert caught.value.reason is Reason.PAGE_TOKEN_MISMATCH


def test_a_token_of_other_arguments_or_of_another_shape_is_a_mismatch() -> None:
    token = token_for(DIGEST, ["x"])
    for digest, keys in ((request_digest("ListThings", "b"), 1), (DIGEST, 2)):
        with pytest.raises(DomainError) as caught:
            token_after(token, digest, keys=keys)
        assert caught.value.reason is Reason.PAGE_TOKEN_MISMATCH


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_different_arguments_have_different_digests(left: list[str], right: list[str]) -> None:
    assert (request_digest(*left) == request_digest(*right)) == (left == right)


@pytest.mark.parametrize(("rows", "page", "last"), [([], [], None), ([1, 2], [1, 2], None), ([1, 2, 3], [1, 2], "2")])
def test_a_row_beyond_the_page_makes_a_token_of_the_last_one_on_it(
    rows: list[int], page: list[int], last: str | None
) -> None:
    found, token = cut_page(rows, 2, DIGEST, lambda row: [str(row)])
    assert found == page
    assert token == ("" if last is None else token_for(DIGEST, [last]))


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_a_number_comes_back_from_a_key(number: int) -> None:
    assert number_in(str(number)) == number


@pytest.mark.parametrize(
    "key", ["", "x", "1.0", " 1", "1_0", "+1", "٣", str(2**63), str(-(2**63)), "9" * 5_000, "11", "-1"]
)
def test_what_is_no_number_within_its_bounds_is_a_mismatch(key: str) -> None:
    with pytest.raises(DomainError) as caught:
        number_in(key, smallest=0, largest=10, field="cursor")
    assert caught.value.reason is Reason.PAGE_TOKEN_MISMATCH
    assert caught.value.metadata == {"field": "cursor"}
