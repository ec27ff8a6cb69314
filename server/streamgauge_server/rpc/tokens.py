"""`TokenService` at the gRPC edge: convert, call, convert."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
from streamgauge.v1 import token_service_pb2 as pb
from streamgauge.v1 import token_service_pb2_grpc as pb_grpc

from streamgauge_server.model.entities import Token
from streamgauge_server.model.errors import invalid_field
from streamgauge_server.model.names import id_problem
from streamgauge_server.rpc import convert
from streamgauge_server.rpc.context import current_caller
from streamgauge_server.services.page_tokens import number_in, page_size_of, request_digest, token_after, token_for
from streamgauge_server.services.tokens import Tokens

_Context = grpc.aio.ServicerContext[Any, Any]


class TokenServicer(pb_grpc.TokenServiceServicer):
    """Serves `streamgauge.v1.TokenService`."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def CreateToken(self, request: pb.CreateTokenRequest, context: _Context) -> pb.CreateTokenResponse:  # noqa: N802
        """Creates a token."""
        violations = convert.Violations()
        expire_time = violations.moment(request.token, "expire_time", "token.")
        violations.raise_if_any()
        token, secret = await self._tokens.create(
            current_caller(),
            scopes=request.token.scopes,
            display_name=request.token.display_name,
            expire_time=expire_time,
        )
        return pb.CreateTokenResponse(token=_token_message(token), secret=secret)

    async def ListTokens(self, request: pb.ListTokensRequest, context: _Context) -> pb.ListTokensResponse:  # noqa: N802
        """Lists tokens, the newest first."""
        page_size = page_size_of(request.page_size)
        digest = request_digest("ListTokens")
        page = await self._tokens.list(current_caller(), after=_after(request.page_token, digest), page_size=page_size)
        last = page.tokens[-1] if page.more else None
        return pb.ListTokensResponse(
            tokens=[_token_message(token) for token in page.tokens],
            next_page_token=token_for(digest, [str(last.create_time), last.id]) if last else "",
        )

    async def RevokeToken(self, request: pb.RevokeTokenRequest, context: _Context) -> pb.RevokeTokenResponse:  # noqa: N802
        """Revokes a token."""
        collection, _, token_id = request.name.partition("/")
        if collection != "tokens" or id_problem(token_id):
            raise invalid_field("name", "must be the resource name of a token, 'tokens/{token}'")
        return pb.RevokeTokenResponse(token=_token_message(await self._tokens.revoke(current_caller(), token_id)))


def _after(page_token: str, digest: bytes) -> tuple[int, str] | None:
    after = token_after(page_token, digest, keys=2)
    if not after:
        return None
    return number_in(after[0], smallest=0), after[1]


def _token_message(token: Token) -> pb.Token:
    message = pb.Token(
        name=f"tokens/{token.id}",
        display_name=token.display_name,
        scopes=sorted(token.scopes),
        tenant=token.tenant,
        create_time=convert.timestamp(token.create_time),
    )
    if token.expire_time is not None:
        message.expire_time.CopyFrom(convert.timestamp(token.expire_time))
    if token.revoke_time is not None:
        message.revoke_time.CopyFrom(convert.timestamp(token.revoke_time))
    return message
