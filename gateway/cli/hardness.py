"""`llmpo hardness`: how many comparisons a world needs at least, and of which pairs."""

from __future__ import annotations

import json as json_text
from typing import Annotated, Any, Final, Literal

import numpy as np
import typer
from rich.table import Table

from gateway.cli.printing import table_console
from gateway.cli.world_options import AsJson, Costs, Delta, WorldFile, parsed_costs
from gateway.llm_po.errors import DesignError, LlmPoError, UnsupportedError, WorldError
from gateway.llm_po.lab import reference, worlds
from gateway.llm_po.lab.trial import SPACES
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.structured.features import Features, one_hot
from gateway.llm_po.structured.solver import solve
from gateway.llm_po.unstructured import champion_of, lower_bound, optimal_allocation
from gateway.llm_po.wins import BoolArray, FloatArray

_TOLERANCE: Final = 1e-4  # of the structured solver
_SMALLEST_LISTED: Final = 1e-6
_SMALLEST_IN_TABLE: Final = 0.0005

SolverName = Literal["fast", "reference"]


def hardness(
    world: WorldFile,
    space: Annotated[str, typer.Option(help=f"One of: {', '.join(SPACES)}.")] = "unstructured",
    delta: Delta = 0.05,
    costs: Costs = None,
    solver: Annotated[
        SolverName,
        typer.Option(
            help="`fast`: the solver that plans are made with. `reference`: the convex program, by cvxpy."
        ),
    ] = "fast",
    json: AsJson = False,
) -> None:
    """Compute how many comparisons a world needs at least, and of which pairs.

    `proportions` are named `loser-rival`, and `higher-lower` for two equal policies. `gap` says by which
    share of the optimum the hardness may be above it at most. The reference solver gives no such bound,
    takes minutes for 32 policies, and agrees within a thousandth. With --costs the answer is the cheapest
    plan instead of the one with the fewest comparisons: hardness and lower bound are then costs, in the unit
    of --costs; proportions are still shares of the comparisons.
    """
    try:
        loaded = load_world(world)
        report = AllocationProblem(loaded, space, parsed_costs(costs)).report(delta, solver)
    except LlmPoError as error:
        raise typer.BadParameter(str(error)) from error
    if json:
        typer.echo(json_text.dumps(report))
    else:
        table_console().print(_hardness_table(report, loaded))


class AllocationProblem:
    """How often to compare each pair of a world, so that the champion is found soonest.

    Args:
        world: The policies and how often each is preferred to each other.
        space: What is assumed of preferences, one of `SPACES`.
        costs: Cost per request of each policy, or None if only the number of comparisons counts.

    Raises:
        LlmPoError: If the world does not fit the space or the costs.
    """

    def __init__(self, world: worlds.World, space: str, costs: tuple[float, ...] | None) -> None:
        if space not in SPACES:
            raise UnsupportedError("space", space, SPACES)
        if costs is not None and len(costs) != world.policies:
            raise DesignError(f"costs has {len(costs)} entries for K = {world.policies}; give one each.")
        self._world = world
        self._space = space
        self._costs = costs
        each = None if costs is None else np.array(costs)
        self._pair_costs = None if each is None else np.asarray(each[:, None] + each[None, :])

    def report(self, delta: float, solver: SolverName) -> dict[str, Any]:
        """The figures of the solved problem, in plain values."""
        world, champion = self._world, champion_of(self._world.preferences)
        reached, proportions, gap = {"fast": self.fast, "reference": self.reference}[solver]()
        report = {
            "space": self._space,
            "hardness": reached,
            "lower_bound": lower_bound(reached, delta),
            "champion": champion,
            "proportions": {
                f"{loser}-{rival}": float(proportions[loser, rival])
                for loser in range(world.policies)
                for rival in range(world.policies)
                if proportions[loser, rival] > _SMALLEST_LISTED
            },
            "gap": gap,
        }
        return report if self._costs is None else report | {"costs": list(self._costs)}

    @property
    def features(self) -> Features:
        """The features of the policies.

        Raises:
            WorldError: If the world has no features.
        """
        if self._space == "bradley_terry":
            return one_hot(self._world.policies)
        if self._world.features is None:
            raise WorldError(
                f'World {self._world.name!r} has no features; give "features" and "theta", or a "grid".'
            )
        return self._world.features

    @property
    def loses(self) -> BoolArray:
        """The pairs in which the row loses to the column, and each pair of equals once."""
        scores = self._world.scores
        is_equal = scores[:, None] == scores[None, :]
        return np.asarray((scores[:, None] < scores[None, :]) | np.tril(is_equal, -1))

    def fast(self) -> tuple[float, FloatArray, float]:
        """Hardness, proportions by loser and rival, and their largest distance from the optimum."""
        if self._space == "unstructured":
            closed = optimal_allocation(self._world.preferences, self._pair_costs)
            return closed.hardness, closed.proportions, 0.0
        features, scores = self.features, self._world.scores
        found = solve(scores[None], features, costs=self._pair_costs, tolerance=_TOLERANCE)
        return float(found.hardness[0]), found.proportions[0] * self.loses, float(found.gap[0])

    def reference(self) -> tuple[float, FloatArray, None]:
        """Hardness and proportions from the convex programs, which give no gap."""
        if self._space == "unstructured":
            solved = reference.solve_allocation(self._world.preferences, self._pair_costs)
            return solved.hardness, solved.proportions, None
        weights, worst = reference.solve_structured(self._world.scores, self.features, costs=self._pair_costs)
        shares = (weights + weights.T) / weights.sum()
        return 2 * worst, shares * self.loses, None


def _hardness_table(report: dict[str, Any], world: worlds.World) -> Table:
    labels, champion = world.labels, report["champion"]
    chances = [chance for rival, chance in enumerate(world.preferences[champion]) if rival != champion]
    table = Table(
        title=f"{labels[champion]} is preferred to each other at least {min(chances):.1%} of the time"
    )
    table.add_column("compare")
    table.add_column("with")
    table.add_column("share", justify="right")
    for pair, share in report["proportions"].items():
        if share >= _SMALLEST_IN_TABLE:
            loser, rival = map(int, pair.split("-"))
            table.add_row(labels[loser], labels[rival], f"{share:.1%}")
    reached, bound = report["hardness"], report["lower_bound"]
    if "costs" in report:
        table.caption = f"a nat costs {reached:.4g}; no method spends less than {bound:.4g} on average"
    else:
        table.caption = (
            f"hardness {reached:.1f} comparisons per nat; no method needs fewer than {bound:.0f} on average"
        )
    return table
