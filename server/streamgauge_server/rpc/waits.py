"""Methods whose calls may wait for something to happen, or go through a whole store: one table."""

from __future__ import annotations

from streamgauge_server.model.clock import MICROS_PER_SECOND
from streamgauge_server.services.job_stop import MAX_WAIT

METHOD_WAITS: dict[str, float] = {
    "/streamgauge.v1.JobService/StopJob": MAX_WAIT / MICROS_PER_SECOND,
    "/streamgauge.v1.MetricsService/ApplyRetention": 300.0,
}
"""Full method name -> how many seconds its calls may take beyond `max_call_seconds`."""
