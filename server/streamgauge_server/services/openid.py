"""JWTs of an OpenID provider: checked against its published keys, turned into a caller by their claims."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
import structlog

from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.model.entities import SCOPES, Caller
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.model.names import id_problem
from streamgauge_server.services.auth import token_expired

ALGORITHMS = ("RS256", "ES256")
"""Signatures that are accepted, whatever a token's header asks for."""
LEEWAY_SECONDS = 30
"""How far the provider's clock may be off."""
FETCH_TIMEOUT_SECONDS = 5
KEYS_FRESH_SECONDS = 300
KEYS_USABLE_SECONDS = 3_600
"""How long fetched keys are used while the provider cannot be reached."""
FETCH_PAUSE_SECONDS = 30
"""Shortest time between two fetches, so that tokens with made-up key ids do not become requests to the provider."""

_log = structlog.stdlib.get_logger("streamgauge.openid")


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenID provider, and which claims of its JWTs name the tenant and the scopes."""

    issuer: str
    audience: str
    jwks_url: str
    tenant_claim: str = "tenant"
    scopes_claim: str = "scope"


class KeySet:
    """The provider's public keys by key id, fetched when they are needed and again when they are old."""

    def __init__(self, url: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT_SECONDS)
        self._monotonic = monotonic
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched: float | None = None
        self._attempted: float | None = None
        self._lock = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """Returns the key of this id, or None when the provider has no such key.

        Raises:
            ConnectionError: there are no keys, or they are over an hour old, and the provider cannot be reached.
        """
        if self._wants_fetch(key_id):
            async with self._lock:
                if self._wants_fetch(key_id):
                    await self._fetch()
        if self._fetched is None or self._monotonic() - self._fetched > KEYS_USABLE_SECONDS:
            raise ConnectionError("the keys of the OpenID provider cannot be fetched")
        return self._keys.get(key_id)

    def _wants_fetch(self, key_id: str) -> bool:
        now = self._monotonic()
        if self._attempted is not None and now - self._attempted < FETCH_PAUSE_SECONDS:
            return False
        return self._fetched is None or now - self._fetched > KEYS_FRESH_SECONDS or key_id not in self._keys

    async def _fetch(self) -> None:
        self._attempted = self._monotonic()
        try:
            # PyJWT's client blocks.
            key_set = await asyncio.to_thread(self._client.get_jwk_set, True)
        except (jwt.PyJWTError, OSError, ValueError) as error:
            _log.warning("cannot fetch the keys of the OpenID provider", url=self._client.uri, error=str(error))
            return
        self._keys = {key.key_id: key for key in key_set.keys if key.key_id and key.public_key_use in (None, "sig")}
        self._fetched = self._monotonic()


class OpenIdVerifier:
    """Checks signature, issuer, audience and times of a JWT, and reads tenant and scopes out of its claims."""

    def __init__(self, provider: Provider, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._keys = KeySet(provider.jwks_url, monotonic)

    async def verify(self, token: str) -> tuple[Caller, int]:
        """Returns the caller of a JWT and when it expires, in microseconds, the leeway included.

        Raises:
            DomainError: TOKEN_INVALID, TOKEN_EXPIRED, IDENTITY_PROVIDER_UNAVAILABLE.
        """
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise _invalid("is malformed") from error
        if header.get("alg") not in ALGORITHMS:
            raise _invalid(f"must be signed with one of {', '.join(ALGORITHMS)}")
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise _invalid("names no key ('kid')")
        try:
            key = await self._keys.find(key_id)
        except ConnectionError as error:
            raise DomainError(
                Reason.IDENTITY_PROVIDER_UNAVAILABLE,
                f"{error}; tokens of {self._provider.issuer} cannot be checked",
                metadata={"issuer": self._provider.issuer},
                retry_after=FETCH_PAUSE_SECONDS,
            ) from error
        if key is None:
            raise _invalid("is signed with a key that its provider does not have")
        return self._caller(self._claims(token, key))

    def _claims(self, token: str, key: jwt.PyJWK) -> Mapping[str, Any]:
        try:
            return jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._provider.audience,
                issuer=self._provider.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            # The signature has been checked, so the claim can be believed.
            unverified = jwt.decode(token, options={"verify_signature": False})
            raise token_expired(int(unverified["exp"]) * MICROS_PER_SECOND) from error
        except jwt.MissingRequiredClaimError as error:
            raise _invalid(f"has no claim {error.claim!r}") from error
        except jwt.InvalidAudienceError as error:
            raise _invalid("is meant for another audience") from error
        except jwt.InvalidIssuerError as error:
            raise _invalid("comes from another issuer") from error
        except jwt.ImmatureSignatureError as error:
            raise _invalid("is not valid yet") from error
        except (jwt.InvalidTokenError, jwt.PyJWKError) as error:
            raise _invalid("has a wrong signature or malformed claims") from error

    def _caller(self, claims: Mapping[str, Any]) -> tuple[Caller, int]:
        tenant = claims.get(self._provider.tenant_claim)
        if not isinstance(tenant, str) or id_problem(tenant):
            raise _invalid(f"names no tenant in its claim {self._provider.tenant_claim!r}")
        told = claims.get(self._provider.scopes_claim, "")
        words = told.split() if isinstance(told, str) else told if isinstance(told, list) else []
        # Providers add scopes of their own, such as `openid`: what is not ours says nothing here.
        scopes = frozenset(scope for scope in SCOPES if scope in words)
        subject = claims.get("sub")
        expire_time = (int(claims["exp"]) + LEEWAY_SECONDS) * MICROS_PER_SECOND
        return Caller(tenant, scopes, subject if isinstance(subject, str) else ""), expire_time


def _invalid(problem: str) -> DomainError:
    return DomainError(Reason.TOKEN_INVALID, f"the token {problem}")
