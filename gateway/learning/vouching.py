"""Reads the log of a generation for what its certificate says of the votes that it rests on."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from gateway.experiments.balance import by_pair
from gateway.experiments.counted import PlanJoin
from gateway.experiments.integrity import IntegrityCount
from gateway.experiments.plan_values import Decision
from policy_store.counts import Counts
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

_PAGE: Final = 250  # records between which other tasks run: a few milliseconds


async def integrity_of(
    store: PolicyStore, view: ExperimentView, decision: Decision, counts: Counts
) -> dict[str, Any] | None:
    """What a certificate of this decision says of its votes; None if some are no longer in the store's log.

    Raises:
        StoreUnavailableError: The log cannot be read.
    """
    name, generation, last = view.experiment.name, view.generation, decision.certificate["comparisons"]
    found, counted = IntegrityCount(decision.certificate, view.experiment), PlanJoin()
    missing = last - counts.inherited
    records, position = await store.log(name, generation, count=_PAGE)
    while records:
        comparisons = [each for each in counted.of(records) if each.number <= last]
        found.take(comparisons)
        missing -= len(comparisons)
        records, position = await store.log(name, generation, after=position, count=_PAGE)
    return None if missing else await asyncio.to_thread(found.stated, by_pair(counts))
