"""Generated code of `protos/streamgauge/internal/v1`: what the server alone reads. Written by `make gen`."""
