"""Which route of which API a request means, by its raw path and its verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from streamgauge_server.gateway.api import Api, Handler, HttpFailure, Route, Slash
from streamgauge_server.gateway.templates import Template, Undecodable, Wildcard, path_segments


class RouteConflict(ValueError):
    """Two routes answer the same paths with the same verb; prefixes of the legacy APIs are perhaps too alike."""


@dataclass(frozen=True, slots=True)
class Destination:
    """What answers a request: a handler with its variables, and the API that tells what it raises.

    `template` is the route's, with the API's prefix; empty where there is no route.
    """

    api: Api
    template: str
    handler: Handler
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Place:
    """All routes of one API that take the same paths, by verb. Each has its own template: variables may differ."""

    api: Api
    template: Template
    routes: dict[str, tuple[Route, Template]]

    @property
    def slash(self) -> Slash:
        return next(iter(self.routes.values()))[0].slash

    def offers(self) -> set[str]:
        """Returns the verbs that are answered here."""
        return {*self.routes, "OPTIONS"} | ({"HEAD"} if "GET" in self.routes else set())


class _Node:
    """A position in paths: what may follow, and the templates that end here."""

    __slots__ = ("ends", "literals", "one", "rests")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.one: _Node | None = None
        self.ends: list[_Place] = []
        self.rests: list[_Place] = []
        """Templates of which `**` takes everything from here."""

    def add(self, place: _Place) -> None:
        node = self
        for segment in place.template.segments:
            if segment is Wildcard.REST:
                node.rests.append(place)
                return
            if isinstance(segment, Wildcard):
                node.one = node.one or _Node()
                node = node.one
            else:
                node = node.literals.setdefault(segment, _Node())
        node.ends.append(place)

    def find(self, segments: Sequence[bytes], verb: bytes | None, at: int = 0) -> Iterator[_Place]:
        """Yields the templates with this verb that a path of these segments is of."""
        for place in self.rests:
            if place.template.verb == verb:
                yield place
        if at == len(segments):
            for place in self.ends:
                if place.template.verb == verb:
                    yield place
            return
        segment = segments[at]
        if (follows := self.literals.get(segment)) is not None:
            yield from follows.find(segments, verb, at + 1)
        if self.one is not None and segment:
            yield from self.one.find(segments, verb, at + 1)


class Router:
    """The routes of all APIs behind one index: a look-up walks along the path once, however many routes there are."""

    def __init__(self, apis: Iterable[Api], otherwise: Api) -> None:
        """`otherwise` tells about paths that are below no API's root.

        Raises:
            RouteConflict: two routes answer the same requests.
            ValueError: a template or a prefix is malformed.
        """
        self._otherwise = otherwise
        self._root = _Node()
        self._owners: dict[tuple[bytes, ...], Api] = {}
        places: dict[tuple[object, ...], _Place] = {}
        for api in apis:
            for root in api.roots:
                self._owners[tuple(path_segments(f"{api.prefix}/{root}".encode()))] = api
            for route in api.routes:
                template = Template.parse(api.prefix + route.template)
                key = (template.segments, template.verb)
                place = places.setdefault(key, _Place(api, template, {}))
                if route.verb in place.routes or place.api is not api:
                    raise RouteConflict(
                        f"{route.verb} {template.text} of {api.name} and {place.template.text} of {place.api.name}"
                    )
                place.routes[route.verb] = (route, template)
        for place in places.values():
            self._root.add(place)
        self._longest_root = max(map(len, self._owners), default=0)

    def find(self, verb: str, raw_path: bytes) -> Destination:
        """Returns what answers a request. A failure is a destination too, whose handler raises it."""
        segments = path_segments(raw_path)
        slashed = len(segments) > 1 and not segments[-1]
        places = self._places(segments[:-1] if slashed else segments)
        if not places:
            return self._failing(self._owner(segments), "", HttpFailure(404, "there is nothing at this path"))
        chosen = next((place for place in places if verb in place.offers()), None)
        if chosen is None:
            allowed = ", ".join(sorted(set[str]().union(*(place.offers() for place in places))))
            first = places[0]
            failure = HttpFailure(405, f"{_shown(verb)} is not a verb of this path", {"Allow": allowed})
            return self._failing(first.api, first.template.text, failure)
        if chosen.slash is Slash.REDIRECT and not slashed:
            return Destination(chosen.api, chosen.template.text, _redirect)
        found = chosen.routes.get("GET" if verb == "HEAD" and verb not in chosen.routes else verb)
        if found is None:
            return Destination(chosen.api, chosen.template.text, _options(chosen.offers()))
        route, template = found
        try:
            variables = template.match(segments[:-1] if slashed else segments)
        except Undecodable as error:
            return self._failing(chosen.api, template.text, HttpFailure(400, str(error)))
        return Destination(chosen.api, template.text, route.handler, variables or {})

    def _places(self, segments: Sequence[bytes]) -> list[_Place]:
        """Returns the templates that a path is of, the one first that is meant.

        Where the last segment ends in a verb that some template has, the path is of no template without it: what ends
        in `:stop` is never the name of something, whatever the HTTP verb.
        """
        bare, colon, verb = segments[-1].rpartition(b":")
        found = list(self._root.find([*segments[:-1], bare], verb)) if colon else []
        if not found:
            found = list(self._root.find(segments, None))
        if len(found) > 1:
            found.sort(key=lambda place: place.template.precedence)
        return found

    def _owner(self, segments: Sequence[bytes]) -> Api:
        for length in range(min(self._longest_root, len(segments)), 0, -1):
            if (owner := self._owners.get(tuple(segments[:length]))) is not None:
                return owner
        return self._otherwise

    def _failing(self, api: Api, template: str, failure: HttpFailure) -> Destination:
        async def fail(request: Request, variables: Mapping[str, str]) -> Response:
            raise failure

        return Destination(api, template, fail)


def _shown(verb: str) -> str:
    return verb if len(verb) <= 16 else f"{verb[:16]}..."


async def _redirect(request: Request, variables: Mapping[str, str]) -> Response:
    """Sends the caller to the path with a slash, as it came: nothing is decoded, so nothing changes its meaning."""
    query = request.scope["query_string"]
    target = request.scope["raw_path"] + b"/" + (b"?" + query if query else b"")
    return RedirectResponse(target.decode("latin-1"), status_code=301)


def _options(verbs: Iterable[str]) -> Handler:
    async def options(request: Request, variables: Mapping[str, str]) -> Response:
        return Response(status_code=204, headers={"Allow": ", ".join(sorted(verbs))})

    return options
