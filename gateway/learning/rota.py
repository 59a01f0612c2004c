"""Says which experiments a planner looks at next, so that a thousand that rest cost little.

Up to thirty experiments are all looked at every time. Of more, those are whose glance changed (a few words
of each, read together), those in which something ends by itself, and thirty of the others in turn. The
leases of those that rest are renewed together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

from gateway.running.background import background
from policy_store.errors import StoreError
from policy_store.plan_records import Glance
from policy_store.store import PolicyStore
from policy_store.view import ExperimentView

LOOKED_AT_ALWAYS: Final = 30
KEPT_SECONDS: Final = 600.0
"""The longest that one look keeps its lease: one that hangs must not keep it from other replicas for ever."""
_RENEWALS_PER_LEASE: Final = 3


class Rota:
    """Whose turn it is.

    Args:
        store: Reads glances, and renews leases.
        holder: This replica's name in leases.
        lease_seconds: How long a lease lasts that is not renewed.
        timer: Monotonic seconds.
    """

    def __init__(
        self, store: PolicyStore, holder: str, lease_seconds: float, timer: Callable[[], float]
    ) -> None:
        self._store = store
        self._holder = holder
        self._lease_seconds = lease_seconds
        self._timer = timer
        self._renew_at = 0.0
        self._generations: dict[str, int] = {}
        self._restless: set[str] = set()
        self._glances: dict[str, Glance] = {}
        self._circumstances: tuple[object, ...] = ()
        self._next = 0

    def saw(self, view: ExperimentView, *, is_guarded: bool = False) -> None:
        """Note how an experiment stands that was looked at; guardrails count without changing its glance."""
        name, facts = view.experiment.name, view.state.facts
        self._generations[name] = view.generation
        if facts.is_staged or facts.is_watched or is_guarded:
            self._restless.add(name)
        else:
            self._restless.discard(name)

    def notice(self, circumstances: tuple[object, ...]) -> None:
        """Note what concerns all experiments: if it changed, all have to be looked at again."""
        if circumstances != self._circumstances:
            self._glances.clear()
        self._circumstances = circumstances

    def failed(self, name: str) -> None:
        """Note that an experiment has to be looked at again."""
        self._glances.pop(name, None)

    @asynccontextmanager
    async def kept(self, name: str) -> AsyncIterator[None]:
        """Keep the right to plan an experiment in a `with` block, for as long as that may take."""
        until = self._timer() + KEPT_SECONDS

        async def renew() -> None:
            while self._timer() < until:
                await asyncio.sleep(self._lease_seconds / _RENEWALS_PER_LEASE)
                with suppress(StoreError):
                    await self._store.renew_leases([name], self._holder, self._lease_seconds)

        async with background(f"lease of {name}", renew):
            yield

    async def due(self, names: Sequence[str]) -> Sequence[str]:
        """The experiments to look at now."""
        if len(names) <= LOOKED_AT_ALWAYS:
            return names
        start = self._next % len(names)
        self._next = start + LOOKED_AT_ALWAYS
        in_turn = frozenset((*names[start:], *names)[:LOOKED_AT_ALWAYS])
        with suppress(StoreError):  # whoever looks at an experiment finds out and says so
            changed = await self._changed(names)
            if self._timer() >= self._renew_at:
                await self._store.renew_leases(names, self._holder, self._lease_seconds)
                self._renew_at = self._timer() + self._lease_seconds / _RENEWALS_PER_LEASE
            return [name for name in names if name in changed or name in in_turn]
        return [name for name in names if name in in_turn]

    async def _changed(self, names: Sequence[str]) -> set[str]:
        """Those that look otherwise than when it was last their turn, or that nobody has looked at yet."""
        known = {name: self._generations[name] for name in names if name in self._generations}
        found = await self._store.glances(known) if known else {}
        still = {
            name
            for name, glance in found.items()
            if glance == self._glances.get(name) and not glance.holds_reports and name not in self._restless
        }
        self._glances = found
        return set(names) - still
