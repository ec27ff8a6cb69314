"""The gRPC edge: servicers, the steps around every call, message conversion, the error table."""
