"""Answers of legacy APIs, held to what the OpenAPI operations of their routes say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
from openapi_schema_validator import OAS31Validator

from tests.gateway.serving import Gateway


class LegacyClient:
    """Sends requests of one API; every answer is checked against the operation with the same verb."""

    def __init__(self, gateway: Gateway, operations: Mapping[str, Any], schemas: Mapping[str, Any]) -> None:
        """`operations` are those of the API's path by verb."""
        self.gateway = gateway
        self._operations = operations
        self._schemas = schemas

    def send(self, verb: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request with the path and query exactly as they are spelled, and checks the answer."""
        url = httpx.URL(self.gateway.url).copy_with(raw_path=path.encode("latin-1"))
        answer = self.gateway.http.request(verb, url, **options)
        assert answer.headers["x-request-id"]
        described = self._operations[verb]["responses"][str(answer.status_code)]["content"]
        schema = described[answer.headers["content-type"]]["schema"]
        whole = {**schema, "components": {"schemas": self._schemas}}
        OAS31Validator(json.loads(json.dumps(whole))).validate(answer.json())
        return answer
