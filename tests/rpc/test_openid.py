"""JWTs of an OpenID provider, signed with real keys that a real HTTP server publishes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from streamgauge.v1 import server_service_pb2, source_service_pb2
from streamgauge_server.model.entities import Caller
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.services.openid import (
    FETCH_PAUSE_SECONDS,
    KEYS_FRESH_SECONDS,
    KEYS_USABLE_SECONDS,
    LEEWAY_SECONDS,
    OpenIdVerifier,
    Provider,
)

from tests.rpc.serving import Start, refused

ISSUER, AUDIENCE = "https://id.example", "streamgauge"
RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


class Publisher:
    """Publishes a key set by HTTP; `broken` makes it answer 500."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = [rsa_jwk("r1", RSA_KEY), ec_jwk("e1")]
        self.broken = False
        self.fetches = 0
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.fetches += 1
                body = json.dumps({"keys": publisher.keys}).encode()
                self.send_response(500 if publisher.broken else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Ticks:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def rsa_jwk(key_id: str, key: rsa.RSAPrivateKey, **extra: Any) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "alg": "RS256", **extra}


def ec_jwk(key_id: str) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": key_id, "alg": "ES256"}


def sign(
    key: Any = RSA_KEY, algorithm: str = "RS256", key_id: str | None = "r1", drop: str = "", **changes: Any
) -> str:
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "alice",
        "exp": int(time.time()) + 600,
        "tenant": "acme",
        "scope": "openid read:jobs write:jobs",
    } | changes
    claims.pop(drop, None)
    return jwt.encode(claims, key, algorithm, headers=None if key_id is None else {"kid": key_id})


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    publisher = Publisher()
    yield publisher
    publisher.close()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def verifier(publisher: Publisher, ticks: Ticks) -> OpenIdVerifier:
    return OpenIdVerifier(Provider(ISSUER, AUDIENCE, publisher.url), ticks)


async def reason_of(verifier: OpenIdVerifier, token: str) -> Reason | None:
    try:
        await verifier.verify(token)
    except DomainError as error:
        return error.reason
    return None


async def test_a_jwt_opens_the_tenant_of_its_claim_with_the_scopes_we_know(verifier: OpenIdVerifier) -> None:
    caller, expire_time = await verifier.verify(sign(exp=4_000_000_000))
    assert caller == Caller("acme", frozenset({"read:jobs", "write:jobs"}), "alice")
    assert expire_time == (4_000_000_000 + LEEWAY_SECONDS) * 1_000_000


async def test_both_kinds_of_keys_are_accepted(verifier: OpenIdVerifier) -> None:
    assert await reason_of(verifier, sign()) is None
    assert await reason_of(verifier, sign(EC_KEY, "ES256", "e1")) is None


async def test_scopes_may_be_a_list_and_claims_may_have_other_names(publisher: Publisher) -> None:
    provider = Provider(ISSUER, AUDIENCE, publisher.url, tenant_claim="https://x/org", scopes_claim="permissions")
    claims: dict[str, Any] = {"https://x/org": "umbrella", "permissions": ["read:jobs", "admin", 7]}
    token = sign(**claims)
    caller, _ = await OpenIdVerifier(provider).verify(token)
    assert caller == Caller("umbrella", frozenset({"read:jobs", "admin"}), "alice")


async def test_a_jwt_without_scopes_may_do_nothing(verifier: OpenIdVerifier) -> None:
    caller, _ = await verifier.verify(sign(drop="scope"))
    assert caller.scopes == frozenset()


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (lambda: sign(iss="https://evil.example"), Reason.TOKEN_INVALID),
        (lambda: sign(aud="another"), Reason.TOKEN_INVALID),
        (lambda: sign(drop="exp"), Reason.TOKEN_INVALID),
        (lambda: sign(drop="aud"), Reason.TOKEN_INVALID),
        (lambda: sign(drop="iss"), Reason.TOKEN_INVALID),
        (lambda: sign(drop="tenant"), Reason.TOKEN_INVALID),
        (lambda: sign(tenant="a/b"), Reason.TOKEN_INVALID),
        (lambda: sign(tenant=["a"]), Reason.TOKEN_INVALID),
        (lambda: sign(nbf=int(time.time()) + 600), Reason.TOKEN_INVALID),
        (lambda: sign(exp="soon"), Reason.TOKEN_INVALID),
        (lambda: sign(exp=int(time.time()) - LEEWAY_SECONDS - 10), Reason.TOKEN_EXPIRED),
        (lambda: sign(exp=int(time.time()) - 5), None),
        (lambda: sign(OTHER_KEY), Reason.TOKEN_INVALID),
        (lambda: sign(OTHER_KEY, key_id="unknown"), Reason.TOKEN_INVALID),
        (lambda: sign(key_id=None), Reason.TOKEN_INVALID),
        (lambda: sign(EC_KEY, "ES256", "r1"), Reason.TOKEN_INVALID),
        (lambda: sign("secret" * 10, "HS256", "r1"), Reason.TOKEN_INVALID),
        (lambda: sign("", "none", "r1"), Reason.TOKEN_INVALID),
        (lambda: sign(algorithm="RS512"), Reason.TOKEN_INVALID),
        (lambda: sign()[:-10] + "AAAAAAAAAA", Reason.TOKEN_INVALID),
        (lambda: "a.b.c", Reason.TOKEN_INVALID),
        (lambda: "..", Reason.TOKEN_INVALID),
    ],
)
async def test_what_is_wrong_with_a_jwt_decides_its_reason(
    verifier: OpenIdVerifier, token: Any, reason: Reason | None
) -> None:
    assert await reason_of(verifier, token()) is reason


async def test_a_public_key_does_not_pass_for_a_shared_secret(verifier: OpenIdVerifier, publisher: Publisher) -> None:
    """The classic confusion: a token signed by HMAC with the published key as its secret."""
    publisher.keys[0]["alg"] = "HS256"
    assert await reason_of(verifier, sign("secret" * 10, "HS256", "r1")) is Reason.TOKEN_INVALID


async def test_keys_for_encryption_do_not_sign(verifier: OpenIdVerifier, publisher: Publisher) -> None:
    publisher.keys = [rsa_jwk("r1", RSA_KEY, use="enc")]
    assert await reason_of(verifier, sign()) is Reason.TOKEN_INVALID


async def test_keys_are_fetched_once_and_again_when_they_are_old(
    verifier: OpenIdVerifier, publisher: Publisher, ticks: Ticks
) -> None:
    for _ in range(3):
        await verifier.verify(sign())
    assert publisher.fetches == 1
    ticks.seconds += KEYS_FRESH_SECONDS + 1
    await verifier.verify(sign())
    assert publisher.fetches == 2


async def test_a_new_key_of_the_provider_is_found(verifier: OpenIdVerifier, publisher: Publisher, ticks: Ticks) -> None:
    await verifier.verify(sign())
    publisher.keys.append(rsa_jwk("r2", OTHER_KEY))
    ticks.seconds += FETCH_PAUSE_SECONDS
    await verifier.verify(sign(OTHER_KEY, key_id="r2"))


async def test_made_up_key_ids_do_not_become_requests_to_the_provider(
    verifier: OpenIdVerifier, publisher: Publisher, ticks: Ticks
) -> None:
    for number in range(20):
        assert await reason_of(verifier, sign(OTHER_KEY, key_id=f"k{number}")) is Reason.TOKEN_INVALID
    assert publisher.fetches == 1
    ticks.seconds += FETCH_PAUSE_SECONDS
    assert await reason_of(verifier, sign(OTHER_KEY, key_id="k")) is Reason.TOKEN_INVALID
    assert publisher.fetches == 2


async def test_a_provider_that_is_away_is_unavailable_and_known_keys_last_an_hour(
    verifier: OpenIdVerifier, publisher: Publisher, ticks: Ticks
) -> None:
    publisher.broken = True
    with pytest.raises(DomainError) as caught:
        await verifier.verify(sign())
    assert caught.value.reason is Reason.IDENTITY_PROVIDER_UNAVAILABLE
    assert caught.value.metadata == {"issuer": ISSUER}
    assert caught.value.retry_after == FETCH_PAUSE_SECONDS
    publisher.broken = False
    ticks.seconds += FETCH_PAUSE_SECONDS
    assert await reason_of(verifier, sign()) is None
    publisher.broken = True
    ticks.seconds += KEYS_USABLE_SECONDS
    assert await reason_of(verifier, sign()) is None
    ticks.seconds += FETCH_PAUSE_SECONDS
    assert await reason_of(verifier, sign()) is Reason.IDENTITY_PROVIDER_UNAVAILABLE


async def test_a_provider_that_answers_nonsense_is_unavailable(verifier: OpenIdVerifier, publisher: Publisher) -> None:
    publisher.keys = [{"kty": "nonsense"}]
    assert await reason_of(verifier, sign()) is Reason.IDENTITY_PROVIDER_UNAVAILABLE


async def test_a_server_with_a_provider_takes_its_jwts_beside_tokens(start: Start, publisher: Publisher) -> None:
    stubs = await start(openid={"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": publisher.url})
    about = server_service_pb2.GetServerInfoRequest()
    with refused(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING"):
        await stubs.server.GetServerInfo(about)
    header = (("authorization", f"Bearer {sign()}"),)
    answer = await stubs.server.GetServerInfo(about, metadata=header)
    assert (answer.tenant, list(answer.scopes)) == ("acme", ["read:jobs", "write:jobs"])
    assert {"openid", "authentication"} <= set(answer.features)
    with refused(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"):
        await stubs.sources.GetSource(source_service_pb2.GetSourceRequest(name="sources/x"), metadata=header)
    forged = (("authorization", f"Bearer {sign(OTHER_KEY)}"),)
    with refused(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
        await stubs.server.GetServerInfo(about, metadata=forged)
