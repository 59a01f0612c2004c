"""Reads the log of a generation for what its certificate says of the votes that it rests on."""

from __future__ import annotations

from typing import Any, Final

from gateway.experiments.balance import by_pair
from gateway.experiments.conclusions import Decision
from gateway.experiments.counted import PlanJoin
from gateway.experiments.integrity import IntegrityCount
from policy_store.counts import Counts
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

_PAGE: Final = 2_000  # records between which other tasks run


async def integrity_of(
    store: PolicyStore, view: ExperimentView, decision: Decision, counts: Counts
) -> dict[str, Any]:
    """What a certificate of this decision says of its votes.

    Raises:
        StoreUnavailableError: The log cannot be read.
    """
    name, generation = view.experiment.name, view.generation
    found, counted = IntegrityCount(decision.certificate, view.experiment), PlanJoin()
    records, position = await store.log(name, generation, count=_PAGE)
    while records:
        found.take(counted.of(records))
        records, position = await store.log(name, generation, after=position, count=_PAGE)
    return found.stated(by_pair(counts))
