"""What decides, and asks confirm hooks."""

from __future__ import annotations

from functools import partial

from gateway.assembly.foundation import Foundation
from gateway.experiments.agreement import Agreement
from gateway.learning.confirming import Confirmer
from gateway.learning.plan_pool import PlanPool
from gateway.learning.planning import Planner
from gateway.learning.promotion import Promoter
from gateway.learning.steering import Steering
from gateway.notifying.asking import ask_hook
from gateway.notifying.sending import Sender


async def open_planning(base: Foundation, pool: PlanPool, steering: Steering, agreement: Agreement) -> None:
    """Plan and decide, and ask confirm hooks. Both take an experiment's lease under one name."""
    settings = base.settings
    planner = Planner(
        base.store,
        base.catalogue,
        pool.compute,
        Promoter(base.store, base.catalogue, base.hooks),
        history=base.history,
        agreement=agreement,
        holder=base.process,
        interval_seconds=settings.plan_interval_seconds,
        lease_seconds=settings.lease_seconds,
        hooks=base.hooks,
        rng=base.rng,
        timer=base.timer,
    )
    sender = Sender(base.clock)
    base.resources.push_async_callback(sender.aclose)
    confirmer = Confirmer(
        base.store,
        base.catalogue,
        partial(ask_hook, sender),
        steering.check_certificate,
        history=base.history,
        agreement=agreement,
        hooks=base.hooks,
        holder=base.process,
        interval_seconds=settings.plan_interval_seconds,
        lease_seconds=settings.lease_seconds,
    )
    await base.run("confirm hooks", confirmer.run)
    await base.run("planner", planner.run)
