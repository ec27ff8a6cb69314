"""The jobs API over real HTTP: every answer is held to what the OpenAPI operation of its route says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import httpx
from openapi_schema_validator import OAS31Validator
from streamgauge_server.gateway.api import Api
from streamgauge_server.gateway.legacy import jobs
from streamgauge_server.gateway.upstream import Upstream
from streamgauge_server.http_settings import LegacySettings

from tests.rpc.serving import Stubs


class JobsHttp:
    """A client of the API. `await http.get("/job/a/status")` returns status, body and headers."""

    def __init__(self, client: httpx.AsyncClient, api: Api) -> None:
        self.client = client
        self._api = api

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        """Returns status and body of a GET."""
        answer = await self.send("GET", path, **options)
        return answer.status_code, answer.json()

    async def post(self, path: str, **options: Any) -> tuple[int, Any]:
        """Returns status and body of a POST."""
        answer = await self.send("POST", path, **options)
        return answer.status_code, answer.json()

    async def send(self, verb: str, path: str, **options: Any) -> httpx.Response:
        """Sends a request with the path as it is spelled, and checks the answer against its description."""
        url = httpx.URL(str(self.client.base_url)).copy_with(raw_path=path.encode("latin-1"))
        answer = await self.client.request(verb, url, **options)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-type"] == "application/json"
        if verb != "HEAD":
            self._check(verb, path, answer)
        return answer

    def _check(self, verb: str, path: str, answer: httpx.Response) -> None:
        segments = path.partition("?")[0].removeprefix(self._api.prefix).strip("/").split("/")
        for route in self._api.routes:
            words = route.template.strip("/").split("/")
            alike = len(words) == len(segments) and all(
                word.startswith("{") or word == segment for word, segment in zip(words, segments, strict=True)
            )
            if alike and route.verb == verb:
                assert route.operation is not None
                content = route.operation["responses"][str(answer.status_code)]["content"]["application/json"]
                check_schema(self._api, content["schema"], answer.json())
                return
        check_schema(self._api, {"$ref": "#/components/schemas/LegacyJobFailure"}, answer.json())


def check_schema(api: Api, schema: Mapping[str, Any], content: object) -> None:
    """Checks JSON against a schema of the API's documents."""
    whole = {**schema, "components": {"schemas": dict(api.schemas)}}
    OAS31Validator(whole).validate(content)


@asynccontextmanager
async def client_of(stubs: Stubs) -> AsyncIterator[JobsHttp]:
    """Opens a client of the gateway of the app behind some stubs."""
    assert stubs.app is not None
    assert stubs.app.http_port is not None
    async with client_at(stubs.app.http_port, stubs.channel, stubs.app.settings.http.jobs) as http:
        yield http


@asynccontextmanager
async def client_at(
    port: int, channel: grpc.aio.Channel, settings: LegacySettings | None = None
) -> AsyncIterator[JobsHttp]:
    """Opens a client of the gateway on a port."""
    # Only for the descriptions of its routes, which are never called.
    api = jobs.api(Upstream(channel), settings or LegacySettings())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield JobsHttp(client, api)
