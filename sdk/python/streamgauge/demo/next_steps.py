"""What to try on the server that holds the recorded run: a block of lines for a shell, each of which works."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from streamgauge.demo.recorded_run import MAIN_SOURCE

_MINUTE = timedelta(minutes=1)
_SOURCE = MAIN_SOURCE.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs as a shell in this directory finds them."""

    grpcurl: str
    streamgauge: str
    python: str

    @classmethod
    def beside(cls, python: Path, directory: Path) -> Programs:
        """Returns the programs of the environment of a Python, by short paths, or by name where they are missing."""

        def find(name: str) -> str:
            path = python.parent / name
            if not path.exists():
                return name
            return shlex.quote(os.path.relpath(path, directory) if path.is_relative_to(directory) else str(path))

        return cls(find("grpcurl"), find("streamgauge"), find("python"))


def lines(programs: Programs, target: str, http_url: str, seen: tuple[datetime, datetime] | None) -> str:
    """Returns the block, for the server at `target` with its HTTP gateway at `http_url`.

    `seen` is the first and last moment of the recorded run in the server, None without it. The lines name their range
    in full, so that they still answer when the run has grown older than a day.
    """
    grpcurl = f"{programs.grpcurl} -plaintext"
    service = f"{target} streamgauge.v1.SourceService"
    if seen is None:
        return "\n".join(
            (
                "# The services, and the sources",
                f"{grpcurl} {target} list",
                f"{programs.streamgauge} sources list --target {target}",
            )
        )
    start, end = _whole_minutes(*seen)
    period = f"--from {_iso(start)} --to {_iso(end)}"
    legacy_period = f"timestamp_from={_iso(start)}&timestamp_to={_iso(end)}"
    question = json.dumps(
        {
            "source": MAIN_SOURCE,
            "timeType": "TIME_TYPE_TIMESUMMARY",
            "metrics": ["sourceRecordWriteTotal", "recordRetryTotal"],
            "timestampFrom": _iso(start),
            "timestampTo": _iso(end),
        }
    )
    return f"""\
# The services; every one can be described
{grpcurl} {target} list
{grpcurl} {target} describe streamgauge.v1.SourceService

# How much was delivered, and how much sent again? With grpcurl
{grpcurl} -d '{question}' {service}/GetSourceMetrics

# By the minute, on the command line
{programs.streamgauge} sources metrics {_SOURCE} --unit minute {period} --target {target}

# What is it doing now? And the states of all of them
{programs.streamgauge} sources metrics {_SOURCE} --type latest --target {target}
{programs.streamgauge} latest {MAIN_SOURCE} sources/67ad6e0af08a2365c729ba80 sources/file_demo \
--metric connector_status --target {target}

# Over HTTP: as REST, and as clients of Streamkap ask
curl -s '{http_url}/v1/sources/{_SOURCE}/metrics?timeType=TIME_TYPE_LATEST&metrics=connector_status'
curl -s '{http_url}/sources/{_SOURCE}/metrics?time_type=timesummary&{legacy_period}'

# In Python: the totals are true, although restarts set the counters back to zero
{programs.python} - <<'EOF'
from datetime import datetime
from streamgauge import Client

with Client("{target}") as client:
    summary = client.sources.timesummary(
        "{_SOURCE}",
        start=datetime.fromisoformat("{start.isoformat()}"),
        end=datetime.fromisoformat("{end.isoformat()}"),
    )
    for metric in ("sourceRecordWriteTotal", "recordSendTotal", "recordRetryTotal"):
        found = summary[metric]
        print(f"{{metric}}: {{found.value:,}} across {{found.reset_count}} resets")
EOF"""


def lines_with_token(programs: Programs, target: str) -> str:
    """Returns the block for a store that has access tokens, where calls need one."""
    return f"""\
# The services
{programs.grpcurl} -plaintext {target} list

# The sources; calls need an access token here, in the variable STREAMGAUGE_TOKEN
{programs.streamgauge} sources list --target {target}"""


def _whole_minutes(first: datetime, last: datetime) -> tuple[datetime, datetime]:
    return first.replace(second=0, microsecond=0), last.replace(second=0, microsecond=0) + _MINUTE


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
