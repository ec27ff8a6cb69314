"""The HTTP edge: REST by the contract's HTTP rules, and the four legacy APIs. A client of the gRPC server."""
