"""The reference page `docs/reference.md`, written from the code: limits, scopes, errors, built-in metrics, settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import snapshot
from streamgauge_server import configuration
from streamgauge_server.model.entities import READ_SCOPE, SCOPES, WRITE_SCOPE
from streamgauge_server.model.errors import Reason
from streamgauge_server.model.job_catalog import JOB_METRICS
from streamgauge_server.model.limits import Limits
from streamgauge_server.model.source_catalog import SOURCE_METRICS, BuiltIn
from streamgauge_server.rpc.errors import STATUS_CODES

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference.md"

HEAD = """\
# Reference

Written from the code by `make reference`; a test holds it to the code. The RPCs and messages are documented where they
are defined, in [`protos/streamgauge/v1`](../protos/streamgauge/v1); their HTTP rules are listed in
[`protos/http_rules.txt`](../protos/http_rules.txt).
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns a Markdown table."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(line)} |" for line in lines), ""]


def limits() -> list[str]:
    """Returns the section about limits."""
    rows = [(f"`{f.name}`", f"{f.default:,}", f.metadata["unit"], f.metadata["about"]) for f in fields(Limits)]
    return ["## Limits", "", *table(("limit", "default", "unit", "what it bounds"), rows)]


def scopes() -> list[str]:
    """Returns the section about scopes."""
    read = {scope: f"read {kind.name.lower().replace('_', ' ')} metrics" for kind, scope in READ_SCOPE.items()}
    write = {scope: f"write {kind.name.lower().replace('_', ' ')} metrics" for kind, scope in WRITE_SCOPE.items()}
    extra = {"stop:jobs": "stop a job", "admin": "everything, tokens included"}
    allows = read | write | extra
    return ["## Scopes", "", *table(("scope", "allows to"), [(f"`{s}`", allows[s]) for s in SCOPES])]


def errors() -> list[str]:
    """Returns the section about errors; what they mean and carry is taken from the comments of the contract."""
    text = (ROOT / "protos/streamgauge/v1/errors.proto").read_text(encoding="utf-8")
    rows = []
    for comment, name in re.findall(r"((?:^  //.*\n)+)  ERROR_REASON_(\w+) = [1-9]\d*;", text, re.MULTILINE):
        words = re.sub(r"\s*//\s*", " ", comment).strip()
        _, meaning = words.split(": ", 1)
        meaning, metadata = meaning.split(" Metadata: ")
        rows.append((f"`{name}`", f"`{STATUS_CODES[Reason[name]].name}`", meaning, metadata.rstrip(".")))
    return ["## Error reasons", "", *table(("reason", "status", "meaning", "metadata"), rows)]


def metrics(subject: str, built_in: Sequence[BuiltIn]) -> list[str]:
    """Returns the section about the metrics that every subject of a kind may have."""
    rows = [
        (
            f"`{m.metric}`",
            m.display_name,
            m.unit,
            f"{m.kind.name} {m.value_type.name}",
            f"{m.window_aggregate.name} / {m.summary_aggregate.name}",
            m.part_combination.name,
        )
        for m in built_in
    ]
    head = ("metric", "display name", "unit", "kind and type", "window / summary", "parts")
    return [f"## Built-in metrics of a {subject}", "", *table(head, rows)]


def settings() -> list[str]:
    """Returns the section about the server's settings."""
    rows = [
        (f"`{entry.name}`", f"`{entry.variable}`", entry.type, default_of(entry), entry.description)
        for entry in configuration.reference()
        if not entry.name.startswith("limits.")
    ]
    about = """\
Flags over environment variables over the TOML file named by `--config` or `STREAMGAUGE_CONFIG` over defaults. A dot in
a name is a table in TOML. Every limit is a setting as well: `limits.max_windows`, `STREAMGAUGE_LIMITS__MAX_WINDOWS`.
"""
    of_cluster = [
        (f"`{entry.name}`", entry.type, default_of(entry), entry.description)
        for entry in configuration.cluster_reference()
    ]
    return [
        "## Settings",
        "",
        about,
        *table(("setting", "variable", "type", "default", "what it does"), rows),
        "### Of a cluster",
        "",
        "Options of a cluster in one line, and the keys of its table `[[clusters]]` in TOML.",
        "",
        *table(("option", "type", "default", "what it does"), of_cluster),
    ]


def default_of(entry: configuration.Entry) -> str:
    """Returns a setting's default as it would be written in TOML."""
    if entry.default is None:
        return "none"
    return f"`{json.dumps(entry.default)}`"


def page() -> str:
    """Returns the whole page."""
    sections = [HEAD, *settings(), *limits(), *scopes(), *errors()]
    sections += [*metrics("source", SOURCE_METRICS), *metrics("job", JOB_METRICS)]
    return "\n".join(sections).rstrip() + "\n"


if __name__ == "__main__":
    snapshot.main(PAGE, page(), __doc__, "make reference")
