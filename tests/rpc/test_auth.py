"""Who is calling: tokens, scopes, and the server that is open until the first token."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import grpc
import pytest
from streamgauge.v1 import (
    metrics_service_pb2,
    server_service_pb2,
    source_service_pb2,
    token_service_pb2,
)
from streamgauge_server.app import App
from streamgauge_server.model.clock import FixedClock
from streamgauge_server.model.entities import DEFAULT_TENANT, SCOPES, Caller, Token
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.services.auth import (
    CACHE_SECONDS,
    MAX_CACHED,
    OPEN_CALLER,
    Authenticator,
    AuthMode,
    hash_secret,
    require_scope,
)
from streamgauge_server.services.tokens import Tokens

from tests.rpc.conftest import NOON, TokenRecords
from tests.rpc.serving import Start, Stubs, refused

SECOND = 1_000_000
UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED


def add(records: TokenRecords, id: str = "abc", **changes: Any) -> str:
    """Adds a token and returns its `authorization` header."""
    secret = f"sg_{id}_{'x' * 43}"
    token = Token(id, "acme", "", frozenset({"read:jobs"}), NOON, **changes)
    records.tokens[id] = (token, hash_secret(secret))
    return f"Bearer {secret}"


async def reason_of(authenticator: Authenticator, header: str | None) -> Reason | None:
    try:
        await authenticator.authenticate(header)
    except DomainError as error:
        return error.reason
    return None


async def test_a_token_opens_its_tenant_with_its_scopes(records: TokenRecords, clock: FixedClock) -> None:
    header = add(records)
    caller = await Authenticator(records, clock).authenticate(header)
    assert caller == Caller("acme", frozenset({"read:jobs"}), "abc")


async def test_without_any_token_everybody_may_do_everything_in_the_default_tenant(
    records: TokenRecords, clock: FixedClock
) -> None:
    assert await Authenticator(records, clock).authenticate(None) == OPEN_CALLER
    assert Caller(DEFAULT_TENANT, frozenset(SCOPES)) == OPEN_CALLER


async def test_the_first_token_closes_the_server_for_everybody_else(records: TokenRecords, clock: FixedClock) -> None:
    authenticator = Authenticator(records, clock)
    assert await reason_of(authenticator, None) is None
    add(records)
    clock.micros += CACHE_SECONDS * SECOND
    assert await reason_of(authenticator, None) is Reason.TOKEN_MISSING
    records.tokens.clear()
    clock.micros += CACHE_SECONDS * SECOND
    assert await reason_of(authenticator, None) is Reason.TOKEN_MISSING


async def test_required_asks_for_a_token_although_there_is_none(records: TokenRecords, clock: FixedClock) -> None:
    assert await reason_of(Authenticator(records, clock, AuthMode.REQUIRED), None) is Reason.TOKEN_MISSING


async def test_off_looks_at_nothing(records: TokenRecords, clock: FixedClock) -> None:
    add(records)
    authenticator = Authenticator(records, clock, AuthMode.OFF)
    for header in (None, "Bearer nonsense", "Basic x"):
        assert await authenticator.authenticate(header) == OPEN_CALLER
    assert records.lookups == 0


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("Bearer sg_abc_" + "y" * 43, Reason.TOKEN_INVALID),
        ("Bearer sg_other_" + "x" * 43, Reason.TOKEN_INVALID),
        ("Bearer sg_abc_", Reason.TOKEN_INVALID),
        ("Bearer sg__" + "x" * 43, Reason.TOKEN_INVALID),
        ("Bearer nonsense", Reason.TOKEN_INVALID),
        ("Bearer a.b.c", Reason.TOKEN_INVALID),
        ("Bearer ", Reason.TOKEN_INVALID),
        ("Bearer", Reason.TOKEN_INVALID),
        ("Bearer sg_abc_\udc80", Reason.TOKEN_INVALID),
        ("Basic dXNlcjpwYXNz", Reason.TOKEN_MISSING),
        ("", Reason.TOKEN_MISSING),
        (None, Reason.TOKEN_MISSING),
    ],
)
async def test_what_is_no_valid_token_is_refused(
    records: TokenRecords, clock: FixedClock, header: str | None, reason: Reason
) -> None:
    add(records)
    assert await reason_of(Authenticator(records, clock), header) is reason


async def test_a_wrong_token_is_refused_by_an_open_server_too(records: TokenRecords, clock: FixedClock) -> None:
    authenticator = Authenticator(records, clock)
    assert await reason_of(authenticator, None) is None
    assert await reason_of(authenticator, "Bearer sg_abc_" + "x" * 43) is Reason.TOKEN_INVALID


async def test_the_scheme_is_written_in_any_case(records: TokenRecords, clock: FixedClock) -> None:
    header = add(records)
    assert await reason_of(Authenticator(records, clock), header.replace("Bearer", "bEARER ")) is None


async def test_a_token_stops_to_work_at_its_expiry_also_while_it_is_cached(
    records: TokenRecords, clock: FixedClock
) -> None:
    header = add(records, expire_time=NOON + SECOND)
    authenticator = Authenticator(records, clock)
    assert await reason_of(authenticator, header) is None
    clock.micros = NOON + SECOND
    with pytest.raises(DomainError) as caught:
        await authenticator.authenticate(header)
    assert caught.value.reason is Reason.TOKEN_EXPIRED
    assert caught.value.metadata == {"expire_time": "2026-01-01T12:00:01Z"}
    assert records.lookups == 1


async def test_a_revocation_elsewhere_is_seen_within_the_time_that_lookups_are_cached(
    records: TokenRecords, clock: FixedClock
) -> None:
    header = add(records)
    authenticator = Authenticator(records, clock)
    for _ in range(10):
        assert await reason_of(authenticator, header) is None
    assert records.lookups == 1
    add(records, revoke_time=NOON)
    clock.micros += CACHE_SECONDS * SECOND
    assert await reason_of(authenticator, header) is Reason.TOKEN_INVALID


async def test_a_revocation_here_is_seen_at_once(records: TokenRecords, clock: FixedClock) -> None:
    header = add(records)
    authenticator = Authenticator(records, clock)
    assert await reason_of(authenticator, header) is None
    add(records, revoke_time=NOON)
    authenticator.forget("abc")
    assert await reason_of(authenticator, header) is Reason.TOKEN_INVALID


async def test_made_up_ids_do_not_push_real_tokens_out_of_the_cache(records: TokenRecords, clock: FixedClock) -> None:
    header = add(records)
    authenticator = Authenticator(records, clock)
    await authenticator.authenticate(header)
    for number in range(MAX_CACHED + 1):
        assert await reason_of(authenticator, f"Bearer sg_made{number}_up") is Reason.TOKEN_INVALID
    before = records.lookups
    await authenticator.authenticate(header)
    assert records.lookups == before


async def test_the_cache_is_bounded(records: TokenRecords, clock: FixedClock) -> None:
    authenticator = Authenticator(records, clock)
    headers = [add(records, f"t{number}") for number in range(MAX_CACHED + 1)]
    for header in headers:
        await authenticator.authenticate(header)
    before = records.lookups
    await authenticator.authenticate(headers[-1])
    assert records.lookups == before
    await authenticator.authenticate(headers[0])
    assert records.lookups == before + 1


def test_a_missing_scope_is_named_and_admin_has_all() -> None:
    with pytest.raises(DomainError) as caught:
        require_scope(Caller("t", frozenset({"read:jobs"})), "stop:jobs")
    assert (caught.value.reason, caught.value.metadata) == (Reason.SCOPE_MISSING, {"scope": "stop:jobs"})
    for scope in SCOPES:
        require_scope(Caller("t", frozenset({"admin"})), scope)


# From here on over a channel, with tokens in a real store.


async def create(stubs: Stubs, scopes: Collection[str], header: Any = None, **fields: Any) -> Any:
    request = token_service_pb2.CreateTokenRequest(token=token_service_pb2.Token(scopes=scopes, **fields))
    return await stubs.tokens.CreateToken(request, metadata=header)


def bearer(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


async def create_for(app: App, tenant: str, scopes: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Creates a token of any tenant behind the server's back, as the command line does."""
    assert app.store is not None
    _, secret = await Tokens(app.store, FixedClock(NOON)).create(Caller(tenant, frozenset({"admin"})), scopes=scopes)
    return bearer(secret)


async def test_the_first_token_closes_this_server_at_once(start: Start) -> None:
    stubs = await start()
    about = server_service_pb2.GetServerInfoRequest()
    assert "authentication" not in (await stubs.server.GetServerInfo(about)).features
    created = await create(stubs, ["admin"], display_name="first")
    with refused(UNAUTHENTICATED, "TOKEN_MISSING"):
        await stubs.server.GetServerInfo(about)
    answer = await stubs.server.GetServerInfo(about, metadata=bearer(created.secret))
    assert (answer.tenant, list(answer.scopes)) == ("default", ["admin"])
    assert "authentication" in answer.features


async def test_a_created_token_is_told_whole_and_its_secret_once(start: Start) -> None:
    stubs = await start()
    created = await create(stubs, ["read:jobs", "admin", "admin"], display_name="cli")
    token = created.token
    assert created.secret.startswith(f"sg_{token.name.removeprefix('tokens/')}_")
    assert len(created.secret.split("_", 2)[2]) == 43
    assert (token.display_name, list(token.scopes), token.tenant) == ("cli", ["admin", "read:jobs"], "default")
    assert token.create_time.ToMicroseconds() == NOON
    assert not token.HasField("expire_time")
    assert not token.HasField("revoke_time")
    listed = await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(), metadata=bearer(created.secret))
    assert list(listed.tokens) == [token]
    assert created.secret not in str(listed)


async def test_a_revoked_token_is_refused_at_once_and_revoking_again_changes_nothing(
    start: Start, clock: FixedClock
) -> None:
    stubs = await start()
    admin = bearer((await create(stubs, ["admin"])).secret)
    victim = await create(stubs, ["admin"], admin)
    revoke = token_service_pb2.RevokeTokenRequest(name=victim.token.name)
    await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(), metadata=bearer(victim.secret))
    first = await stubs.tokens.RevokeToken(revoke, metadata=admin)
    assert first.token.HasField("revoke_time")
    with refused(UNAUTHENTICATED, "TOKEN_INVALID"):
        await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(), metadata=bearer(victim.secret))
    clock.micros += SECOND
    assert await stubs.tokens.RevokeToken(revoke, metadata=admin) == first


async def test_an_expired_token_is_refused_with_the_moment(start: Start, clock: FixedClock) -> None:
    stubs = await start()
    expire_time = {"seconds": NOON // SECOND + 60}
    secret = (await create(stubs, ["admin"], expire_time=expire_time)).secret
    await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(), metadata=bearer(secret))
    clock.micros += 60 * SECOND
    with refused(UNAUTHENTICATED, "TOKEN_EXPIRED") as refusal:
        await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(), metadata=bearer(secret))
    assert refusal.metadata["expire_time"] == "2026-01-01T12:01:00Z"


async def test_wrong_fields_of_a_token_are_refused_all_at_once(start: Start) -> None:
    stubs = await start()
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD") as refusal:
        await create(stubs, ["admin", "rule:world"], display_name="a\x00b", expire_time={"seconds": NOON // SECOND})
    assert set(refusal.violations) == {"token.scopes[1]", "token.display_name", "token.expire_time"}
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD") as refusal:
        await create(stubs, [])
    assert set(refusal.violations) == {"token.scopes"}
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD") as refusal:
        await create(stubs, ["nope"] * 100_000)
    assert set(refusal.violations) == {"token.scopes"}
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await create(stubs, ["admin"], expire_time={"seconds": 1, "nanos": -1})


@pytest.mark.parametrize("name", ["", "tokens/", "sources/x", "tokens/a/b", "tokens/ü"])
async def test_a_malformed_name_of_a_token_is_refused(start: Start, name: str) -> None:
    stubs = await start()
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await stubs.tokens.RevokeToken(token_service_pb2.RevokeTokenRequest(name=name))


async def test_tokens_are_listed_a_page_at_a_time_newest_first(start: Start, clock: FixedClock) -> None:
    stubs = await start()
    admin = bearer((await create(stubs, ["admin"])).secret)
    names = []
    for _ in range(5):
        clock.micros += 1
        names.append((await create(stubs, ["read:jobs"], admin)).token.name)
    request = token_service_pb2.ListTokensRequest(page_size=2)
    seen: list[str] = []
    while True:
        page = await stubs.tokens.ListTokens(request, metadata=admin)
        assert len(page.tokens) <= 2
        seen += [token.name for token in page.tokens]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen[:5] == names[::-1]
    assert len(seen) == 6


async def test_page_tokens_that_are_damaged_or_foreign_and_negative_sizes_are_refused(start: Start) -> None:
    stubs = await start()
    for number in range(2):
        await stubs.sources.CreateSource(source_service_pb2.CreateSourceRequest(source_id=f"s{number}"))
    foreign = (await stubs.sources.ListSources(source_service_pb2.ListSourcesRequest(page_size=1))).next_page_token
    for page_token in (foreign, "%%%", "AAAA", "x" * 1_000):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_MISMATCH"):
            await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(page_token=page_token))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"):
        await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(page_size=-1))


async def test_another_tenants_tokens_are_not_there(start: Start) -> None:
    stubs = await start()
    assert stubs.app is not None
    mine = await create_for(stubs.app, "mine", ["admin"])
    theirs = await create_for(stubs.app, "theirs", ["admin"])
    (token,) = (await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(), metadata=theirs)).tokens
    with refused(grpc.StatusCode.NOT_FOUND, "TOKEN_NOT_FOUND") as refusal:
        await stubs.tokens.RevokeToken(token_service_pb2.RevokeTokenRequest(name=token.name), metadata=mine)
    assert refusal.metadata["name"] == token.name


async def test_a_created_token_has_the_tenant_of_its_creator(start: Start) -> None:
    stubs = await start()
    assert stubs.app is not None
    header = await create_for(stubs.app, "acme", ["admin"])
    assert (await create(stubs, ["read:jobs"], header, tenant="other")).token.tenant == "acme"


async def test_a_missing_scope_is_told_before_whether_something_exists(start: Start) -> None:
    stubs = await start()
    assert stubs.app is not None
    reader = await create_for(stubs.app, "default", ["read:source_metrics"])
    nobody = await create_for(stubs.app, "default", ["read:jobs"])
    get = source_service_pb2.GetSourceRequest(name="sources/none")
    delete = source_service_pb2.DeleteSourceRequest(name="sources/none")
    with refused(grpc.StatusCode.NOT_FOUND, "SOURCE_NOT_FOUND"):
        await stubs.sources.GetSource(get, metadata=reader)
    with refused(DENIED, "SCOPE_MISSING") as refusal:
        await stubs.sources.DeleteSource(delete, metadata=reader)
    assert refusal.metadata["scope"] == "write:source_metrics"
    with refused(DENIED, "SCOPE_MISSING") as refusal:
        await stubs.sources.GetSource(get, metadata=nobody)
    assert refusal.metadata["scope"] == "read:source_metrics"
    with refused(DENIED, "SCOPE_MISSING") as refusal:
        await stubs.tokens.ListTokens(token_service_pb2.ListTokensRequest(), metadata=reader)
    assert refusal.metadata["scope"] == "admin"


async def test_metrics_need_the_scope_of_the_kind_of_their_subjects(start: Start) -> None:
    stubs = await start()
    assert stubs.app is not None
    jobs = await create_for(stubs.app, "default", ["write:jobs", "read:jobs"])
    write = metrics_service_pb2.WriteMetricsRequest()
    write.observations.add(subject="sources/a").values["x"].int64_value = 1
    with refused(DENIED, "SCOPE_MISSING") as refusal:
        await stubs.metrics.WriteMetrics(write, metadata=jobs)
    assert refusal.metadata["scope"] == "write:source_metrics"
    with refused(DENIED, "SCOPE_MISSING") as refusal:
        await stubs.metrics.GetLatestMetrics(
            metrics_service_pb2.GetLatestMetricsRequest(subjects=["sources/a"]), metadata=jobs
        )
    assert refusal.metadata["scope"] == "read:source_metrics"


async def test_health_and_reflection_are_open_and_channelz_is_for_admins(start: Start) -> None:
    stubs = await start(auth="required")
    assert stubs.app is not None
    channel: Any = stubs.channel
    assert await channel.unary_unary("/grpc.health.v1.Health/Check")(b"") == b"\x08\x01"
    for version in ("v1", "v1alpha"):
        reflect = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
        answers = [answer async for answer in reflect(iter([b"\x3a\x00"]))]
        assert b"streamgauge.v1.SourceService" in answers[0]
    servers = channel.unary_unary("/grpc.channelz.v1.Channelz/GetServers")
    with refused(UNAUTHENTICATED, "TOKEN_MISSING"):
        await servers(b"")
    reader = await create_for(stubs.app, "default", ["read:jobs"])
    with refused(DENIED, "SCOPE_MISSING"):
        await servers(b"", metadata=reader)
    assert await servers(b"", metadata=await create_for(stubs.app, "default", ["admin"]))
