"""What is wrong with a request, collected so that all of it is told at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Unreadable(ValueError):
    """A value is not one of its field; the text says what it must be, and what it is."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path in the request, with the names of the proto, and what is wrong about it.

    The path is empty when it is the body as a whole.
    """

    field: str
    description: str


class InvalidRequest(Exception):
    """A request that is refused before it becomes a call. `violations` is everything that is wrong with it."""

    def __init__(self, violations: list[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__((f"{first.field}: " if first.field else "") + first.description + more)
        self.violations = violations


class Violations:
    """Collects violations while a request is read."""

    def __init__(self) -> None:
        self.found: list[Violation] = []

    def add(self, field: str, description: str) -> None:
        """Adds a wrong field."""
        self.found.append(Violation(field, description))

    def raise_if_any(self) -> None:
        """Raises InvalidRequest with everything that was found."""
        if self.found:
            raise InvalidRequest(self.found)


_MAX_SHOWN = 64


def shown(value: Any) -> str:
    """Returns a JSON value as an error shows it: what kind it is, or how it begins."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value) if isinstance(value, (str, float)) else _integer(value)
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _integer(value: int) -> str:
    # More digits than Python likes to write; the bits are told instead.
    return str(value) if value.bit_length() <= 1_024 else f"an integer of {value.bit_length()} bits"
