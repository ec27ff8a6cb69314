"""The HTTP rules of the contract as text: one line per binding, `VERB path body RPC`.

`buf breaking` does not see a changed `google.api.http` rule, so `protos/http_rules.txt` holds a snapshot of them all:
a REST path changes only together with that file.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import snapshot
from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor import MethodDescriptor

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT / "protos/http_rules.txt"
HTTP: Any = annotations_pb2.http


def lines_of(method: MethodDescriptor) -> list[str]:
    """Returns a line for each binding of a method. Raises ValueError when it has none."""
    options = method.GetOptions()
    if not options.HasExtension(HTTP):
        raise ValueError(f"{method.full_name} has no google.api.http rule")
    rule: http_pb2.HttpRule = options.Extensions[HTTP]
    lines = []
    for binding in (rule, *rule.additional_bindings):
        pattern = binding.WhichOneof("pattern")
        if pattern is None or pattern == "custom":
            raise ValueError(f"{method.full_name} has a rule without a verb")
        lines.append(f"{pattern.upper():6} {getattr(binding, pattern)} body={binding.body or '-'} {method.full_name}")
    return lines


def http_rules() -> list[str]:
    """Returns the lines of every RPC of the contract, sorted by RPC."""
    lines = []
    for proto in sorted((ROOT / "protos/streamgauge/v1").glob("*.proto")):
        module = importlib.import_module(f"streamgauge.v1.{proto.stem}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                lines += lines_of(method)
    return sorted(lines, key=lambda line: line.rsplit(" ", 1)[1])


if __name__ == "__main__":
    snapshot.main(SNAPSHOT, "\n".join(http_rules()) + "\n", __doc__, "make http-rules")
