"""The proof against the systems that people would otherwise use: `python -m tests.bench.peers [--quick]`."""
