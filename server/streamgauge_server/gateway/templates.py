"""Path templates of `google.api.http`, matched against the segments of a path as they were sent.

    Template = "/" Segment { "/" Segment } [ ":" Literal ]
    Segment  = "*" | "**" | Literal | Variable
    Variable = "{" Field { "." Field } [ "=" Segment { "/" Segment } ] "}"

`*` is one segment that is not empty, `**` any number of segments, only as the last; `{x}` is `{x=*}`. Literals and the
verb after the colon are compared with what was sent, byte by byte; only what a variable holds is percent-decoded, once,
segment by segment. So an encoded slash or colon is data and never decides which route is meant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote_to_bytes

_LITERAL = re.compile(r"[A-Za-z0-9._~-]+")
_FIELD_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_PART = re.compile(r"\{[^{}]*\}|[^/{}]+")
"""What stands between two slashes outside of braces."""
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Undecodable(ValueError):
    """A variable of a path is not percent-encoded UTF-8. `field` names the variable."""

    def __init__(self, field: str) -> None:
        super().__init__(f"{field}: the path is not percent-encoded UTF-8 there")
        self.field = field


class Wildcard(Enum):
    """What stands for segments of any text."""

    ONE = "*"
    """One segment that is not empty."""
    REST = "**"
    """All segments that are left, also none."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: the field path that it sets, and which segments it holds; `stop` is None up to the end."""

    field: str
    start: int
    stop: int | None


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template.

    `segments` are literals and wildcards, `variables` say which of them are whose, `verb` is what follows the colon.
    """

    text: str
    segments: tuple[bytes | Wildcard, ...]
    variables: tuple[Variable, ...]
    verb: bytes | None

    @classmethod
    def parse(cls, text: str) -> Template:
        """Parses a template.

        Raises:
            ValueError: `text` is no template.
        """
        body, colon, verb = text.rpartition(":") if ":" in text.rpartition("}")[2] else (text, "", "")
        if not body.startswith("/") or (colon and not _LITERAL.fullmatch(verb)):
            raise ValueError(f"{text!r} is no path template")
        segments: list[bytes | Wildcard] = []
        variables: list[Variable] = []
        for part in _split(body[1:], text):
            if not part.startswith("{"):
                segments.append(_segment(part, text))
                continue
            field, equals, pattern = part[1:-1].partition("=")
            if not _FIELD_PATH.fullmatch(field) or field in (variable.field for variable in variables):
                raise ValueError(f"{text!r} is no path template: {field!r} is no field path, or stands there twice")
            start = len(segments)
            segments += [_segment(inner, text) for inner in (pattern if equals else "*").split("/")]
            stop = None if segments[-1] is Wildcard.REST else len(segments)
            variables.append(Variable(field, start, stop))
        if Wildcard.REST in segments[:-1]:
            raise ValueError(f"{text!r} is no path template: ** must be last")
        return cls(text, tuple(segments), tuple(variables), verb.encode() if colon else None)

    @property
    def precedence(self) -> tuple[bool, tuple[int, ...]]:
        """Of several templates that match a path the one with the smallest is meant.

        A verb comes before none: what ends in a verb that somebody has is never taken for the name of something. Then
        the first segment decides in which they differ: a literal before `*` before `**`.
        """
        return self.verb is None, tuple(_RANK.get(segment, 0) for segment in self.segments)

    def match(self, segments: Sequence[bytes]) -> dict[str, str] | None:
        """Returns the variables of a path by field path, None when the path is another's.

        `segments` is what stood between the slashes of the path, see `path_segments`.

        Raises:
            Undecodable: the path is this template's, but a variable is not percent-encoded UTF-8.
        """
        if self.verb is not None:
            last, colon, verb = segments[-1].rpartition(b":") if segments else (b"", b"", b"")
            if not colon or verb != self.verb:
                return None
            segments = [*segments[:-1], last]
        wanted = self.segments
        if wanted[-1] is Wildcard.REST:
            if len(segments) < len(wanted) - 1:
                return None
        elif len(segments) != len(wanted):
            return None
        for want, segment in zip(wanted, segments, strict=False):
            if want is Wildcard.ONE:
                if not segment:
                    return None
            elif want is not Wildcard.REST and want != segment:
                return None
        return {v.field: _decoded(v.field, segments[v.start : v.stop]) for v in self.variables}


_RANK: dict[bytes | Wildcard, int] = {Wildcard.ONE: 1, Wildcard.REST: 2}


def path_segments(raw_path: bytes) -> list[bytes]:
    """Returns the segments of a path as it was sent, without its query. A slash at the end makes an empty last one."""
    return raw_path.removeprefix(b"/").split(b"/")


def _split(body: str, text: str) -> list[str]:
    parts = _PART.findall(body)
    if not parts or "/".join(parts) != body:
        raise ValueError(f"{text!r} is no path template: a segment is empty, or braces do not match")
    return parts


def _segment(part: str, text: str) -> bytes | Wildcard:
    if part in ("*", "**"):
        return Wildcard(part)
    if not _LITERAL.fullmatch(part):
        raise ValueError(f"{text!r} is no path template: {part!r} is no segment")
    return part.encode()


def _decoded(field: str, segments: Sequence[bytes]) -> str:
    raw = b"/".join(segments)
    if _STRAY_PERCENT.search(raw):
        raise Undecodable(field)
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Undecodable(field) from error
