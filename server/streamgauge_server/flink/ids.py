"""Ids of jobs, vertices and triggers: 32 hexadecimal digits."""

from __future__ import annotations

import re

_HEX_ID = re.compile(r"[0-9a-fA-F]{32}")


def is_flink_id(text: str) -> bool:
    """Tells whether Flink would take a text as an id."""
    return _HEX_ID.fullmatch(text) is not None


def flink_id(text: str) -> str:
    """Returns an id as Flink prints it, in lower case.

    Raises:
        ValueError: the text is no id. Flink answers 400 to these, to UUIDs with dashes too, so they are never sent.
    """
    if not is_flink_id(text):
        raise ValueError(f"{text[:80]!r} is not an id of Flink: 32 hexadecimal digits without dashes")
    return text.lower()
