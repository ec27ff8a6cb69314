"""What is kept beside a file while it is exported or imported, so that another process can go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from streamgauge.files.runs import FileError


class ProgressState:
    """A small JSON file, replaced as a whole: a kill leaves the old one or the new one."""

    def __init__(self, path: Path | None) -> None:
        """`path` None keeps nothing."""
        self._path = path

    def load(self, what: dict[str, Any]) -> dict[str, Any] | None:
        """Returns what was kept, None if there is nothing.

        `what` says what is done. FileError if something else was begun.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            begun, progress = kept["what"], kept["progress"]
        except (ValueError, KeyError, TypeError):
            raise FileError(f"{self._path} cannot be read: delete it to begin anew") from None
        if begun != what:
            different = sorted(name for name in begun.keys() | what.keys() if begun.get(name) != what.get(name))
            raise FileError(
                f"{self._path} is of a run with another {', '.join(different)}: say the same again to go on, or restart"
            )
        found: dict[str, Any] = progress
        return found

    def save(self, what: dict[str, Any], progress: dict[str, Any]) -> None:
        """Keeps how far it has come, durably."""
        if self._path is None:
            return
        beside = self._path.with_name(self._path.name + ".new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump({"what": what, "progress": progress}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)

    def clear(self) -> None:
        """Forgets it."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
