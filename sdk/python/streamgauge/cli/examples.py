"""Examples at the end of a command's help."""

from __future__ import annotations


def examples(*lines: str) -> str:
    """Returns the epilog that shows command lines one below the other."""
    return "\n".join(("\b", "Examples:", *(f"  {line}" for line in lines)))  # \b: click leaves the lines as they are
