"""What each operation means: plain async Python on dataclasses. Knows neither gRPC nor SQL, raises domain errors."""
