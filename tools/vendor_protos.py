"""Refreshes `protos/google` from the installed googleapis-common-protos, so that `-I protos` is all a client needs.

Holds what the contract imports, and the messages that travel in `grpc-status-details-bin` (`google/rpc`).
"""

from __future__ import annotations

import shutil
from importlib.metadata import files
from pathlib import Path

PROTOS = Path(__file__).resolve().parent.parent / "protos"

VENDORED = (
    "google/api/annotations.proto",
    "google/api/field_behavior.proto",
    "google/api/http.proto",
    "google/rpc/error_details.proto",
    "google/rpc/status.proto",
)
"""Nothing else may stand in `protos/google`; `tests/project/test_contract.py` holds it to that."""


def main() -> None:
    """Copies the files and removes those that are no longer wanted."""
    installed = {str(f): f.locate() for f in files("googleapis-common-protos") or ()}
    for name in VENDORED:
        target = PROTOS / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(installed[name], target)
    for path in sorted((PROTOS / "google").rglob("*.proto")):
        if str(path.relative_to(PROTOS)) not in VENDORED:
            path.unlink()
    print(f"protos/google holds {len(VENDORED)} files of googleapis-common-protos")


if __name__ == "__main__":
    main()
