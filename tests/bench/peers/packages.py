"""The Debian packages that hold the peers and the generator of requests."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping

from tests.bench import postgres

PROGRAMS: Mapping[str, str] = {
    "victoria-metrics": "victoria-metrics",
    "influxd": "influxdb",
    "prometheus": "prometheus",
    "h2load": "nghttp2-client",
}
"""Programs by name, each with the package that has it."""


class PackagesMissing(Exception):
    """Programs are missing and cannot be installed from here; the message tells the command that does it."""


def require() -> None:
    """Installs what is missing, as root on a machine with apt-get.

    Raises:
        PackagesMissing: something is missing and this is not root, or there is no apt-get, or it failed.
    """
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if not postgres.available():
        missing.append("postgresql")
    if not missing:
        return
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise PackagesMissing(f"missing here: {', '.join(missing)}. On Debian: sudo {' '.join(command)}")
    print(f"installing {', '.join(missing)}", flush=True)
    # The packages would start their services: the bench starts its own ones.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PackagesMissing(f"apt-get failed, perhaps for want of `apt-get update`:\n{done.stderr[-2000:]}")
