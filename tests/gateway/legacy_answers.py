"""Answers of legacy APIs, held to what the OpenAPI operations of their routes say."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
from streamgauge_server.gateway.api import Api

from tests.gateway.serving import Gateway


class LegacyClient:
    """Sends requests of one API; every answer is checked against the operation with the same verb."""

    def __init__(self, gateway: Gateway, api: Api) -> None:
        self.gateway = gateway
        self._operations = {route.verb: route.operation for route in api.routes}
        self._schemas = api.schemas

    def send(self, verb: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request with the path and query exactly as they are spelled, and checks the answer."""
        url = httpx.URL(self.gateway.url).copy_with(raw_path=path.encode("latin-1"))
        answer = self.gateway.http.request(verb, url, **options)
        assert answer.headers["x-request-id"]
        operation = self._operations[verb]
        assert operation is not None
        described = operation["responses"][str(answer.status_code)]["content"]
        schema = described[answer.headers["content-type"]]["schema"]
        whole = {**schema, "components": {"schemas": self._schemas}}
        jsonschema.Draft202012Validator(json.loads(json.dumps(whole))).validate(answer.json())
        return answer
