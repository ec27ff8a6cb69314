"""Access tokens."""

from __future__ import annotations

import pytest
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.entities import Token
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.storage.store import Store

from tests.conformance.conftest import START


def token(number: int, tenant: str = "t", expire_time: int | None = None) -> Token:
    return Token(
        id=f"tok{number:03}",
        tenant=tenant,
        display_name=f"Token {number}",
        scopes=frozenset({"read:jobs", "admin"}),
        create_time=START + number // 2,
        expire_time=expire_time,
    )


def digest(number: int) -> bytes:
    return bytes([number]) * 32


async def test_a_token_is_found_by_its_id_with_its_hash(store: Store) -> None:
    created = await store.tokens.create(token(1, expire_time=START + 100), digest(1))
    assert created == token(1, expire_time=START + 100)
    assert await store.tokens.by_id("tok001") == (created, digest(1))
    assert await store.tokens.by_id("TOK001") is None


async def test_a_taken_id_is_refused(store: Store) -> None:
    await store.tokens.create(token(1), digest(1))
    with pytest.raises(DomainError) as refused:
        await store.tokens.create(token(1, tenant="u"), digest(2))
    assert refused.value.reason == Reason.TOKEN_ALREADY_EXISTS
    assert await store.tokens.by_id("tok001") == (token(1), digest(1))


async def test_revoking_takes_effect_at_once_and_only_the_first_time(store: Store, clock: FixedClock) -> None:
    await store.tokens.create(token(1), digest(1))
    clock.micros += 5
    revoked = await store.tokens.revoke("t", "tok001")
    clock.micros += 5
    assert revoked.revoke_time == START + 5
    assert await store.tokens.revoke("t", "tok001") == revoked
    assert await store.tokens.by_id("tok001") == (revoked, digest(1))


async def test_another_tenants_token_cannot_be_revoked(store: Store) -> None:
    await store.tokens.create(token(1), digest(1))
    for tenant, id_ in (("u", "tok001"), ("t", "tok002")):
        with pytest.raises(DomainError) as refused:
            await store.tokens.revoke(tenant, id_)
        assert refused.value.reason == Reason.TOKEN_NOT_FOUND
    found = await store.tokens.by_id("tok001")
    assert found is not None
    assert found[0].revoke_time is None


async def test_a_tenants_tokens_are_listed_newest_first_a_page_at_a_time(store: Store) -> None:
    for number in range(9):
        await store.tokens.create(token(number), digest(number))
    await store.tokens.create(token(100, tenant="u"), digest(100))
    seen: list[Token] = []
    while page := await store.tokens.list("t", after=(seen[-1].create_time, seen[-1].id) if seen else None, limit=4):
        seen += page
    assert seen == [token(number) for number in reversed(range(9))]


async def test_any_tells_whether_there_ever_was_a_token_of_any_tenant(store: Store, clock: FixedClock) -> None:
    assert not await store.tokens.any()
    await store.tokens.create(token(1, tenant="u", expire_time=START + 10), digest(1))
    assert await store.tokens.any()
    clock.micros = START + 10
    await store.tokens.revoke("u", "tok001")
    assert await store.tokens.any()
