"""Path templates: what they match, what their variables hold, and which of two is meant."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamgauge_server.gateway.templates import Template, Undecodable, path_segments


def match(template: str, path: str) -> dict[str, str] | None:
    return Template.parse(template).match(path_segments(path.encode()))


@pytest.mark.parametrize(
    ("template", "path", "variables"),
    [
        ("/v1/sources", "/v1/sources", {}),
        ("/v1/{x}", "/v1/a", {"x": "a"}),
        ("/v1/{name=sources/*}", "/v1/sources/a", {"name": "sources/a"}),
        ("/v1/{source.name=sources/*}", "/v1/sources/a", {"source.name": "sources/a"}),
        ("/v1/{name=a/*/b/*}:stop", "/v1/a/1/b/2:stop", {"name": "a/1/b/2"}),
        ("/v1/{a}/x/{b}", "/v1/1/x/2", {"a": "1", "b": "2"}),
        ("/v1/sources:get", "/v1/sources:get", {}),
        ("/v1/*/metrics", "/v1/anything/metrics", {}),
        ("/v1/{name=kinds/*/**}", "/v1/kinds/a", {"name": "kinds/a"}),
        ("/v1/{name=kinds/*/**}", "/v1/kinds/a/b//c/", {"name": "kinds/a/b//c/"}),
        ("/v1/{name=**}:stop", "/v1/a/b:stop", {"name": "a/b"}),
    ],
)
def test_a_path_gives_its_variables(template: str, path: str, variables: dict[str, str]) -> None:
    assert match(template, path) == variables


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("/v1/sources", "/v1/source"),
        ("/v1/sources", "/v1/Sources"),
        ("/v1/sources", "/v1/%73ources"),
        ("/v1/sources", "/v1/sources/"),
        ("/v1/sources", "/v1/sources:get"),
        ("/v1/sources:get", "/v1/sources"),
        ("/v1/sources:get", "/v1/sources%3Aget"),
        ("/v1/sources:get", "/v1/sources:GET"),
        ("/v1/sources:get", "/v1/sources:g%65t"),
        ("/v1/{x}", "/v1/"),
        ("/v1/{x}", "/v1"),
        ("/v1/{x}", "/v1/a/b"),
        ("/v1/{x}:stop", "/v1/:stop"),
        ("/v1/{name=sources/*}", "/v1/sources%2Fa"),
        ("/v1/{name=sources/*}", "/v1//sources/a"),
        ("/v1/{name=kinds/*/**}", "/v1/kinds"),
        ("/v1/{name=kinds/*/**}", "/v1/kinds//b"),
        ("/v1/{name=**}:stop", "/v1/a/b"),
    ],
)
def test_another_path_does_not_match(template: str, path: str) -> None:
    assert match(template, path) is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/sources/a%2Fb", "sources/a/b"),
        ("/v1/sources/%2e%2E", "sources/.."),
        ("/v1/sources/a%252Fb", "sources/a%2Fb"),
        ("/v1/sources/a+b%20c", "sources/a+b c"),
        ("/v1/sources/x%3Astop", "sources/x:stop"),
        ("/v1/sources/%00", "sources/\0"),
        ("/v1/sources/%E2%82%AC", "sources/€"),
        ("/v1/sources/€", "sources/€"),
    ],
)
def test_what_a_variable_holds_is_decoded_once(path: str, name: str) -> None:
    assert match("/v1/{name=sources/*}", path) == {"name": name}


@pytest.mark.parametrize("segment", [b"%ff", b"%C3", b"%", b"a%2", b"%zz", b"\xff", b"%ED%A0%80"])
def test_what_is_not_percent_encoded_utf_8_is_told(segment: bytes) -> None:
    template = Template.parse("/v1/{source.name=sources/*}")
    with pytest.raises(Undecodable, match=re.escape("source.name: the path is not percent-encoded UTF-8 there")):
        template.match([b"v1", b"sources", segment])
    assert template.match([b"v1", b"jobs", segment]) is None


@pytest.mark.parametrize(
    "text",
    [
        "", "v1", "/", "/a/", "//a", "/a//b", "/{a", "/a}", "/{a=**}/b", "/**/b", "/{a}/{a}", "/{a=}", "/{a=/b}", "/{}",
        "/{1a}", "/{a.}", "/a:", "/a:b:c", "/a:*", "/{a={b}}", "/a b", "/{a}x", "/x{a}", "/{a}:{b}", "/a%20b", "/a*",
    ],
)  # fmt: skip
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no path template"):
        Template.parse(text)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("/v1/sources", "/v1/{x}"),
        ("/v1/{x}", "/v1/{x=**}"),
        ("/v1/a/{x}", "/v1/{x}/a"),
        ("/v1/{name=jobs/*}:stop", "/v1/{name=jobs/*}"),
        ("/{x=**}:stop", "/v1/jobs/a"),
        ("/v1/{name=a/*}", "/v1/{name=a/*/**}"),
    ],
)
def test_which_of_two_templates_is_meant(first: str, second: str) -> None:
    assert Template.parse(first).precedence < Template.parse(second).precedence


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_any_text_comes_through_a_path(names: list[str]) -> None:
    template = "/v1/" + "/".join(f"{{x{number}}}" for number in range(len(names)))
    path = "/v1/" + "/".join(quote(name.encode("utf-8", "replace"), safe="") for name in names)
    expected = {f"x{number}": name.encode("utf-8", "replace").decode() for number, name in enumerate(names)}
    assert match(template, path) == expected
