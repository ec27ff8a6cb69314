"""What one append transaction writes: the decisions of a group commit, without the SQL.

The dialects call the steps in this order, inside their transaction: lock and read the `latest` rows of `subject_ids`;
`admit` them; insert `requests` and `settle` with those that turned out to be known; write `block_rows` and
`latest_rows`; commit; answer with `outcomes`. A plan is for one attempt: whoever tries again makes a new one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamgauge_server.storage.records import Append, LatestDamaged, Outcome, RequestRecord, SubjectGone
from streamgauge_server.timeseries.block import Block
from streamgauge_server.timeseries.envelope import BlockCorrupt
from streamgauge_server.timeseries.latest import LatestSample, advance, advance_row, decode_latest, encode_latest

RequestKey = tuple[str, str]


class AppendPlan:
    """The plan of one transaction over several callers' appends, earlier ones first."""

    def __init__(self, appends: Sequence[Append]) -> None:
        self._appends = appends
        self._admitted: list[int] = list(range(len(appends)))
        self._versions: dict[int, int] = {}
        self._encoded: dict[int, bytes] = {}
        self._owners: dict[RequestKey, int] = {}
        self.outcomes: list[Outcome] = [None] * len(appends)
        self.subject_ids: list[int] = sorted({write.subject_id for append in appends for write in append.writes})

    def admit(self, rows: Mapping[int, tuple[int, bytes]]) -> None:
        """Takes (version, samples) of the `latest` rows by subject; appends to any other subject are refused."""
        for subject_id, (version, samples) in rows.items():
            self._versions[subject_id] = version
            self._encoded[subject_id] = samples
        if len(rows) == len(self.subject_ids):
            return
        for index in self._admitted:
            gone = {write.subject_id for write in self._appends[index].writes} - self._versions.keys()
            if gone:
                self.outcomes[index] = SubjectGone(gone)
        self._admitted = [index for index in self._admitted if self.outcomes[index] is None]

    def requests(self) -> list[RequestRecord]:
        """Returns the idempotency keys to insert, each once, for the first append that has it.

        They are sorted by key, so that concurrent transactions cannot deadlock.
        """
        first: dict[RequestKey, RequestRecord] = {}
        for index in self._admitted:
            request = self._appends[index].request
            if request is not None:
                key = (request.tenant, request.request_id)
                if self._owners.setdefault(key, index) == index:
                    first[key] = request
        return [first[key] for key in sorted(first)]

    def settle(self, known: Mapping[RequestKey, RequestRecord]) -> None:
        """Takes the stored records of keys that are known already: their appends, and repeats here, are not made."""
        for index in self._admitted:
            request = self._appends[index].request
            if request is None:
                continue
            key = (request.tenant, request.request_id)
            if key in known:
                self.outcomes[index] = known[key]
            elif self._owners[key] != index:
                self.outcomes[index] = self._appends[self._owners[key]].request
        self._admitted = [index for index in self._admitted if self.outcomes[index] is None]

    def block_rows(self) -> list[tuple[int, Block, str | None]]:
        """The blocks to insert as (subject id, block, run that wrote it), in the order in which later ones win."""
        return [
            (write.subject_id, block, write.run_id or None)
            for index in self._admitted
            for write in self._appends[index].writes
            for block in write.blocks
        ]

    def latest_rows(self) -> list[tuple[int, int, bytes]]:
        """The changed `latest` rows as (subject id, new version, samples), by subject id.

        Raises:
            LatestDamaged: the row of a subject cannot be read.
        """
        damaged: set[int] = set()
        advanced: dict[int, dict[int, LatestSample]] = {}
        for index in self._admitted:
            for write in self._appends[index].writes:
                subject_id = write.subject_id
                if write.row is None and write.frame is None:
                    continue
                current = advanced.get(subject_id)
                if current is None:
                    try:
                        current = decode_latest(self._encoded[subject_id])
                    except BlockCorrupt:
                        damaged.add(subject_id)
                        continue
                if write.row is not None:
                    advanced[subject_id] = advance_row(current, *write.row)
                elif write.frame is not None:
                    advanced[subject_id] = advance(current, write.frame)
        if damaged:
            raise LatestDamaged(damaged)
        return [
            (subject_id, self._versions[subject_id] + 1, encode_latest(advanced[subject_id]))
            for subject_id in sorted(advanced)
        ]
