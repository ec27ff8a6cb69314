"""Generated code of `protos/streamgauge/v1`: the contract. Written by `make gen`."""
