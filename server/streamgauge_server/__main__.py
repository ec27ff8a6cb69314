"""`python -m streamgauge_server` is `streamgauge-server`."""

from streamgauge_server.cli import main

main()
