"""streamgauge: metrics of data pipelines over gRPC. The Python SDK."""
