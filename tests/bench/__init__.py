"""Measurements of a real server process against ceilings, in one run: `python -m tests.bench [--quick]`."""
