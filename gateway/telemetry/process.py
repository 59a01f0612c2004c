"""The tasks that a process has under way, read at each scrape."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class ProcessCollector(Collector):
    """Shows how many tasks the process that answers the scrape has; requests make them rise and fall."""

    def collect(self) -> Iterable[Metric]:
        """One series. Must be called inside the event loop."""
        tasks = len(asyncio.all_tasks())
        yield GaugeMetricFamily("llmpo_tasks", "Tasks of the process that answers this scrape.", value=tasks)
