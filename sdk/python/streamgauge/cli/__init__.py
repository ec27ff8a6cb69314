"""The command line: `streamgauge sources list`, `streamgauge write`, `streamgauge query`, and more.

It needs the extra `cli`. The modules: `app` puts the commands together, `connection` finds and opens the server,
`output` prints answers, and each group of commands has a module of its own.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line. Without click and rich it says how to install them and exits with 2."""
    try:
        import click
        import rich
    except ImportError as error:
        print(
            f"The command line needs {error.name}. Install it with: pip install 'streamgauge[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    del click, rich
    from streamgauge.cli.app import run

    run()
