"""Collects what informs an experiment's forecasts besides its own evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gateway.experiments.definitions import Definition
from gateway.experiments.happenings import Generations
from gateway.experiments.judge import counts_verdicts
from gateway.experiments.plan_values import InformingSource
from gateway.experiments.priors import earlier_source, informing_roles, run_of
from policy_store.counts import Counts
from policy_store.roles import Role
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView


class Informing:
    """Reads what informs the experiments of a gateway.

    Args:
        store: The shared state.
        generations: Give the experiment of the generation before.
    """

    def __init__(self, store: PolicyStore, generations: Generations) -> None:
        self._store = store
        self._generations = generations

    async def counts(self, definition: Definition, view: ExperimentView) -> dict[Role, Counts]:
        """All that was counted in the current generation in the roles that only inform it.

        Raises:
            StoreUnavailableError: The store did not answer.
        """
        roles = [*informed_roles(definition)]
        if definition.judge is not None and not counts_verdicts(definition.spec):
            roles.append(Role.JUDGE)  # on requests that take part in no comparison
        name, generation = view.experiment.name, view.generation
        return {role: await self._store.counts(name, generation, role) for role in roles}

    async def sources(
        self,
        definition: Definition,
        view: ExperimentView,
        counts: Mapping[Role, Counts],
        inherited_from: int | None,
    ) -> tuple[InformingSource, ...]:
        """All that informs the current generation now, by source; sources without counts are left out.

        Args:
            definition: The experiment of the file.
            view: The current generation.
            counts: What `counts` says of it.
            inherited_from: The generation whose counts it inherited as evidence, if any.

        Raises:
            StoreUnavailableError: The store did not answer.
        """
        found = [InformingSource(role.value, counted.wins) for role, counted in counts.items()]
        if (run := run_of(view.experiment)) is not None:
            found.append(run)
        if definition.spec.prior is not None and definition.spec.prior.earlier and view.generation > 1:
            earlier = await self._earlier(view, inherited_from)
            found += [] if earlier is None else [earlier]
        return tuple(source for source in found if source.comparisons)

    async def _earlier(self, view: ExperimentView, inherited_from: int | None) -> InformingSource | None:
        """What the generation before counted that is no evidence in this one."""
        name = view.experiment.name
        before = inherited_from or await self._generations.before(name, view.generation)
        defined = None if before is None else await self._generations.one(name, before)
        if before is None or defined is None:
            return None
        counts = await self._store.counts(name, before)
        is_inherited = inherited_from is not None
        return earlier_source(defined, counts.wins, view.experiment, is_inherited=is_inherited)


def informed_roles(definition: Definition) -> Iterator[Role]:
    """The roles that only inform an experiment, in their order."""
    roles = informing_roles(definition.spec)
    return (role for role in Role if role in roles)
