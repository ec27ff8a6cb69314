"""Which route a path and a verb mean, and what is told where there is none."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from starlette.requests import Request
from starlette.responses import Response
from streamgauge_server.gateway.api import Api, HttpFailure, Route, Slash
from streamgauge_server.gateway.routing import Destination, RouteConflict, Router


async def handler(request: Request, variables: Mapping[str, str]) -> Response:
    return Response()


def tell(request: Request, error: Exception) -> Response:
    return Response()


def api(
    name: str, *routes: str, roots: tuple[str, ...] = ("v1",), prefix: str = "", slash: Slash = Slash.OPTIONAL
) -> Api:
    named = [route.partition(" ") for route in routes]
    return Api(name, [Route(verb, template, handler, slash) for verb, _, template in named], roots, tell, prefix)


REST = api(
    "rest",
    "GET /v1/sources",
    "POST /v1/sources",
    "GET /v1/{name=sources/*}",
    "DELETE /v1/{source=sources/*}",
    "GET /v1/{source=sources/*}/metrics",
    "POST /v1/{name=sources/*}:reset",
    "POST /v1/sources:reportIngests",
    "GET /v1/{name=metricDescriptors/*/**}",
)
PAGES = api("pages", "GET /v7/pages", "GET /v7/pages/{id}", roots=("v6", "v7"), slash=Slash.REDIRECT)
JOBS = api("jobs", "GET /job/{uuid}/stop", "POST /job/{uuid}/stop", roots=("job",), prefix="/tsp/v1")
OTHERWISE = api("otherwise", "GET /healthz", roots=("healthz",))
ROUTER = Router([REST, PAGES, JOBS, OTHERWISE], OTHERWISE)


async def failure(found: Destination) -> HttpFailure:
    request = Request({"type": "http", "headers": [], "raw_path": b"", "query_string": b""})
    with pytest.raises(HttpFailure) as caught:
        await found.handler(request, found.variables)
    return caught.value


@pytest.mark.parametrize(
    ("verb", "path", "template", "variables"),
    [
        ("GET", "/v1/sources", "/v1/sources", {}),
        ("GET", "/v1/sources/", "/v1/sources", {}),
        ("GET", "/v1/sources/a", "/v1/{name=sources/*}", {"name": "sources/a"}),
        ("DELETE", "/v1/sources/a", "/v1/{source=sources/*}", {"source": "sources/a"}),
        ("HEAD", "/v1/sources/a", "/v1/{name=sources/*}", {"name": "sources/a"}),
        ("GET", "/v1/sources/a%2Fb%20%C3%BC", "/v1/{name=sources/*}", {"name": "sources/a/b ü"}),
        ("GET", "/v1/sources/%2525", "/v1/{name=sources/*}", {"name": "sources/%25"}),
        ("GET", "/v1/sources/a:b", "/v1/{name=sources/*}", {"name": "sources/a:b"}),
        ("GET", "/v1/sources/a%3Areset", "/v1/{name=sources/*}", {"name": "sources/a:reset"}),
        ("POST", "/v1/sources/a:reset", "/v1/{name=sources/*}:reset", {"name": "sources/a"}),
        ("POST", "/v1/sources/a:b:reset", "/v1/{name=sources/*}:reset", {"name": "sources/a:b"}),
        ("POST", "/v1/sources:reportIngests", "/v1/sources:reportIngests", {}),
        ("GET", "/v1/sources/metrics/metrics", "/v1/{source=sources/*}/metrics", {"source": "sources/metrics"}),
        (
            "GET",
            "/v1/metricDescriptors/a/b/c",
            "/v1/{name=metricDescriptors/*/**}",
            {"name": "metricDescriptors/a/b/c"},
        ),
        ("GET", "/v7/pages/1/", "/v7/pages/{id}", {"id": "1"}),
        ("POST", "/tsp/v1/job/x/stop/", "/tsp/v1/job/{uuid}/stop", {"uuid": "x"}),
    ],
)
def test_a_path_means_one_route(verb: str, path: str, template: str, variables: dict[str, str]) -> None:
    found = ROUTER.find(verb, path.encode())
    assert (found.template, found.variables, found.handler) == (template, variables, handler)


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/v1", "rest"),
        ("/v1/nothing", "rest"),
        ("/v1//sources/a", "rest"),
        ("/v1/sources//metrics", "rest"),
        ("/v1/sources//", "rest"),
        ("/v6/nothing", "pages"),
        ("/v7", "pages"),
        ("/tsp/v1/job/x/y", "jobs"),
        ("/tsp/v1/other", "otherwise"),
        ("/job/x/stop", "otherwise"),
        ("/V1/sources", "otherwise"),
        ("/%761/sources", "otherwise"),
        ("/v1%2Fsources", "otherwise"),
        ("/", "otherwise"),
        ("//v1/sources", "otherwise"),
    ],
)
async def test_nothing_at_a_path_is_told_by_the_api_that_owns_its_root(path: str, owner: str) -> None:
    found = ROUTER.find("GET", path.encode())
    assert (found.api.name, found.template, (await failure(found)).status) == (owner, "", 404)


async def test_another_verb_is_told_which_ones_the_path_has() -> None:
    for verb, path, allowed in (
        ("PUT", b"/v1/sources/a", "DELETE, GET, HEAD, OPTIONS"),
        ("GET", b"/v1/sources/a:reset", "OPTIONS, POST"),
        ("PUT", b"/tsp/v1/job/x/stop", "GET, HEAD, OPTIONS, POST"),
    ):
        told = await failure(ROUTER.find(verb, path))
        assert (told.status, told.headers) == (405, {"Allow": allowed})


async def test_a_variable_that_is_not_utf_8_is_refused() -> None:
    for path in (
        b"/v1/sources/%ff",
        b"/v1/sources/%c0%af",
        b"/v1/sources/%",
        b"/v1/sources/%zz",
        b"/v1/sources/%ed%a0%80",
    ):
        assert (await failure(ROUTER.find("GET", path))).status == 400


async def test_options_tells_the_verbs_of_a_path() -> None:
    found = ROUTER.find("OPTIONS", b"/v1/sources")
    answer = await found.handler(Request({"type": "http", "headers": []}), found.variables)
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


@pytest.mark.parametrize(
    ("path", "query", "location"),
    [
        (b"/v7/pages", b"", "/v7/pages/"),
        (b"/v7/pages", b"page=2&a=%2F", "/v7/pages/?page=2&a=%2F"),
        (b"/v7/pages/a%0d%0aX:y", b"", "/v7/pages/a%0d%0aX:y/"),
        (b"/v7/pages/%2F%2Fevil.example", b"", "/v7/pages/%2F%2Fevil.example/"),
    ],
)
async def test_a_path_that_lacks_its_slash_is_sent_to_the_one_with_it(path: bytes, query: bytes, location: str) -> None:
    found = ROUTER.find("GET", path)
    scope = {"type": "http", "headers": [], "raw_path": path, "query_string": query}
    answer = await found.handler(Request(scope), found.variables)
    assert (answer.status_code, answer.headers["location"]) == (301, location)


def test_two_routes_for_the_same_requests_are_refused() -> None:
    for other in (api("other", "GET /v1/{other=sources/*}"), api("other", "PUT /sources/{x}", prefix="/v1")):
        with pytest.raises(RouteConflict, match="of other and /v1/"):
            Router([REST, other], OTHERWISE)
