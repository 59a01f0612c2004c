"""Build information and the number of tasks of the process, read at each scrape."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from gateway import __version__


class ProcessCollector(Collector):
    """Shows the version that runs, and how many tasks the process that answers the scrape has.

    Args:
        revision: The source revision it was built from; empty if that is not known.
    """

    def __init__(self, revision: str) -> None:
        self._revision = revision

    @override
    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily(
            "llmpo_build_info",
            "Always 1; the labels have the version, Python and revision.",
            labels=["version", "python", "revision"],
        )
        build.add_metric([__version__, platform.python_version(), self._revision], 1.0)
        yield build
        # The number of tasks rises and falls with the requests. It can be read only inside the event loop.
        tasks = len(asyncio.all_tasks())
        yield GaugeMetricFamily("llmpo_tasks", "Tasks of the process that answers this scrape.", value=tasks)
