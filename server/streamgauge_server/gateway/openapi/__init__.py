"""The OpenAPI document of the gateway, made from the contract's descriptors and the routes, and a page to read it."""
