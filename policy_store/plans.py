"""The right to plan, and the plans that its holder publishes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from policy_store import codec
from policy_store.plan_records import Forecast, Glance, ProposedPlan
from policy_store.scripting import StorePart


class PlanStore(StorePart):
    """The part of the store for plans."""

    async def glances(self, generations: Mapping[str, int]) -> dict[str, Glance]:
        """What changes in each of many experiments when there is something to plan.

        Args:
            generations: The current generation of each, by name, as the caller knows it; another one has
                another revision.
        """
        keys: list[tuple[str, ...]] = []
        for name, number in generations.items():
            shared = self._names.experiment(name)
            own = shared.generation(number)
            keys.append((shared.control, shared.lease, own.counts, own.waiting, own.held))
        found = await self._scripts.run_each("glances", keys)
        return {
            name: Glance(tuple(words), holds_reports=words[-1] != "0")
            for name, words in zip(generations, found, strict=True)
        }

    async def renew_leases(self, names: Iterable[str], holder: str, ttl_seconds: float) -> None:
        """Renew the right to plan each of many experiments, where the caller has it."""
        leases = [(self._names.experiment(name).lease,) for name in names]
        await self._scripts.run_each("renew_leases", leases, holder, math.ceil(ttl_seconds * 1000))

    async def acquire_lease(self, name: str, holder: str, ttl_seconds: float) -> int | None:
        """Take or renew the right to plan, by the server's clock.

        Returns:
            The fencing number: higher after every change of holder and every lapse, unchanged by a renewal.
            None while another holder's lease lasts.
        """
        keys = self._names.experiment(name)
        reply = await self._scripts.run(
            "acquire_lease", (keys.control, keys.lease), holder, math.ceil(ttl_seconds * 1000)
        )
        return int(reply[1]) if reply[0] == "ok" else None

    async def release_lease(self, name: str, holder: str) -> None:
        """Give back the right to plan at once; nothing happens if another holder has it."""
        await self._scripts.run("release_lease", (self._names.experiment(name).lease,), holder)

    async def publish_plan(
        self,
        name: str,
        generation: int,
        plan: ProposedPlan,
        forecasts: Iterable[Forecast],
        fence: int,
        under_way: float | None = None,
    ) -> int:
        """Replace plan and forecasts, from the next counted outcome on.

        Atomic. An equal plan under the same fence again returns its version and changes nothing.

        Args:
            name: Experiment.
            generation: Must be the current one.
            plan: The plan to publish; the store adds version and time.
            forecasts: One per pair. Comparisons of a pair without one add no evidence.
            fence: The number from `acquire_lease`.
            under_way: How many outcomes come before one that is drawn now does; None where none are matched.

        Returns:
            The plan's version.

        Raises:
            StaleFenceError: Another planner took over.
            ExperimentFinishedError: The generation is decided, or no longer current.
            ValueError: A number in the plan is not finite.
        """
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        forecasts = tuple(forecasts)
        reply = await self._scripts.run(
            "publish_plan",
            (keys.control, own.counts, own.forecasts, own.log, own.waiting),
            *(generation, fence, codec.plan_to_json(plan), codec.logged_forecasts(forecasts)),
            "" if under_way is None else f"{under_way:.6g}",
            *codec.forecast_fields(forecasts),
        )
        return int(reply[1])
