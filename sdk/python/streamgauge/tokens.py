"""`client.tokens`: the access tokens of the caller's tenant. All of it needs the scope `admin`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from streamgauge import _decode
from streamgauge._encode import names, put_time
from streamgauge.names import token_name
from streamgauge.paging import AsyncPager, Page, Pager
from streamgauge.resources import NewToken, Token
from streamgauge.v1 import token_service_pb2

if TYPE_CHECKING:
    from streamgauge.v1.token_service_pb2_grpc import TokenServiceAsyncStub, TokenServiceStub


def _create(
    scopes: Iterable[str], display_name: str, expire_time: datetime | None
) -> token_service_pb2.CreateTokenRequest:
    message = token_service_pb2.Token(scopes=names(scopes), display_name=display_name)
    if expire_time is not None:
        put_time(message.expire_time, expire_time, "expire_time")
    return token_service_pb2.CreateTokenRequest(token=message)


def _page(response: token_service_pb2.ListTokensResponse) -> Page[Token]:
    return Page(tuple(map(_decode.token, response.tokens)), response.next_page_token)


class Tokens:
    """`client.tokens`. A token is named by its id or its full name (`tokens/...`)."""

    def __init__(self, stub: TokenServiceStub) -> None:
        self._stub = stub

    def create(
        self,
        scopes: Iterable[str],
        *,
        display_name: str = "",
        expire_time: datetime | None = None,
        timeout: float | None = None,
    ) -> NewToken:
        """Creates a token. Its secret is in the answer and nowhere else.

        Example:
            >>> new = client.tokens.create(["write:source_metrics"], display_name="collector")
            >>> writer = Client("metrics.example:443", token=new.secret, tls=True)
        """
        response = self._stub.CreateToken(_create(scopes, display_name, expire_time), timeout=timeout)
        return NewToken(_decode.token(response.token), response.secret)

    def list(self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None) -> Pager[Token]:
        """Returns the tokens, the newest first, revoked ones among them."""

        def fetch(token: str) -> Page[Token]:
            request = token_service_pb2.ListTokensRequest(page_size=page_size, page_token=token)
            return _page(self._stub.ListTokens(request, timeout=timeout))

        return Pager(fetch, page_token)

    def revoke(self, token: str, *, timeout: float | None = None) -> Token:
        """Revokes a token at once. Revoking twice changes nothing. TokenNotFoundError when there is none."""
        request = token_service_pb2.RevokeTokenRequest(name=token_name(token))
        return _decode.token(self._stub.RevokeToken(request, timeout=timeout).token)


class AsyncTokens:
    """`client.tokens` of the asyncio client: the twin of `Tokens`."""

    def __init__(self, stub: TokenServiceAsyncStub) -> None:
        self._stub = stub

    async def create(
        self,
        scopes: Iterable[str],
        *,
        display_name: str = "",
        expire_time: datetime | None = None,
        timeout: float | None = None,
    ) -> NewToken:
        """Creates a token. Its secret is in the answer and nowhere else."""
        response = await self._stub.CreateToken(_create(scopes, display_name, expire_time), timeout=timeout)
        return NewToken(_decode.token(response.token), response.secret)

    def list(self, *, page_size: int = 0, page_token: str = "", timeout: float | None = None) -> AsyncPager[Token]:
        """Returns the tokens, the newest first, revoked ones among them."""

        async def fetch(token: str) -> Page[Token]:
            request = token_service_pb2.ListTokensRequest(page_size=page_size, page_token=token)
            return _page(await self._stub.ListTokens(request, timeout=timeout))

        return AsyncPager(fetch, page_token)

    async def revoke(self, token: str, *, timeout: float | None = None) -> Token:
        """Revokes a token at once. Revoking twice changes nothing. TokenNotFoundError when there is none."""
        request = token_service_pb2.RevokeTokenRequest(name=token_name(token))
        return _decode.token((await self._stub.RevokeToken(request, timeout=timeout)).token)
