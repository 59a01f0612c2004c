"""Shows how much feedback waits on this machine for the store."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.learning.spool import Spool


class SpoolCollector(Collector):
    """The size of the files, and how large one may become.

    Args:
        spool: Keeps feedback.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def collect(self) -> Iterable[Metric]:
        """Both series."""
        yield GaugeMetricFamily(
            "llmpo_spool_waiting_bytes",
            "Feedback in files of the data directory that waits for the store.",
            value=float(self._spool.waiting_bytes()),
        )
        yield GaugeMetricFamily(
            "llmpo_spool_limit_bytes",
            "How large the file of each process may become.",
            value=float(self._spool.limit_bytes),
        )
