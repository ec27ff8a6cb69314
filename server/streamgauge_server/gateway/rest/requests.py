"""HTTP requests into messages: body first, then what the path says, then the query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from starlette.requests import Request

from streamgauge_server.gateway.rest.bodies import JSON, NDJSON, lines, media_type, read_json
from streamgauge_server.gateway.rest.contract import WHOLE_BODY, Binding
from streamgauge_server.gateway.rest.parameters import Parameters
from streamgauge_server.gateway.rest.reading import read_field, read_message
from streamgauge_server.gateway.rest.violations import Violations, shown


class Requests:
    """Makes the messages of one binding."""

    def __init__(self, binding: Binding) -> None:
        """Raises ValueError when the binding is one of a client's stream whose body is not the whole request."""
        if binding.method.client_streaming and binding.body != WHOLE_BODY:
            raise ValueError(f"{binding.method.full_name}: messages of a stream come in the body, which must be *")
        self._make: Any = GetMessageClass(binding.method.input_type)
        self._body = binding.body
        whole = binding.body in ("", WHOLE_BODY)
        self._body_field = None if whole else binding.method.input_type.fields_by_name[binding.body]
        self._parameters = Parameters(binding)

    async def one(self, request: Request, variables: Mapping[str, str]) -> Message:
        """Returns the message of a request.

        Raises:
            InvalidRequest: with everything that is wrong, unless the body is not JSON at all.
            HttpFailure: the body is of another content type.
        """
        message: Message = self._make()
        violations = Violations()
        body = await request.body()
        if not body.strip():
            pass  # a request without any of the body's fields
        elif not self._body:
            violations.add("", "a body is not taken: everything is in the path and the query")
        else:
            media_type(request, JSON)
            self._read_body(message, read_json(body), violations)
        self._parameters.set_path(message, variables, violations)
        self._parameters.set_query(message, request.scope["query_string"], variables, violations)
        violations.raise_if_any()
        return message

    async def many(self, request: Request, variables: Mapping[str, str]) -> AsyncIterator[Message]:
        """Yields the messages of a request: one or an array of them as JSON, or a line for each as NDJSON.

        Those of JSON are all read before the first one is given; those of NDJSON as they come in.

        Raises:
            InvalidRequest: a message is wrong. Paths begin with its position, `[3].frames[0]`.
            HttpFailure: the body is of another content type.
        """
        violations = Violations()
        self._parameters.set_query(self._make(), request.scope["query_string"], variables, violations)
        violations.raise_if_any()
        if media_type(request, JSON, NDJSON) == JSON:
            body = await request.body()
            found = read_json(body) if body.strip() else []
            several = found if isinstance(found, list) else [found]
            messages = [self._element(at, value, variables, violations) for at, value in enumerate(several)]
            violations.raise_if_any()
            for message in messages:
                yield message
        else:
            position = 0
            async for line in lines(request):
                message = self._element(position, read_json(line, f"line {position}"), variables, violations)
                violations.raise_if_any()
                yield message
                position += 1

    def _element(self, position: int, value: Any, variables: Mapping[str, str], violations: Violations) -> Message:
        message: Message = self._make()
        read_message(message, value, f"[{position}]", violations)
        self._parameters.set_path(message, variables, violations)
        return message

    def _read_body(self, message: Any, value: Any, violations: Violations) -> None:
        if self._body_field is None and type(value) is not dict:
            violations.add("", f"the body must be an object, is {shown(value)}")
        elif self._body_field is None:
            read_message(message, value, "", violations)
        else:
            read_field(message, self._body_field, value, violations)
