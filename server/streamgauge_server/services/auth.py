"""Who is calling: access tokens, JWTs of an OpenID provider, and the open mode of a server without any token."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from streamgauge_server.model.clock import MICROS_PER_SECOND, Clock, isoformat
from streamgauge_server.model.entities import DEFAULT_TENANT, SCOPES, Caller, Token
from streamgauge_server.model.errors import DomainError, Reason

SECRET_PREFIX = "sg_"
CACHE_SECONDS = 5
"""How long a token that was read from the store stands: within this time a revocation reaches every server."""
MAX_CACHED = 10_000

OPEN_CALLER = Caller(DEFAULT_TENANT, frozenset(SCOPES))
"""The caller of a server that asks for no token."""


class AuthMode(Enum):
    """When callers must show a token."""

    AUTO = "auto"
    """As soon as one exists, and for ever after: revoking the last one does not open the server again."""
    REQUIRED = "required"
    OFF = "off"


class TokenRecords(Protocol):
    """What authentication needs of the store."""

    async def by_id(self, id: str) -> tuple[Token, bytes] | None:
        """Returns a token and the hash of its secret, also when it has expired or is revoked; None for no such id."""
        ...

    async def any(self) -> bool:
        """Tells whether a token was ever created, for whatever tenant."""
        ...


class JwtVerifier(Protocol):
    """Checks the JWTs of an OpenID provider."""

    async def verify(self, token: str) -> tuple[Caller, int]:
        """Returns the caller of a JWT and when it expires, in microseconds.

        Raises:
            DomainError: TOKEN_INVALID, TOKEN_EXPIRED, IDENTITY_PROVIDER_UNAVAILABLE.
        """
        ...


def require_scope(caller: Caller, scope: str) -> None:
    """Refuses a caller without a scope. Called before anything tells whether a resource exists.

    Raises:
        DomainError: SCOPE_MISSING.
    """
    if not caller.may(scope):
        raise DomainError(Reason.SCOPE_MISSING, f"the token has no scope {scope!r}", metadata={"scope": scope})


def hash_secret(secret: str) -> bytes:
    """Returns what is stored of a secret, its SHA-256.

    A slow, salted hash protects guessable secrets. These are 256 random bits: no dictionary holds them and no machine
    counts through them, so the fast hash is as safe and costs a call less than a microsecond.
    """
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def token_id_of(secret: str) -> str | None:
    """Returns the id inside a secret `sg_{id}_{random}`, or None when it does not look like one."""
    if not secret.startswith(SECRET_PREFIX):
        return None
    token_id, _, rest = secret[len(SECRET_PREFIX) :].partition("_")
    return token_id if token_id and rest else None


@dataclass(frozen=True, slots=True)
class _Known:
    """What a cached token opens, until when the cache stands (`fresh_until`) and until when the token itself does."""

    secret_hash: bytes
    caller: Caller
    fresh_until: int
    expire_time: int | None
    revoked: bool


class Authenticator:
    """Turns the `authorization` header of a call into its caller. One instance serves all calls of a process."""

    def __init__(
        self, records: TokenRecords, clock: Clock, mode: AuthMode = AuthMode.AUTO, jwts: JwtVerifier | None = None
    ) -> None:
        self._records = records
        self._clock = clock
        self._mode = mode
        self._jwts = jwts
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._required = mode is AuthMode.REQUIRED or (mode is AuthMode.AUTO and jwts is not None)
        self._open_until = 0

    async def required(self) -> bool:
        """Tells whether callers must show a token, now."""
        if self._required or self._mode is AuthMode.OFF:
            return self._required
        now = self._clock.now()
        if now >= self._open_until:
            self._required = await self._records.any()
            self._open_until = now + CACHE_SECONDS * MICROS_PER_SECOND
        return self._required

    async def authenticate(self, authorization: str | None) -> Caller:
        """Returns the caller of a call with this `authorization` header.

        A header is checked even where none is needed: a wrong token never becomes the open caller by accident. With
        mode `off` it is not looked at.

        Raises:
            DomainError: TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, STORE_UNAVAILABLE, IDENTITY_PROVIDER_UNAVAILABLE.
        """
        if authorization is None:
            if self._mode is AuthMode.OFF or not await self.required():
                return OPEN_CALLER
            raise DomainError(Reason.TOKEN_MISSING, "this server needs a token: send 'authorization: Bearer <token>'")
        if self._mode is AuthMode.OFF:
            return OPEN_CALLER
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise DomainError(Reason.TOKEN_MISSING, "the authorization header must have the form 'Bearer <token>'")
        credentials = credentials.strip()
        token_id = token_id_of(credentials)
        if token_id is not None:
            return await self._by_secret(token_id, credentials)
        if self._jwts is not None and credentials.count(".") == 2:
            return await self._by_jwt(self._jwts, credentials)
        raise _invalid()

    def forget(self, token_id: str) -> None:
        """Drops what is cached about a token, so that a change made here stands in this process at once."""
        self._known.pop(token_id, None)
        self._open_until = 0

    async def _by_secret(self, token_id: str, secret: str) -> Caller:
        now = self._clock.now()
        known = self._known.get(token_id)
        if known is None or now >= known.fresh_until:
            found = await self._records.by_id(token_id)
            if found is None:
                # Unknown ids are not cached: whoever tries ids at random must not push out the real ones.
                raise _invalid()
            token, secret_hash = found
            known = self._remember(
                token_id,
                _Known(
                    secret_hash,
                    Caller(token.tenant, token.scopes, token.id),
                    now + CACHE_SECONDS * MICROS_PER_SECOND,
                    token.expire_time,
                    token.revoke_time is not None,
                ),
            )
        if not hmac.compare_digest(hash_secret(secret), known.secret_hash) or known.revoked:
            raise _invalid()
        if known.expire_time is not None and now >= known.expire_time:
            raise token_expired(known.expire_time)
        return known.caller

    async def _by_jwt(self, jwts: JwtVerifier, token: str) -> Caller:
        now = self._clock.now()
        digest = hash_secret(token)
        # The key cannot be mistaken for a token's id, which holds no colon.
        key = f"jwt:{digest.hex()}"
        known = self._known.get(key)
        if known is None or now >= known.fresh_until:
            caller, expire_time = await jwts.verify(token)
            fresh_until = now + CACHE_SECONDS * MICROS_PER_SECOND
            known = self._remember(key, _Known(digest, caller, fresh_until, expire_time, revoked=False))
        if known.expire_time is not None and now >= known.expire_time:
            raise token_expired(known.expire_time)
        return known.caller

    def _remember(self, key: str, known: _Known) -> _Known:
        self._known[key] = known
        self._known.move_to_end(key)
        if len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
        return known


def token_expired(expire_time: int) -> DomainError:
    """The error of a token that has expired; `expire_time` in microseconds."""
    moment = isoformat(expire_time)
    return DomainError(Reason.TOKEN_EXPIRED, f"the token expired at {moment}", metadata={"expire_time": moment})


def _invalid() -> DomainError:
    return DomainError(Reason.TOKEN_INVALID, "the token is unknown, malformed or revoked")
