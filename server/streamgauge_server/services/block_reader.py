"""Loads the blocks that an answer needs: summaries first, samples only where summaries cannot tell."""

from __future__ import annotations

from streamgauge_server.storage.store import Store


class BlockReader:
    """Reads aggregated windows of subjects' parts; one instance serves all callers."""

    def __init__(self, store: Store) -> None:
        self._store = store
