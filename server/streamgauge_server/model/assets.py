"""Data assets: what a URN may be, the id that is derived from it, and the platform that it names."""

from __future__ import annotations

import hashlib
import re

from streamgauge_server.model.names import text_problem

_URN = re.compile(r"urn:[A-Za-z0-9][A-Za-z0-9-]{0,31}:.+", re.IGNORECASE | re.DOTALL)
_PLATFORM = re.compile(r"urn:li:dataPlatform:([^,()]+)")
_TOOL = re.compile(r"urn:li:(?:chart|dashboard|dataFlow):\(([^,()]+),")

ID_DIGITS = 40


def asset_id(urn: str) -> str:
    """Returns the id of the asset of a URN: the same everywhere and for ever, 160 bits of SHA-256 in hexadecimal."""
    return hashlib.sha256(urn.encode("utf-8")).hexdigest()[:ID_DIGITS]


def urn_problem(urn: str, max_bytes: int) -> str | None:
    """Returns what is wrong with a URN, or None."""
    if problem := text_problem(urn, max_bytes, required=True):
        return problem
    if urn != urn.strip():
        return "must not begin or end with a blank"
    if not _URN.fullmatch(urn):
        return "must be a URN, such as 'urn:li:dataset:(urn:li:dataPlatform:postgres,shop.public.orders,PROD)'"
    return None


def platform_of(urn: str) -> str:
    """Returns the data platform that a URN names, or the tool of a chart, dashboard or flow; empty if none."""
    found = _PLATFORM.search(urn) or _TOOL.search(urn)
    return found[1] if found else ""
