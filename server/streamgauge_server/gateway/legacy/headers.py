"""What legacy answers carry in their headers beside the body: advice on retries, deprecation, warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from streamgauge_server.gateway.upstream import Refused

MAX_WARNINGS = 5
MAX_WARNING_CHARACTERS = 200
"""Bounds of what warnings take: proxies hold the head of an answer in a buffer of a few kilobytes."""


def refusal_headers(refused: Refused) -> dict[str, str]:
    """Returns the headers that go with a refusal: after how many seconds to try again, where the server says so."""
    return {} if refused.retry_after is None else {"Retry-After": str(max(1, math.ceil(refused.retry_after)))}


def warning_header(warnings: Sequence[str]) -> dict[str, str]:
    """Returns `Warning` (RFC 7234, code 299) with what was accepted and is likely not what was meant; none for none.

    The legacy bodies have no place for warnings. Texts of callers are in them, so that all but printable ASCII is
    escaped and the whole is bounded.
    """
    if not warnings:
        return {}
    told = list(warnings[:MAX_WARNINGS])
    if len(warnings) > MAX_WARNINGS:
        told.append(f"and {len(warnings) - MAX_WARNINGS} more of the kind")
    return {"Warning": ", ".join(f'299 streamgauge "{_quoted(text)}"' for text in told)}


def _quoted(text: str) -> str:
    """Returns a text as the inside of a quoted string of a header."""
    shown = text if len(text) <= MAX_WARNING_CHARACTERS else text[:MAX_WARNING_CHARACTERS] + "..."
    escaped = "".join(letter if " " <= letter <= "~" else f"\\u{ord(letter):04x}" for letter in shown)
    return escaped.replace("\\", "\\\\").replace('"', '\\"')
