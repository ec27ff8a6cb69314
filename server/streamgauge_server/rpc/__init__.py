"""The gRPC edge: servicers, the steps around every call, conversion between messages and the domain, the error table."""
