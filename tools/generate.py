"""Generates the Python code of the contract, or checks that the committed code is what would be generated.

Runs in an environment of its own (`make gen`, `make gen-check`), see `gen-requirements.txt`. Public code goes into the
SDK, internal code into the server; services alone get a `*_pb2_grpc` module.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"

PACKAGES = {
    "streamgauge/v1": ROOT / "sdk/python/streamgauge/v1",
    "streamgauge/internal/v1": ROOT / "server/streamgauge_server/internal",
}
"""Proto directory -> directory of the generated code."""

SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def run_protoc(arguments: list[str]) -> None:
    """Runs the protoc of this environment, which knows the well-known types; leaves with its status when it fails."""
    done = subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def has_service(proto: Path) -> bool:
    """Tells whether a proto file defines a service."""
    return any(line.startswith("service ") for line in proto.read_text(encoding="utf-8").splitlines())


def generate(out: Path) -> dict[Path, Path]:
    """Generates everything under `out`; returns where each generated file belongs."""
    protos = sorted(p for package in PACKAGES for p in (PROTOS / package).glob("*.proto"))
    names = [str(p.relative_to(PROTOS)) for p in protos]
    services = [str(p.relative_to(PROTOS)) for p in protos if has_service(p)]
    # protoc-gen-mypy and protoc-gen-mypy_grpc are found on the PATH, which `make gen` sets.
    run_protoc([f"--python_out={out}", f"--mypy_out=quiet:{out}", *names])
    run_protoc([f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services])
    return {
        source: target / source.name
        for package, target in PACKAGES.items()
        for source in sorted((out / package).iterdir())
        if source.name.endswith(SUFFIXES)
    }


def stale(wanted: dict[Path, Path]) -> list[Path]:
    """Returns generated files in the tree that no proto file stands behind any more."""
    targets = set(wanted.values())
    found = (p for directory in PACKAGES.values() if directory.is_dir() for p in directory.iterdir())
    return sorted(p for p in found if p.name.endswith(SUFFIXES) and p not in targets)


def main() -> None:
    """Generates in place, or with `--check` only compares and tells what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed code, change nothing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as temporary:
        wanted = generate(Path(temporary))
        old = stale(wanted)
        changed = {s: t for s, t in wanted.items() if not t.exists() or not filecmp.cmp(s, t, shallow=False)}
        if check:
            for target in [*changed.values(), *old]:
                print(f"differs from what the protos generate: {target.relative_to(ROOT)}", file=sys.stderr)
            if changed or old:
                sys.exit("run `make gen` and commit the result")
            print(f"{len(wanted)} generated files are as the protos generate them")
            return
        for source, target in changed.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        for target in old:
            target.unlink()
        print(f"{len(changed)} of {len(wanted)} generated files changed, {len(old)} removed")


if __name__ == "__main__":
    main()
