"""The migrations, one module each, named by their order."""
