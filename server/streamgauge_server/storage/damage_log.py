"""What was found to be damaged: logged once, counted, and told to whoever asked for it.

Damage of blocks is met by readers, the rows of latest values and of figures also by writers. All of them go on with
what can be read (`timeseries.damage`) and note here what they met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, select

from streamgauge_server.model.names import SubjectName
from streamgauge_server.model.values import SubjectKind
from streamgauge_server.storage import tables
from streamgauge_server.storage.batches import batches
from streamgauge_server.storage.database import Database
from streamgauge_server.timeseries.damage import BlockDamage, DamagedPart

MAX_KNOWN = 100_000
"""How many damaged things are remembered, so that each is logged and counted once."""

_EPOCH = date(1970, 1, 1)

_log = structlog.stdlib.get_logger("streamgauge.damage")


class Damage(NamedTuple):
    """Something stored that cannot be read. `day` (since 1970-01-01) and `seq` are None where it is no block.

    `is_loss` tells that answers may lack something for it.
    """

    part: DamagedPart
    subject_id: int
    day: int | None = None
    seq: int | None = None
    is_loss: bool = True

    @property
    def key(self) -> tuple[DamagedPart, int, int | None]:
        """What tells it from other damage."""
        return self.part, self.subject_id, self.seq


@dataclass(frozen=True, slots=True)
class NamedDamage:
    """Damage with the names of what it belongs to; `subject` is a resource name, or tells which figures."""

    part: DamagedPart
    tenant: str
    subject: str
    subject_part: str
    day: date | None
    seq: int | None


Listener = Callable[[NamedDamage], None]


def of_blocks(subject_id: int, found: Iterable[BlockDamage]) -> list[Damage]:
    """Returns the damage of blocks of a subject."""
    return [Damage(one.part, subject_id, one.day, one.seq, one.is_loss) for one in found]


def of_samples(subject_id: int, day: int, seqs: Iterable[int]) -> list[Damage]:
    """Returns the damage of the samples of some blocks of a day of a subject."""
    return [Damage(DamagedPart.SAMPLES, subject_id, day, seq) for seq in seqs]


class DamageLog:
    """Notes damage; one instance serves a process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[DamagedPart, int, int | None], NamedDamage] = {}
        self.found: Counter[DamagedPart] = Counter()
        """How many damaged things of each kind this process has come across."""
        self.listener: Listener | None = None
        """Is called, in the task of whoever met it, with damage for which his answer may lack something."""

    async def note(self, found: Collection[Damage]) -> None:
        """Takes note of damage that was met, and tells the listener of losses.

        Raises:
            DomainError: STORE_UNAVAILABLE.
        """
        if not found:
            return
        new = {damage.key: damage for damage in found if damage.key not in self._known}
        if new:
            names = await subject_names(self._database, {damage.subject_id for damage in new.values()})
            if len(self._known) + len(new) > MAX_KNOWN:
                self._known.clear()
            for damage in new.values():
                self._add(damage, _named(damage, names))
        if self.listener is not None:
            for damage in found:
                if damage.is_loss and (known := self._known.get(damage.key)) is not None:
                    self.listener(known)

    def note_figures(self, tenant: str, places: Iterable[str]) -> None:
        """Takes note of rows of figures that could not be read and were computed anew; each named by what it counts."""
        for place in places:
            self.found[DamagedPart.FIGURES] += 1
            _log.error("damaged figures, computed anew from records", tenant=tenant, figures=place)

    def _add(self, damage: Damage, named: NamedDamage) -> None:
        self._known[damage.key] = named
        self.found[damage.part] += 1
        _log.error(
            "damaged row of latest values, restored from blocks"
            if damage.part == DamagedPart.LATEST
            else f"damaged {damage.part} of a block",
            tenant=named.tenant,
            subject=named.subject,
            part=named.subject_part,
            day=None if named.day is None else named.day.isoformat(),
            seq=named.seq,
        )


async def subject_names(database: Database, ids: Collection[int]) -> dict[int, tuple[str, SubjectName, str]]:
    """Returns tenant, name and part of those subjects and parts that exist, by id.

    Raises:
        DomainError: STORE_UNAVAILABLE.
    """
    s = tables.subjects.c

    def work(connection: Connection) -> dict[int, tuple[str, SubjectName, str]]:
        found: dict[int, tuple[str, SubjectName, str]] = {}
        for batch in batches(ids):
            query = select(s.id, s.tenant, s.kind, s.name, s.part).where(s.id.in_(batch))
            for id_, tenant, kind, name, part in connection.execute(query):
                found[id_] = (tenant, SubjectName(SubjectKind(kind), name), part)
        return found

    return await database.read(work)


def _named(damage: Damage, names: dict[int, tuple[str, SubjectName, str]]) -> NamedDamage:
    tenant, subject, part = names.get(damage.subject_id, ("", None, ""))
    day = None if damage.day is None else _EPOCH + timedelta(days=damage.day)
    return NamedDamage(damage.part, tenant, "" if subject is None else str(subject), part, day, damage.seq)
