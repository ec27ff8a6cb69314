"""A recorded run of real pipelines, to try the service with: `python -m streamgauge.demo`.

`recorded_run` reads the run that ships with the package, `loader` writes it into a server. What was recorded: one Kafka
Connect worker over seven minutes, with PostgreSQL and Debezium behind it. A snapshot, changes, a pause, a restart, an
incremental snapshot, a lost database, a broker that refuses, a failed task: all that makes counters fall and states
change. The true totals are known from the broker's logs.

The rows are made up, so `StreamingLastEvent` shows their keys as Debezium tells them. A collector of a real database
must not do so by default: it leaves that metric out, or hashes the key.
"""
