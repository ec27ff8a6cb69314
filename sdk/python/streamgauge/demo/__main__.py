"""`python -m streamgauge.demo` is `streamgauge demo run`."""

from streamgauge.cli.demo import run

run(prog_name="python -m streamgauge.demo")
