"""The streamgauge server."""
