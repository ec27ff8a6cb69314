"""What was found to be damaged, as metrics."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from streamgauge_server.storage.damage_log import DamageLog
from streamgauge_server.timeseries.damage import DamagedPart


class DamageMetrics(Collector):
    """`streamgauge_damaged_blocks_total`: how many blocks and rows this process has found damaged, each once."""

    def __init__(self, log: DamageLog) -> None:
        self._log = log

    def collect(self) -> Iterable[Metric]:
        """Yields the counter, by what is damaged."""
        family = CounterMetricFamily(
            "streamgauge_damaged_blocks", "Damaged blocks and rows that were found, each once.", labels=["what"]
        )
        for part in DamagedPart:
            family.add_metric([part.value], self._log.found[part])
        yield family
