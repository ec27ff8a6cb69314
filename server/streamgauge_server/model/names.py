"""Resource names: how they are parsed, checked and made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from streamgauge_server.model.errors import Violation
from streamgauge_server.model.values import SubjectKind

_ID = re.compile(r"[A-Za-z0-9._~-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

COLLECTIONS: dict[SubjectKind, str] = {
    SubjectKind.SOURCE: "sources",
    SubjectKind.JOB: "jobs",
    SubjectKind.ASSET: "assets",
    SubjectKind.METRIC_TYPE_CHOICE: "metricTypes",
}
"""The collection name of each kind of subject; also its word in descriptor names."""
KINDS = {collection: kind for kind, collection in COLLECTIONS.items()}

MAX_NAME_BYTES = 255

_LONGEST_SUBJECT = len("metricTypes//choices/") + 2 * 128


@dataclass(frozen=True, slots=True)
class SubjectName:
    """A subject by kind and id; `str()` is its resource name."""

    kind: SubjectKind
    id: str

    def __hash__(self) -> int:
        # Names are keys of every write and read, and strings know their hashes. Ids of two kinds are seldom the same.
        return hash(self.id)

    def __str__(self) -> str:
        if self.kind == SubjectKind.METRIC_TYPE_CHOICE:
            metric_type, _, choice = self.id.partition("/")
            return f"metricTypes/{metric_type}/choices/{choice}"
        return f"{COLLECTIONS[self.kind]}/{self.id}"


def id_problem(id_: str) -> str | None:
    """Returns what is wrong with the last part of a resource name, or None."""
    if _ID.fullmatch(id_) and id_ not in (".", ".."):
        return None
    return "must have 1 to 128 characters out of letters, digits, '.', '_', '~' and '-'" + (
        f", has {len(id_)}" if len(id_) > 128 else ""
    )


def parse_subject(name: str) -> SubjectName | None:
    """Returns the subject of a resource name, or None when it is malformed."""
    # Every write and read names subjects, most often the same ones. What is too long to be one is not kept.
    return _kept_subject(name) if len(name) <= _LONGEST_SUBJECT else None


@lru_cache(maxsize=16_384)
def _kept_subject(name: str) -> SubjectName | None:
    head, slash, rest = name.partition("/")
    kind = KINDS.get(head)
    if not slash or kind is None:
        return None
    if kind == SubjectKind.METRIC_TYPE_CHOICE:
        segments = rest.split("/")
        if len(segments) != 3 or segments[1] != "choices" or id_problem(segments[0]) or id_problem(segments[2]):
            return None
        return SubjectName(kind, f"{segments[0]}/{segments[2]}")
    return None if id_problem(rest) else SubjectName(kind, rest)


def text_problem(text: str, max_bytes: int, *, required: bool = False) -> str | None:
    """Returns what is wrong with a short text (names, labels, parts): empty, too long, control characters; or None."""
    if not text:
        return "must not be empty" if required else None
    if len(text) > max_bytes or not text.isascii():
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > max_bytes:
            return f"must have at most {max_bytes} bytes, has {size}"
    return control_problem(text)


def control_problem(text: str) -> str | None:
    """Returns what is wrong with a text that holds control characters or halves of surrogate pairs, or None."""
    return "must not hold control characters" if _CONTROL.search(text) else None


MAX_METRIC_CHARACTERS = 255


def metric_name_problem(metric: str) -> str | None:
    """Returns what is wrong with the name of a metric, or None. Its length is counted in characters, not in bytes."""
    if not metric:
        return "must not be empty"
    if len(metric) > MAX_METRIC_CHARACTERS:
        return f"must have at most {MAX_METRIC_CHARACTERS} characters, has {len(metric)}"
    return control_problem(metric)


def descriptor_name(kind: SubjectKind, metric: str) -> str:
    """Returns the resource name of a metric descriptor."""
    return f"metricDescriptors/{COLLECTIONS[kind]}/{metric}"


def parse_descriptor(name: str) -> tuple[SubjectKind, str] | None:
    """Returns subject kind and metric of a descriptor's resource name, or None when it is malformed."""
    head, _, rest = name.partition("/")
    collection, slash, metric = rest.partition("/")
    kind = KINDS.get(collection)
    if head != "metricDescriptors" or not slash or kind is None or metric_name_problem(metric):
        return None
    return kind, metric


SUBJECT_FORM = "must be the resource name of a subject, such as 'sources/orders'"


def subject_list_problems(subjects: Sequence[str], limit: int) -> list[Violation]:
    """Returns what is wrong with the subjects that a read names: 1 to `limit` resource names, each once."""
    if not 1 <= len(subjects) <= limit:
        return [Violation("subjects", f"must have 1 to {limit} entries, has {len(subjects)}")]
    seen: set[str] = set()
    found: list[Violation] = []
    for position, name in enumerate(subjects):
        if parse_subject(name) is None:
            found.append(Violation(f"subjects[{position}]", SUBJECT_FORM))
        elif name in seen:
            found.append(Violation(f"subjects[{position}]", f"names {name} twice"))
        seen.add(name)
    return found


MAX_NAMED_METRICS = 1_000


def metric_list_problems(metrics: Sequence[str]) -> list[Violation]:
    """Returns what is wrong with the metrics that a read names."""
    if len(metrics) > MAX_NAMED_METRICS:
        return [Violation("metrics", f"must have at most {MAX_NAMED_METRICS} entries, has {len(metrics)}")]
    return [
        Violation(f"metrics[{position}]", problem)
        for position, metric in enumerate(metrics)
        if (problem := metric_name_problem(metric))
    ]
