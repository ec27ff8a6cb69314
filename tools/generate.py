"""Generates the Python code and the descriptor set of the contract, or checks that what is committed is as generated.

Runs in an environment of its own (`make gen`, `make gen-check`), see `gen-requirements.txt`. Public code goes into the
SDK, internal code into the server; services alone get a `*_pb2_grpc` module. The descriptor set is what gateways read:
everything public with its comments, everything that it imports, and the details of errors.
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"

PACKAGES = {
    "streamgauge/v1": ROOT / "sdk/python/streamgauge/v1",
    "streamgauge/internal/v1": ROOT / "server/streamgauge_server/internal",
}
"""Proto directory -> directory of the generated code."""

SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")

DESCRIPTOR_SET = ROOT / "server/streamgauge_server/gateway/streamgauge.binpb"
DESCRIBED = ("streamgauge/v1", "google/rpc")
"""Proto directories in the descriptor set. Nothing imports `google/rpc`, but the details of errors are its messages."""


def run_protoc(arguments: list[str]) -> None:
    """Runs the protoc of this environment, which knows the well-known types; leaves with its status when it fails."""
    done = subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *arguments], check=False)
    if done.returncode:
        sys.exit(done.returncode)


def has_service(proto: Path) -> bool:
    """Tells whether a proto file defines a service."""
    return any(line.startswith("service ") for line in proto.read_text(encoding="utf-8").splitlines())


def describe(out: Path) -> Path:
    """Writes the descriptor set under `out` and returns its path."""
    target = out / DESCRIPTOR_SET.name
    names = sorted(str(p.relative_to(PROTOS)) for package in DESCRIBED for p in (PROTOS / package).glob("*.proto"))
    run_protoc(["--include_imports", "--include_source_info", f"--descriptor_set_out={target}", *names])
    described = FileDescriptorSet.FromString(target.read_bytes())
    for file in described.file:
        # Comments are for documents; where in its file each token stands, most of the set, is for nobody.
        told = [place for place in file.source_code_info.location if place.leading_comments or place.trailing_comments]
        file.ClearField("source_code_info")
        file.source_code_info.location.extend(told)
    target.write_bytes(described.SerializeToString(deterministic=True))
    return target


def generate(out: Path) -> dict[Path, Path]:
    """Generates everything under `out`; returns where each generated file belongs."""
    protos = sorted(p for package in PACKAGES for p in (PROTOS / package).glob("*.proto"))
    names = [str(p.relative_to(PROTOS)) for p in protos]
    services = [str(p.relative_to(PROTOS)) for p in protos if has_service(p)]
    # protoc-gen-mypy and protoc-gen-mypy_grpc are found on the PATH, which `make gen` sets.
    run_protoc([f"--python_out={out}", f"--mypy_out=quiet:{out}", *names])
    run_protoc([f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services])
    wanted = {
        source: target / source.name
        for package, target in PACKAGES.items()
        for source in sorted((out / package).iterdir())
        if source.name.endswith(SUFFIXES)
    }
    wanted[describe(out)] = DESCRIPTOR_SET
    return wanted


def stale(wanted: dict[Path, Path]) -> list[Path]:
    """Returns generated files in the tree that no proto file stands behind any more."""
    targets = set(wanted.values())
    found = (p for directory in PACKAGES.values() if directory.is_dir() for p in directory.iterdir())
    return sorted(p for p in found if p.name.endswith(SUFFIXES) and p not in targets)


def main() -> None:
    """Generates in place, or with `--check` only compares and tells what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed code, change nothing")
    parser.add_argument("--descriptor", metavar="FILE", type=Path, help="write the descriptor set there, nothing else")
    arguments = parser.parse_args()
    check = arguments.check
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.descriptor is not None:
            shutil.copyfile(describe(Path(temporary)), arguments.descriptor)
            print(f"wrote {arguments.descriptor}")
            return
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
