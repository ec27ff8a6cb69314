"""The HTTP rules of the contract as text: one line per binding, `VERB path body RPC`.

`buf breaking` does not see a changed `google.api.http` rule, so `protos/http_rules.txt` holds a snapshot of them all:
a REST path changes only together with that file.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from pathlib import Path
from typing import Any

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


def main() -> None:
    """Prints the rules, or with `--write` / `--check` writes the snapshot or compares with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the snapshot")
    parser.add_argument("--check", action="store_true", help="compare with the snapshot")
    arguments = parser.parse_args()
    text = "\n".join(http_rules()) + "\n"
    if arguments.write:
        SNAPSHOT.write_text(text, encoding="utf-8")
        return
    if not arguments.check:
        sys.stdout.write(text)
        return
    kept = SNAPSHOT.read_text(encoding="utf-8") if SNAPSHOT.exists() else ""
    if kept != text:
        sys.stderr.writelines(
            difflib.unified_diff(kept.splitlines(True), text.splitlines(True), str(SNAPSHOT.name), "the protos")
        )
        sys.exit("the HTTP rules have changed: if that is meant, run `make http-rules` and commit the result")
    print(f"{len(text.splitlines())} HTTP rules are as in {SNAPSHOT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
