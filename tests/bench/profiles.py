"""Where a process spends the time of its interpreter: stacks sampled by py-spy while it is under load."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PACKAGE = "streamgauge_server"
RATE = 500
TOP = 30


class ProfileError(Exception):
    """There is no sampler, or it may not look into the process."""


@contextmanager
def sampled(pid: int, path: Path) -> Iterator[None]:
    """Samples the stack that holds the interpreter's lock while the block runs; writes each stack with its count.

    What runs beside the lock, such as SQLite, compression and gRPC's own threads, is not in it.

    Raises:
        ProfileError: py-spy is missing or may not attach.
    """
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise ProfileError("profiles need py-spy: pip install py-spy")
    path.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["--pid", str(pid), "--rate", str(RATE), "--gil", "--format", "raw", "--output", str(path)]
    sampler = subprocess.Popen(
        [program, "record", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
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
    """Returns lines with the shares of the samples: by module, by function with what it called, by function alone.

    A sample counts for the module of the server that is nearest to its end, so for who called a library.
    """
    modules: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        stack, _, text = line.rpartition(" ")
        functions, count = [_function(entry) for entry in stack.split(";")], int(text)
        modules[_module(functions)] += count
        own[functions[-1]] += count
        for function in set(functions[_begin(functions) :]):
            inclusive[function] += count
    total = own.total()
    lines = [f"{total} samples at {RATE} Hz in {path}"]
    for title, counts in (("by module", modules), ("function and below", inclusive), ("function alone", own)):
        lines.append(f"  {title}")
        lines.extend(f"  {count / total:6.1%}  {name}" for name, count in counts.most_common(top))
    return lines


def _function(entry: str) -> str:
    """Returns an entry of a stack without its line number: `name (file:line)` as `name (file)`."""
    name, _, place = entry.partition(" (")
    return f"{name} ({place.rpartition(':')[0]})" if place else name


def _module(functions: Sequence[str]) -> str:
    for function in reversed(functions):
        _, found, module = function.partition(f"({PACKAGE}/")
        if found and not module.startswith(("cli.py", "__main__.py")):
            return module.removesuffix(")")
    return "event loop and gRPC"


def _begin(functions: Sequence[str]) -> int:
    """Returns where a stack leaves the event loop or begins in a thread, so that what is always there is left out."""
    loops = [i for i, function in enumerate(functions) if function.startswith("Handle._run ")]
    return loops[0] if loops else 0
