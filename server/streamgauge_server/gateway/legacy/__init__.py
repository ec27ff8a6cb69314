"""The four APIs whose clients streamgauge takes over, each in a module that parses, calls and renders."""
