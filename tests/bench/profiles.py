"""Where a process spends its time: stacks sampled by py-spy while it is under load."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RATE = 250
TOP = 25


class ProfileError(Exception):
    """There is no sampler, or it may not look into the process."""


@contextmanager
def sampled(pid: int, path: Path) -> Iterator[None]:
    """Samples a process while the block runs; writes one line per stack with its count ("folded", for flame graphs).

    Raises:
        ProfileError: py-spy is missing or may not attach.
    """
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise ProfileError("profiles need py-spy: pip install py-spy")
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = [
        "record",
        "--pid",
        str(pid),
        "--rate",
        str(RATE),
        "--format",
        "raw",
        "--threads",
        "--output",
        str(path),
    ]
    sampler = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert sampler.stdout is not None
    told = sampler.stdout.readline()
    try:
        yield
    finally:
        sampler.send_signal(signal.SIGINT)
        rest, _ = sampler.communicate()
    if sampler.returncode or not path.exists():
        raise ProfileError(f"py-spy could not sample process {pid}: {told}{rest}")


def summary(path: Path, top: int = TOP) -> list[str]:
    """Returns the functions with the largest shares of the samples, each with those that it called and by itself."""
    inclusive: Counter[str] = Counter()
    own: Counter[str] = Counter()
    total = 0
    for line in path.read_text().splitlines():
        stack, _, text = line.rpartition(" ")
        functions, count = [_function(entry) for entry in stack.split(";")], int(text)
        total += count
        own[functions[-1]] += count
        for function in set(functions):
            inclusive[function] += count
    lines = [f"{total} samples at {RATE} Hz in {path}", "  total   self  function"]
    for function, count in inclusive.most_common(top):
        lines.append(f"  {count / total:5.1%}  {own[function] / total:5.1%}  {function}")
    lines.append("   self  function")
    lines.extend(f"  {count / total:5.1%}  {function}" for function, count in own.most_common(top))
    return lines


def _function(entry: str) -> str:
    """Returns an entry of a stack without its line number: `name (file:line)` as `name (file)`."""
    name, _, place = entry.partition(" (")
    return f"{name} ({place.rpartition(':')[0]})" if place else name
