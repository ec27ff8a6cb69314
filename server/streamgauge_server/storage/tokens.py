"""Access tokens, kept without their secrets."""

from __future__ import annotations

import builtins

from sqlalchemy import Connection, insert, select, tuple_, update

from streamgauge_server.model.clock import Clock
from streamgauge_server.model.entities import Token
from streamgauge_server.model.errors import DomainError, Reason
from streamgauge_server.storage import tables
from streamgauge_server.storage.database import Database

_COLUMNS = (
    tables.tokens.c.id,
    tables.tokens.c.tenant,
    tables.tokens.c.display_name,
    tables.tokens.c.scopes,
    tables.tokens.c.create_time,
    tables.tokens.c.expire_time,
    tables.tokens.c.revoke_time,
    tables.tokens.c.secret_hash,
)


class Tokens:
    """Stores, finds, lists and revokes tokens. A token is found whether or not it still works: callers look."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, token: Token, secret_hash: bytes) -> Token:
        """Stores a token and returns it.

        Raises:
            DomainError: TOKEN_ALREADY_EXISTS when the id is taken, STORE_UNAVAILABLE.
        """
        t = tables.tokens

        def work(connection: Connection) -> None:
            if connection.execute(select(t.c.id).where(t.c.id == token.id)).first() is not None:
                name = f"tokens/{token.id}"
                raise DomainError(Reason.TOKEN_ALREADY_EXISTS, f"{name} exists already", metadata={"name": name})
            connection.execute(
                insert(t).values(
                    id=token.id,
                    tenant=token.tenant,
                    display_name=token.display_name,
                    scopes=sorted(token.scopes),
                    secret_hash=secret_hash,
                    create_time=token.create_time,
                    expire_time=token.expire_time,
                    revoke_time=token.revoke_time,
                )
            )

        await self._database.write(work)
        return token

    async def by_id(self, id: str) -> tuple[Token, bytes] | None:
        """Returns a token of any tenant by its id with the hash of its secret, or None.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(*_COLUMNS).where(tables.tokens.c.id == id)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else (_token(row), row.secret_hash)

    async def list(self, tenant: str, *, after: tuple[int, str] | None = None, limit: int) -> builtins.list[Token]:
        """Returns up to `limit` tokens of a tenant, newest first, that follow `after` (create time and id).

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        t = tables.tokens
        query = select(*_COLUMNS).where(t.c.tenant == tenant)
        if after is not None:
            query = query.where(tuple_(t.c.create_time, t.c.id) < after)
        query = query.order_by(t.c.create_time.desc(), t.c.id.desc()).limit(limit)
        return await self._database.read(lambda connection: [_token(row) for row in connection.execute(query)])

    async def revoke(self, tenant: str, id: str) -> Token:
        """Revokes a token from now on and returns it. A second time changes nothing.

        Raises:
            DomainError: TOKEN_NOT_FOUND, also for another tenant's token, STORE_UNAVAILABLE.
        """
        t = tables.tokens
        mine = (t.c.tenant == tenant, t.c.id == id)
        now = self._clock.now()

        def work(connection: Connection) -> Token:
            connection.execute(update(t).where(*mine, t.c.revoke_time.is_(None)).values(revoke_time=now))
            row = connection.execute(select(*_COLUMNS).where(*mine)).one_or_none()
            if row is None:
                name = f"tokens/{id}"
                raise DomainError(Reason.TOKEN_NOT_FOUND, f"there is no {name}", metadata={"name": name})
            return _token(row)

        return await self._database.write(work)

    async def any(self) -> bool:
        """Tells whether a token of any tenant was ever created, also when all of them have expired or are revoked.

        A server that asks for tokens as soon as there is one must not open its doors again when the last one ends.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        query = select(tables.tokens.c.id).limit(1)
        return await self._database.read(lambda connection: connection.execute(query).first() is not None)


def _token(row: tables.AnyRow) -> Token:
    return Token(
        id=row.id,
        tenant=row.tenant,
        display_name=row.display_name,
        scopes=frozenset(row.scopes),
        create_time=row.create_time,
        expire_time=row.expire_time,
        revoke_time=row.revoke_time,
    )
