"""The command `streamgauge`, put together."""

from __future__ import annotations

import click

from streamgauge._version import __version__
from streamgauge.cli.assets import assets
from streamgauge.cli.demo import demo
from streamgauge.cli.descriptors import descriptors
from streamgauge.cli.examples import examples
from streamgauge.cli.files import export, import_
from streamgauge.cli.job_types import job_types
from streamgauge.cli.jobs import jobs
from streamgauge.cli.metric_types import metric_types
from streamgauge.cli.metrics import latest, query, write
from streamgauge.cli.server import server
from streamgauge.cli.sources import sources
from streamgauge.cli.watching import watch


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog=examples(
        "streamgauge sources list",
        "streamgauge sources metrics orders --unit minute --from -1h",
        "streamgauge write sources/orders rows=5 lag=1.5",
        "streamgauge latest sources/orders --output json",
        "streamgauge assets emit urn:x:orders rowCount=5 fresh=true",
        "streamgauge jobs status orders",
        "streamgauge metric-types plot job-types --unit day --from -30d",
        "streamgauge query sources/orders --metric byteTotal --unit day --from -30d --show-grpcurl",
    ),
)
@click.version_option(__version__, prog_name="streamgauge")
def app() -> None:
    """Read and write the metrics of data pipelines.

    Every command takes --target and the other options of the connection, or the variables of the environment
    STREAMGAUGE_TARGET, STREAMGAUGE_TOKEN or STREAMGAUGE_TOKEN_FILE, STREAMGAUGE_TLS, STREAMGAUGE_CA_FILE,
    STREAMGAUGE_CLIENT_CERT_FILE, STREAMGAUGE_CLIENT_KEY_FILE, STREAMGAUGE_SERVER_NAME and STREAMGAUGE_TIMEOUT.

    Exit codes: 0 done, 1 refused by the server (wholly or in part), 2 wrong usage, 3 the server did not answer.
    """


for command in (
    sources,
    assets,
    jobs,
    job_types,
    metric_types,
    write,
    query,
    latest,
    watch,
    descriptors,
    server,
    demo,
    export,
    import_,
):
    app.add_command(command)


def run() -> None:
    """Runs the command with the arguments of the process."""
    app(prog_name="streamgauge")
