"""Where Flink and Java for tests come from: the PyPI package `apache-flink-libraries`, fetched once, and the PATH."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NoReturn

import pytest

HOME_VARIABLE = "STREAMGAUGE_FLINK_HOME"
"""A directory with Flink's `lib`, as an installed `apache-flink-libraries` has it in `pyflink`."""
VERSION_VARIABLE = "STREAMGAUGE_FLINK_VERSION"
DEFAULT_VERSION = "2.3.0"

FETCH_SECONDS = 600
COMPILE_SECONDS = 120
SOURCE = Path(__file__).with_name("DemoJob.java")


def version() -> str:
    """Returns the version of Flink to test with."""
    return os.environ.get(VERSION_VARIABLE) or DEFAULT_VERSION


def flink_home() -> Path:
    """Returns where Flink is. The package (330 MB) is fetched into the user's cache if it is not there yet.

    Skips, or fails where the variable `CI` is set, when it cannot be had.
    """
    if told := os.environ.get(HOME_VARIABLE):
        home = Path(told)
        if not list(home.glob("lib/flink-dist*.jar")):
            unavailable(f"{HOME_VARIABLE} is {told!r}, where no lib/flink-dist*.jar is")
        return home
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamgauge"
    installed = cache / f"flink-{version()}"
    if not installed.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fetched = Path(tempfile.mkdtemp(prefix="fetching-", dir=cache))
        try:
            _fetch(fetched)
            # All at once, so that a session that starts meanwhile sees all of it or nothing.
            fetched.rename(installed)
        finally:
            shutil.rmtree(fetched, ignore_errors=True)
    return installed / "pyflink"


def program(name: str) -> str:
    """Returns the path of `java` or `javac`. Skips, or fails where `CI` is set, when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(name, path=f"{home}/bin") if home else None
    found = found or shutil.which(name)
    if found is None:
        unavailable(f"no {name} found, neither in JAVA_HOME nor on the PATH")
    return found


def demo_jar(home: Path, directory: Path) -> Path:
    """Compiles the demo job into a jar in a directory."""
    classes = directory / "classes"
    libraries = os.pathsep.join(str(path) for path in home.glob("lib/flink-dist*.jar"))
    command = [program("javac"), "--release", "11", "-cp", libraries, "-d", str(classes), str(SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"the demo job does not compile: {done.stdout}{done.stderr}")
    jar = directory / "demo.jar"
    with zipfile.ZipFile(jar, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\r\nMain-Class: demo.DemoJob\r\n\r\n")
        for path in sorted(classes.rglob("*.class")):
            archive.write(path, str(path.relative_to(classes)))
    return jar


def unavailable(reason: str) -> NoReturn:
    """Skips the test, and fails it where nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _fetch(target: Path) -> None:
    requirement = f"apache-flink-libraries=={version()}"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-compile", "--no-cache-dir", "--target", str(target), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        unavailable(f"{requirement} could not be fetched within {FETCH_SECONDS} seconds")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        unavailable(f"{requirement} cannot be had: {last}")
