"""REST: every RPC of the contract under its HTTP rule."""

from streamgauge_server.gateway.rest.routes import api

__all__ = ["api"]
