"""What a process has going on, read when somebody scrapes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ProcessCollector(Collector):
    """Shows how many tasks the process that answers the scrape has: they rise and fall with its requests."""

    def collect(self) -> Iterable[Metric]:
        """One series. Must be called inside the event loop."""
        tasks = len(asyncio.all_tasks())
        yield GaugeMetricFamily("llmpo_tasks", "Tasks of the process that answers this scrape.", value=tasks)
