"""`python -m streamgauge_server` is `streamgauge-server`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line. Without the server's dependencies it says how to install them and exits with 2."""
    try:
        from streamgauge_server.cli import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("streamgauge"):
            raise
        print(f"The server needs {error.name}. Install it with: pip install 'streamgauge[server]'", file=sys.stderr)
        raise SystemExit(2) from None
    run()


if __name__ == "__main__":
    main()
