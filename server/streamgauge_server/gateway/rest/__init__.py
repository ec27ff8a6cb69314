"""REST: every RPC of the contract under its HTTP rule."""
