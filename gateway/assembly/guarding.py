"""What measures answers for guardrails."""

from __future__ import annotations

from gateway.assembly.foundation import Foundation
from gateway.learning.gauging import GAUGES_FLUSH_SECONDS, Gauges


async def open_gauges(base: Foundation) -> Gauges:
    """The gauges of this process, whose counts go to the store from time to time."""
    catalogue = base.catalogue
    gauges = Gauges(
        base.store,
        base.history,
        lambda: catalogue.current.prices,
        sender=base.process,
        rng=base.rng,
        interval_seconds=GAUGES_FLUSH_SECONDS,
    )
    await base.run("guardrails", gauges.run)
    return gauges
