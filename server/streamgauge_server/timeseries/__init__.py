"""The columnar engine for observations: frames, blocks, summaries, windows. Pure functions on numpy arrays, no I/O.

`frame` is the table in memory, `block` its stored form, `summary` what is known of a block without its samples, `query`
plans and answers windows from both, `latest` keeps the newest sample of each metric, `durations` tells how long values
stood, `correction` takes samples out of blocks.

Moments are int64 microseconds since 1970-01-01T00:00:00Z, negative before, and metrics are ids of descriptors. The
values of a metric may be of several types: in memory that is a column of type ANY (`mixed`); blocks and summaries keep
a typed part for each.
"""
