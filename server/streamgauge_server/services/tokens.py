"""Access tokens: created, listed and revoked by whoever has the scope `admin` in their tenant."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from streamgauge_server.model.clock import MAX_MICROS, Clock, isoformat
from streamgauge_server.model.entities import SCOPES, Caller, Token
from streamgauge_server.model.errors import Violation, invalid
from streamgauge_server.model.names import MAX_NAME_BYTES, id_problem, text_problem
from streamgauge_server.services.auth import SECRET_PREFIX, Authenticator, hash_secret, require_scope
from streamgauge_server.storage.store import Store

ADMIN = "admin"
_ID_BYTES = 10
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class TokenPage:
    """A page of tokens and whether more follow."""

    tokens: Sequence[Token]
    more: bool


class Tokens:
    """Creates, lists and revokes tokens; one instance serves all callers."""

    def __init__(self, store: Store, clock: Clock, authenticator: Authenticator | None = None) -> None:
        """`authenticator` is the one of this process, if any: it hears of every change at once."""
        self._store = store
        self._clock = clock
        self._authenticator = authenticator

    async def create(
        self, caller: Caller, *, scopes: Collection[str], display_name: str = "", expire_time: int | None = None
    ) -> tuple[Token, str]:
        """Creates a token of the caller's tenant; returns it with its secret, which is stored nowhere.

        `expire_time` is in microseconds; without it the token never expires.

        Raises:
            DomainError: SCOPE_MISSING, INVALID_FIELD.
        """
        require_scope(caller, ADMIN)
        now = self._clock.now()
        if violations := _violations(caller.tenant, scopes, display_name, expire_time, now):
            raise invalid(violations)
        token_id = base64.b32encode(secrets.token_bytes(_ID_BYTES)).decode("ascii").lower()
        secret = f"{SECRET_PREFIX}{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        token = Token(token_id, caller.tenant, display_name, frozenset(scopes), now, expire_time)
        await self._store.tokens.create(token, hash_secret(secret))
        self._tell(token_id)
        return token, secret

    async def list(self, caller: Caller, *, after: tuple[int, str] | None, page_size: int) -> TokenPage:
        """Returns a page of the tenant's tokens, the newest first, after the one with this create time and id.

        Raises:
            DomainError: SCOPE_MISSING.
        """
        require_scope(caller, ADMIN)
        found = await self._store.tokens.list(caller.tenant, after=after, limit=page_size + 1)
        return TokenPage(found[:page_size], len(found) > page_size)

    async def revoke(self, caller: Caller, token_id: str) -> Token:
        """Revokes a token: at once in this process, within `auth.CACHE_SECONDS` in others. Again changes nothing.

        Raises:
            DomainError: SCOPE_MISSING, TOKEN_NOT_FOUND, also for another tenant's token.
        """
        require_scope(caller, ADMIN)
        token = await self._store.tokens.revoke(caller.tenant, token_id)
        self._tell(token_id)
        return token

    def _tell(self, token_id: str) -> None:
        if self._authenticator is not None:
            self._authenticator.forget(token_id)


def _violations(
    tenant: str, scopes: Collection[str], display_name: str, expire_time: int | None, now: int
) -> list[Violation]:
    found: list[Violation] = []
    if problem := id_problem(tenant):
        found.append(Violation("token.tenant", problem))
    if problem := text_problem(display_name, MAX_NAME_BYTES):
        found.append(Violation("token.display_name", problem))
    if not scopes:
        found.append(Violation("token.scopes", f"must name at least one scope out of {', '.join(SCOPES)}"))
    elif len(scopes) > len(SCOPES):
        found.append(Violation("token.scopes", f"must have at most {len(SCOPES)} entries, has {len(scopes)}"))
    else:
        found.extend(
            Violation(f"token.scopes[{position}]", f"must be one of {', '.join(SCOPES)}, is {scope[:64]!r}")
            for position, scope in enumerate(scopes)
            if scope not in SCOPES
        )
    if expire_time is not None:
        if expire_time <= now:
            found.append(Violation("token.expire_time", f"must be in the future, is {isoformat(expire_time)}"))
        elif expire_time >= MAX_MICROS:
            found.append(Violation("token.expire_time", "must not be later than the year 9999"))
    return found
