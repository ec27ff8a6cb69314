"""One database per engine: connections, transactions, error codes, and the statements that must be fast."""
