"""Telling callers that their answer may lack something: trailing metadata `streamgauge-damaged`.

An answer is never an error because something stored is damaged, and never silent about it. The trailer comes once for
each block that could not be read, as a URL would have it: the subject, then `part`, `day` and `seq`, and `what` of the
block is damaged. Beyond MAX_TOLD, or MAX_BYTES, the last one is `more=` and how many there are besides.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from streamgauge_server.rpc.context import Call, find_call
from streamgauge_server.storage.damage_log import NamedDamage

KEY = "streamgauge-damaged"
MAX_TOLD = 20
MAX_BYTES = 4_000
"""Trailers that one answer has at most: clients accept 8 kB of them by default."""
MAX_KEPT = 10_000
_MAX_NAME = 120
_OVERHEAD = 32
"""Bytes that HTTP/2 counts beside each key and value."""


def tell(damage: NamedDamage) -> None:
    """Notes damage for the caller whose call is under way; in the background there is none."""
    call = find_call()
    if call is None:
        return
    if call.damage is None:
        call.damage = {}
    if len(call.damage) < MAX_KEPT:
        call.damage[damage] = None


def trailers(call: Call) -> list[tuple[str, str]]:
    """Returns the trailers of a call."""
    if not call.damage:
        return []
    told: list[tuple[str, str]] = []
    room = MAX_BYTES
    for damage in list(call.damage)[:MAX_TOLD]:
        text = _text(damage)
        room -= len(KEY) + len(text) + _OVERHEAD
        if room < 0:
            break
        told.append((KEY, text))
    if more := len(call.damage) - len(told):
        told.append((KEY, f"more={more}"))
    return told


def _text(damage: NamedDamage) -> str:
    fields = {
        "part": damage.subject_part[:_MAX_NAME],
        "day": "" if damage.day is None else damage.day.isoformat(),
        "seq": "" if damage.seq is None else str(damage.seq),
        "what": damage.part.value,
    }
    return f"{quote(damage.subject[:_MAX_NAME])}?{urlencode({name: text for name, text in fields.items() if text})}"
