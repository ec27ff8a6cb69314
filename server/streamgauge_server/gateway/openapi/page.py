"""The page that shows an OpenAPI document to people: plain HTML that needs no script, no network and no other file."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from typing import Any

from streamgauge_server.gateway.openapi.examples import Examples
from streamgauge_server.gateway.openapi.prose import blocks, bounds, inline, kind

_Object = Mapping[str, Any]


def policy(style: str) -> str:
    """Returns the `Content-Security-Policy` of the page: its own style sheet, and nothing else from anywhere."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def style() -> str:
    """Returns the style sheet of the page."""
    return resources.files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def page(document: _Object, style: str, address: str) -> str:
    """Returns the page of a document that is found at `address`."""
    info = document["info"]
    by_tag = _by_tag(document)
    title = f"{escape(info['title'])} {escape(info['version'])}"
    sections = [_section(document, tag, by_tag[tag["name"]]) for tag in document["tags"]]
    schemas, shared = document["components"]["schemas"], document["components"]["responses"]
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}: HTTP API</title><style>{style}</style></head><body>",
            f'<nav><p class="home"><a href="#top">{escape(info["title"])}</a></p>{_contents(document, by_tag)}</nav>',
            f'<main id="top"><h1>{title}</h1>{blocks(info["description"])}',
            f'<p>The same for programs: <a href="{escape(address)}">{escape(address)}</a>.</p>',
            "<p>The examples need two variables; what stands in capitals in a path is yours to fill in.</p>",
            "<pre>GATEWAY=http://localhost:8080  # where you read this\nTOKEN=...</pre>",
            *sections,
            '<section id="refusals"><h2>Refusals</h2><p>What most operations may answer alike.</p>',
            *(f'<div id="{name}">{_answer(name[-3:], told)}</div>' for name, told in sorted(shared.items())),
            "</section>",
            '<section id="schemas"><h2>Schemas</h2>',
            *(_schema(name, schemas[name]) for name in sorted(schemas)),
            "</section></main></body></html>",
        ]
    )


def _by_tag(document: _Object) -> dict[str, list[tuple[str, str, _Object]]]:
    """Returns verb, path and operation of each tag, in the document's order."""
    found: dict[str, list[tuple[str, str, _Object]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            found[operation["tags"][0]].append((verb.upper(), path, operation))
    return found


def _contents(document: _Object, by_tag: Mapping[str, list[tuple[str, str, _Object]]]) -> str:
    html = []
    for tag in document["tags"]:
        html.append(f'<h2><a href="#{_anchor(tag["name"])}">{escape(tag["name"])}</a></h2><ul>')
        html += [
            f'<li><a href="#{escape(operation["operationId"])}">{_verb(verb)} {_path(path)}</a></li>'
            for verb, path, operation in by_tag[tag["name"]]
        ]
        html.append("</ul>")
    html.append('<h2><a href="#refusals">Refusals</a></h2><h2><a href="#schemas">Schemas</a></h2>')
    return "".join(html)


def _section(document: _Object, tag: _Object, operations: list[tuple[str, str, _Object]]) -> str:
    examples = Examples(document)
    shown = "".join(_operation(examples, *one) for one in operations)
    name, told = tag["name"], blocks(tag.get("description", ""))
    return f'<section id="{_anchor(name)}"><h2>{escape(name)}</h2>{told}{shown}</section>'


def _operation(examples: Examples, verb: str, path: str, operation: _Object) -> str:
    name = escape(operation["operationId"])
    deprecated = ' <em class="deprecated">deprecated</em>' if operation.get("deprecated") else ""
    parameters = operation.get("parameters", ())
    body = operation.get("requestBody")
    return "".join(
        [
            f'<article id="{name}"><h3><a href="#{name}">{_verb(verb)} {_path(path)}</a>{deprecated}</h3>',
            f'<p class="summary">{inline(operation["summary"])}</p>',
            blocks(_further(operation)),
            _parameters(parameters) if parameters else "",
            _body(body) if body else "",
            f"<pre>{escape(examples.curl(verb, path, operation), quote=False)}</pre>",
            *_responses(operation["responses"]),
            "</article>",
        ]
    )


def _further(operation: _Object) -> str:
    """Returns what the description says beyond the summary."""
    description: str = operation.get("description", "")
    return description.removeprefix(operation["summary"]).lstrip(". \n")


def _parameters(parameters: Any) -> str:
    rows = "".join(
        _row(one["name"], one["schema"], one.get("description", ""), one["in"], required=one.get("required", False))
        for one in parameters
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _row(name: str, schema: _Object, description: str, place: str, *, required: bool) -> str:
    marks = [place] if place else []
    if required and place != "path":
        marks.append("required")
    if schema.get("readOnly"):
        marks.append("in answers only")
    told = f' <span class="mark">{", ".join(marks)}</span>' if marks else ""
    limits = bounds(schema)
    return (
        f'<tr><th scope="row"><code>{escape(name)}</code>{told}<br><span class="kind">{kind(schema)}</span></th>'
        f"<td>{blocks(description)}{f'<p>{limits}</p>' if limits else ''}</td></tr>"
    )


def _body(body: _Object) -> str:
    html = ["<h4>Body</h4>", blocks(body.get("description", ""))]
    for form, content in body["content"].items():
        html.append(f"<p><code>{escape(form)}</code>: {kind(content['schema'])}</p>")
    schema = next(iter(body["content"].values()))["schema"]
    if "properties" in schema:
        html.append(_members(schema))
    return "".join(html)


def _responses(responses: _Object) -> Iterator[str]:
    yield "<h4>Answers</h4>"
    shared = []
    for status, response in responses.items():
        if "$ref" in response:
            name = escape(response["$ref"].rpartition("/")[2])
            shared.append(f'<a class="status-{status[0]}" href="#{name}">{status}</a>')
        else:
            yield _answer(status, response)
    if shared:
        yield f'<p class="shared">And, as elsewhere, {", ".join(shared)}.</p>'


def _answer(status: str, response: _Object) -> str:
    forms = "".join(
        f"<p><code>{escape(form)}</code>: {kind(content.get('schema', {}))}</p>"
        for form, content in response.get("content", {}).items()
    )
    opened = " open" if status.startswith("2") else ""
    summary = f'<summary class="status-{escape(status[0])}">{escape(status)}</summary>'
    return f"<details{opened}>{summary}{blocks(response['description'])}{forms}</details>"


def _schema(name: str, schema: _Object) -> str:
    anchor = f"schema-{escape(name)}"
    limits = "" if "enum" in schema and schema.get("description") else bounds(schema)
    return "".join(
        [
            f'<article id="{anchor}"><h3><a href="#{anchor}">{escape(name)}</a></h3>',
            blocks(schema.get("description", "")),
            "" if "properties" in schema else f"<p>{kind(schema)}{f'; {limits}' if limits else ''}</p>",
            _members(schema) if schema.get("properties") else "",
            "</article>",
        ]
    )


def _members(schema: _Object) -> str:
    required = schema.get("required", ())
    rows = "".join(
        _row(name, one, one.get("description", ""), "", required=name in required)
        for name, one in schema["properties"].items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _verb(verb: str) -> str:
    return f'<b class="verb {verb.lower()}">{verb}</b>'


def _path(path: str) -> str:
    """Returns a path that may be broken after its slashes and before its verb."""
    return escape(path).replace("/", "/<wbr>").replace(":", "<wbr>:")


def _anchor(tag: str) -> str:
    return "tag-" + "".join(letter if letter.isalnum() else "-" for letter in tag)
