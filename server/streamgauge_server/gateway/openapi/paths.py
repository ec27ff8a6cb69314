"""Paths of an OpenAPI document, made from path templates: `/v1/{name=sources/*}` is `/v1/sources/{source}`.

OpenAPI has no patterns in braces. So every wildcard of a template becomes a parameter of its own, and what stands
around it a part of the path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streamgauge_server.gateway.templates import Template, Variable, Wildcard

Naming = Callable[[Variable, str], Sequence[str]]
"""Tells what the wildcards of a variable are called, in their order; the text is the pattern, as `sources/*`."""


@dataclass(frozen=True, slots=True)
class PathParameter:
    """A parameter of a path.

    `field` is the variable that it is of, `within` what that holds, for example `sources/{source}`; with `rest` it
    stands for all segments that are left.
    """

    name: str
    field: str
    within: str
    rest: bool


def openapi_path(text: str, naming: Naming) -> tuple[str, list[PathParameter]]:
    """Returns the path of a template and its parameters."""
    template = Template.parse(text)
    segments = [segment.value if isinstance(segment, Wildcard) else segment.decode() for segment in template.segments]
    parameters = []
    for variable in template.variables:
        place = slice(variable.start, variable.stop)
        pattern = segments[place]
        names = list(naming(variable, "/".join(pattern)))
        left = iter(names)
        segments[place] = [f"{{{next(left)}}}" if "*" in segment else segment for segment in pattern]
        wildcards = [segment for segment in pattern if "*" in segment]
        within = "/".join(segments[place])
        parameters += [
            PathParameter(name, variable.field, within, wildcard == "**")
            for name, wildcard in zip(names, wildcards, strict=True)
        ]
    verb = f":{template.verb.decode()}" if template.verb is not None else ""
    return "/" + "/".join(segments) + verb, parameters


def by_field(variable: Variable, pattern: str) -> list[str]:
    """Names the only wildcard of a variable as the variable."""
    return [variable.field]


def by_resource(pattern: str, comment: str) -> list[str]:
    """Names the wildcards of a resource name as a comment does, or else after their collections.

    The comment may have the name with its parts in braces, as in `metricTypes/{metric_type}/choices/{choice}`.
    """
    shape = re.sub(r"\\\*(\\\*)?", r"\\{(\\w+)\\}", re.escape(pattern))
    if found := re.search(f"`{shape}`", comment):
        return list(found.groups())
    segments = pattern.split("/")
    return [singular(before) for before, segment in zip(["", *segments], segments, strict=False) if "*" in segment]


def singular(collection: str) -> str:
    """Returns what one of a collection is called, in lower case: `metricTypes` is of `metric_type`."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", collection).lower()
    return words.removesuffix("s") or "name"
