"""The version of the SDK and the server, by Semantic Versioning."""

__version__ = "0.1.0"
