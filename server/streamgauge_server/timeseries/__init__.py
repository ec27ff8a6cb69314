"""The columnar engine for observations: frames, blocks, summaries, windows. Pure functions on numpy arrays, no I/O.

`frame` is the table in memory, `block` its stored form, `summary` what is known of a block without its samples, `query`
plans and answers windows from both, `latest` keeps the newest sample of each metric.

Moments are int64 microseconds since 1970-01-01T00:00:00Z, metrics are ids of descriptors, and one metric has one value
type for ever.
"""
