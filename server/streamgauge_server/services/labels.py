"""Labels of sources and assets: what they may be, and how lists filter by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamgauge_server.model.errors import Violation
from streamgauge_server.model.names import MAX_NAME_BYTES, text_problem

MAX_LABELS = 64
MAX_LABEL_KEY_BYTES = 63
MAX_LABEL_FILTERS = 16


def label_problems(labels: Mapping[str, str], field: str) -> list[Violation]:
    """Returns what is wrong with the labels of something, which stand in `field` of the request."""
    found: list[Violation] = []
    if len(labels) > MAX_LABELS:
        found.append(Violation(field, f"must have at most {MAX_LABELS} entries, has {len(labels)}"))
    for key, value in labels.items():
        problem = text_problem(key, MAX_LABEL_KEY_BYTES, required=True)
        if "=" in key:
            problem = "must not hold '='"
        if problem:
            found.append(Violation(f'{field}["{key[:MAX_LABEL_KEY_BYTES]}"]', f"the key {problem}"))
        elif problem := text_problem(value, MAX_NAME_BYTES):
            found.append(Violation(f'{field}["{key}"]', problem))
    return found


def label_filter_problems(labels: Sequence[str]) -> list[Violation]:
    """Returns what is wrong with the labels (`key=value`) that a list filters by."""
    found: list[Violation] = []
    if len(labels) > MAX_LABEL_FILTERS:
        return [Violation("labels", f"must have at most {MAX_LABEL_FILTERS} entries, has {len(labels)}")]
    wanted: dict[str, str] = {}
    for position, label in enumerate(labels):
        key, value = _label(label)
        if "=" not in label:
            found.append(Violation(f"labels[{position}]", "must have the form 'key=value'"))
        elif problem := text_problem(key, MAX_LABEL_KEY_BYTES, required=True):
            found.append(Violation(f"labels[{position}]", f"the key {problem}"))
        elif problem := text_problem(value, MAX_NAME_BYTES):
            found.append(Violation(f"labels[{position}]", f"the value {problem}"))
        elif wanted.setdefault(key, value) != value:
            found.append(Violation(f"labels[{position}]", f"asks for two values of {key!r}"))
    return found


def label_filter(labels: Sequence[str]) -> dict[str, str]:
    """Returns the labels that a list filters by, without problems, by their keys."""
    return dict(_label(label) for label in labels)


def _label(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value
