"""Texts of an OpenAPI document and its types as HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from typing import Any

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"(?<![\w/.])(https://[^\s<>)&]+[^\s<>)&.,;:])")


def inline(text: str) -> str:
    """Returns one line of Markdown as HTML: backticks and links, nothing else has a meaning."""
    return _LINK.sub(r'<a href="\1">\1</a>', _CODE.sub(r"<code>\1</code>", escape(text, quote=False)))


def blocks(text: str) -> str:
    """Returns a text of paragraphs and lists as HTML."""
    html: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.splitlines()
        head = [line for line in lines if not line.startswith("- ")]
        items = [line[2:] for line in lines if line.startswith("- ")]
        if head:
            html.append(f"<p>{inline(' '.join(head))}</p>")
        if items:
            html.append("<ul>" + "".join(f"<li>{inline(item)}</li>" for item in items) + "</ul>")
    return "".join(html)


def kind(schema: Mapping[str, Any]) -> str:
    """Returns in a few words what type a schema is of, with links to those that have a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(kind(one) for one in schema[key]))
    if "const" in schema:
        return f"<code>{escape(str(schema['const']))}</code>"
    types = schema.get("type", "any")
    names = types if isinstance(types, list) else [types]
    return " or ".join(_one(name, schema) for name in names)


def _one(name: str, schema: Mapping[str, Any]) -> str:
    if name == "array":
        return f"list of {kind(schema.get('items', {}))}"
    if name == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {kind(schema['additionalProperties'])}"
    form = schema.get("format") or ("base64" if schema.get("contentEncoding") else "")
    return f"{name} ({escape(form)})" if form and name != "null" else escape(name)


def bounds(schema: Mapping[str, Any]) -> str:
    """Returns what else a schema says of its values, as HTML; empty when that is nothing that people need."""
    told = []
    if "enum" in schema:
        told.append("one of " + ", ".join(f"<code>{escape(str(value))}</code>" for value in schema["enum"]))
    if "default" in schema:
        told.append(f"default <code>{escape(str(schema['default']))}</code>")
    # The range of an int32 is told by its name.
    if not str(schema.get("format", "")).endswith("int32"):
        told += [
            f"{words} {schema[key]:,}"
            for key, words in (("minimum", "at least"), ("maximum", "at most"))
            if key in schema
        ]
    told += [
        f"{words} {schema[key]:,} {what}"
        for key, words, what in (
            ("maxLength", "at most", "characters"),
            ("minItems", "at least", "items"),
            ("maxItems", "at most", "items"),
        )
        if key in schema
    ]
    return "; ".join(told)
