"""Collects what informs an experiment's forecasts besides its own evidence."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.experiments.collecting import Takes
from gateway.experiments.definitions import Definition
from gateway.experiments.priors import InformingSource, changed_since, informing_roles, run_of
from policy_store.errors import UnknownExperimentError
from policy_store.roles import Role
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView


async def informing_sources(
    store: PolicyStore, definition: Definition, view: ExperimentView
) -> tuple[InformingSource, ...]:
    """All that informs the current generation now, by source; sources without counts are left out.

    Raises:
        StoreUnavailableError: The store did not answer.
    """
    name, experiment = view.experiment.name, view.experiment
    found = []
    roles = [*informed_roles(definition)]
    if definition.judge is not None and definition.way.takes is not Takes.VERDICT:
        roles.append(Role.JUDGE)  # on requests that take part in no comparison, whatever is promoted on
    for role in roles:
        counts = await store.counts(name, view.generation, role)
        found.append(InformingSource(role.value, counts.wins))
    if (run := run_of(experiment)) is not None:
        found.append(run)
    if definition.spec.prior is not None and definition.spec.prior.earlier and view.generation > 1:
        earlier = await _earlier(store, view)
        found += [] if earlier is None else [earlier]
    return tuple(source for source in found if source.comparisons)


def informed_roles(definition: Definition) -> Iterator[Role]:
    """The roles that only inform an experiment, in their order."""
    roles = informing_roles(definition.spec)
    return (role for role in Role if role in roles)


async def _earlier(store: PolicyStore, view: ExperimentView) -> InformingSource | None:
    """What the generation before counted of policies that were changed since."""
    before = view.generation - 1
    try:
        defined = await store.experiment(view.experiment.name, before)
        counts = await store.counts(view.experiment.name, before)
    except UnknownExperimentError:  # the number was a watch's
        return None
    return changed_since(defined, counts.wins, view.experiment)
