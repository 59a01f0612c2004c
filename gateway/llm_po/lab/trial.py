"""A trial to simulate, the ending of one of its runs, and the summary of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import numpy as np

from gateway.llm_po import glr
from gateway.llm_po.checks import checked_type
from gateway.llm_po.errors import DesignError, UnsupportedError, WorldError
from gateway.llm_po.exposure import Caps
from gateway.llm_po.lab.baselines import DoubleThompson, EpsilonGreedy, RandomPair, RoundRobin, Rucb, Tracking
from gateway.llm_po.lab.judges import SimulatedJudge
from gateway.llm_po.lab.worlds import World
from gateway.llm_po.lines import Promise, elimination_threshold
from gateway.llm_po.samplers import LlmPo, Sampler
from gateway.llm_po.scalars import is_real, is_whole, shown
from gateway.llm_po.stopping import KINDS, Design, Objective, check_look, check_promise
from gateway.llm_po.structured.features import Features, one_hot
from gateway.llm_po.structured.likelihood_ratio import margin_logits
from gateway.llm_po.structured.solver import solve
from gateway.llm_po.unstructured import no_worse_hardness, optimal_allocation
from gateway.llm_po.wins import IntArray

METHODS: Final[dict[str, Callable[[], Sampler]]] = {
    "llm-po": LlmPo,
    "llm-po-tracking": Tracking,
    "round-robin": RoundRobin,
    "random-pair": RandomPair,
    "eps-greedy": EpsilonGreedy,
    "double-thompson": DoubleThompson,
    "rucb": Rucb,
}
STOPPING_RULES: Final = ("e-process", *glr.THRESHOLDS, "lr-mixture")
Space = Literal["unstructured", "bradley_terry", "linear"]
SPACES: Final[tuple[Space, ...]] = get_args(Space)


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial to simulate.

    Attributes:
        world: The world with the true preferences.
        method: A key of `METHODS`.
        stopping: One of `STOPPING_RULES`.
        delta: Error level.
        epsilon: Margin.
        max_comparisons: Budget, or None.
        in_flight: How many comparisons are assigned but not yet counted at any time.
        refresh_every: Comparisons between refreshes, or None for every 2 % of those so far.
        blind_start: How many comparisons are assigned before the first is counted, with nothing in flight
            once these are counted; 0 for a start like the rest of the run.
        incumbent: The policy serving now: it wins ties in cost between policies certified as no worse.
        costs: Declared cost per request of each policy, or None if all cost the same.
        min_comparisons: No decision is made before this many.
        objective: What to keep small: the number of comparisons, or their cost.
        space: The structure assumed of preferences, as in a configuration: none, a score per policy, or
            scores that follow the world's features. A structured space with `e-process` is a configuration's
            `guarantee: exact`: the features inform forecasts and pairs, and the guarantee does not depend on
            them. None: the structure that the stopping rule needs. That is none, except for `lr-mixture`: the
            world's features or, if it has none, a score per policy.
        promise: With a margin: which policies may not be preferred to the promoted one by more than it.
        caps: How much each policy may answer, or None for no caps. With caps every run plans like a gateway:
            it changes the method's pairs to keep the caps, and leaves units to the incumbent if necessary.
        last_look: Whether the budget ends with a last look (`last_look`), with a number of each run's own.
        min_opportunities: No decision is made before the units of this many comparisons have come, whether
            they were compared or left to the incumbent by the caps.

    Raises:
        UnsupportedError: If the method, the stopping rule or the space does not exist.
        DesignError: If a number is out of range, or the stopping rule needs another space.
        WorldError: If the space is `linear` and the world has no features.
    """

    world: World
    method: str = "llm-po"
    stopping: str = "e-process"
    delta: float = 0.05
    epsilon: float = 0.0
    max_comparisons: int | None = None
    in_flight: int = 0
    refresh_every: int | None = None
    blind_start: int = 0
    incumbent: int = 0
    costs: tuple[float, ...] | None = None
    min_comparisons: int = 0
    objective: Objective = "comparisons"
    space: Space | None = None
    promise: Promise = "no_worse_than_any"
    caps: Caps | None = None
    min_opportunities: float = 0.0
    last_look: bool = False
    judges: tuple[SimulatedJudge, ...] = ()

    def __post_init__(self) -> None:
        checked_type(self.world, World, "world")
        _check_known("method", self.method, tuple(METHODS))
        _check_known("stopping", self.stopping, STOPPING_RULES)
        if self.space is not None:
            _check_known("space", self.space, SPACES)
        check_promise(self.promise, self.stopping)
        check_look(1.0 if self.last_look else None, self.max_comparisons, self.stopping)
        if self.world.outcomes is not None and (self.in_flight or self.blind_start):
            raise DesignError(
                f"in_flight is {self.in_flight}, blind_start {self.blind_start}, but the world says when "
                "outcomes arrive; leave them out."
            )
        if self.space == "unstructured" and self.stopping == "lr-mixture":
            raise DesignError(
                "space is unstructured, in which lr-mixture cannot decide; name another, or use e-process."
            )
        if self.space == "linear" and self.world.features is None:
            raise WorldError(
                f'World {self.world.name!r} has no features; give "features" and "theta", or a "grid".'
            )
        if self.costs is not None:
            checked_type(self.costs, Sequence, "costs")
            if len(self.costs) != self.world.policies:
                raise DesignError(
                    f"costs has {len(self.costs)} entries for K = {self.world.policies}; give one each."
                )
        self._check_caps()
        self.design  # noqa: B018 - checks the error level, margin, budget and incumbent
        refresh = 1 if self.refresh_every is None else self.refresh_every
        if not is_whole(self.in_flight, 0) or not is_whole(refresh, 1):
            raise DesignError(
                f"in_flight is {shown(self.in_flight)}, refresh_every {shown(self.refresh_every)}; whole "
                "numbers of at least 0 and 1."
            )
        if not is_whole(self.blind_start, 0) or (self.blind_start and self.in_flight):
            raise DesignError(
                f"blind_start is {shown(self.blind_start)}; a whole number, 0 with outcomes in flight."
            )

    def _check_caps(self) -> None:
        if not is_real(self.min_opportunities) or self.min_opportunities < 0:
            raise DesignError(f"min_opportunities is {shown(self.min_opportunities)}; give at least 0.")
        if self.caps is None:
            return
        checked_type(self.caps, Caps, "caps")
        if len(self.caps.most) != self.world.policies:
            raise DesignError(
                f"There are caps for {len(self.caps.most)} policies, and the world has {self.world.policies}."
            )
        if self.caps.incumbent != self.incumbent:
            raise DesignError(
                f"caps are for incumbent {self.caps.incumbent}, and incumbent is {shown(self.incumbent)}."
            )

    @property
    def design(self) -> Design:
        """The design every run follows."""
        costs = (0.0,) * self.world.policies if self.costs is None else self.costs
        return Design(
            self.delta,
            self.epsilon,
            self.incumbent,
            costs,
            self.max_comparisons,
            self.min_comparisons,
            objective=self.objective,
            promise=self.promise,
        )

    def relabelled_design(self, order: IntArray) -> Design:
        """This design with its policies in another order: position `i` holds old policy `order[i]`."""
        design = self.design
        costs = tuple(design.costs[int(index)] for index in order)
        return replace(design, incumbent=int(np.flatnonzero(order == design.incumbent)[0]), costs=costs)

    def relabelled_caps(self, order: IntArray) -> Caps | None:
        """The caps with their policies in another order, as in `relabelled_design`."""
        if self.caps is None:
            return None
        most = tuple(self.caps.most[int(index)] for index in order)
        return replace(self.caps, most=most, incumbent=int(np.flatnonzero(order == self.incumbent)[0]))

    @property
    def features(self) -> Features | None:
        """The structure assumed: the world's features, one score per policy, or None."""
        if self.space == "unstructured" or (self.space is None and self.stopping != "lr-mixture"):
            return None
        own = None if self.space == "bradley_terry" else self.world.features
        return own or one_hot(self.world.policies)

    @property
    def decides_by_features(self) -> bool:
        """Whether the decision itself depends on the features, not only the forecasts."""
        return self.stopping == "lr-mixture"

    @property
    def hardness(self) -> float:
        """T* of the world, or T_eps when epsilon > 0; infinite if there is nothing to identify.

        The unit is comparisons per nat. If the objective is cost, it is the least cost of a nat, in the unit
        of `costs`, with a comparison costing as much as its two requests. The space is the one on which the
        stopping rule's guarantee depends: structured for `lr-mixture` (infinite in other worlds),
        unstructured for all others, even if features inform their forecasts.
        """
        if self.decides_by_features and self.features is not None:
            return self._structured_hardness(self.features)
        if self.epsilon > 0:
            return no_worse_hardness(
                self.world.preferences, self.epsilon, self.design.pair_costs, self.promise
            )
        if self.world.champion is None:
            return float("inf")
        return optimal_allocation(self.world.preferences, self.design.pair_costs).hardness

    @property
    def yardstick(self) -> float:
        """Hardness x log(1/delta): the unit for all figures of comparisons or cost.

        It is the least that the promise can take, so it does not depend on any rule's own line. For
        `lr-mixture` with a margin it belongs to "no worse than any" in the structured space.
        """
        return self.hardness * elimination_threshold(self.delta)

    def _structured_hardness(self, features: Features) -> float:
        if self.epsilon == 0 and self.world.champion is None:
            return float("inf")
        try:
            scores = self.world.scores
        except WorldError:
            return float("inf")
        found = solve(
            scores[None],
            features,
            margin=margin_logits(self.epsilon),
            costs=self.design.pair_costs,
            tolerance=1e-3,
        )
        return float(found.hardness[0])


def _check_known(kind: str, value: str, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise UnsupportedError(kind, value if isinstance(value, str) else shown(value), known)


@dataclass(frozen=True, slots=True)
class RunEnding:
    """How one run ended.

    Attributes:
        kind: The kind of the verdict.
        is_wrong: Whether it promoted a wrong policy.
        comparisons: How many were assigned by then, including those never counted.
        promoted: The policy promoted, as numbered in the world, or None.
        leads: For each checkpoint, whether promoting the leader would have been right.
        progress: At each checkpoint, the evidence as a share of what a decision needs; empty if the stopping
            rule does not use evidence.
        cost: The cost of both requests of every comparison, by the trial's costs.
        opportunities: How many comparisons its units would have made if all had been compared; None if they
            were.
        requests: With caps, how often each policy was compared, as numbered in the world.
    """

    kind: str
    is_wrong: bool
    comparisons: int
    promoted: int | None = None
    leads: tuple[bool, ...] = ()
    progress: tuple[float, ...] = ()
    cost: float = 0.0
    opportunities: float | None = None
    requests: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """The endings of many runs of a trial."""

    trial: Trial
    endings: tuple[RunEnding, ...]

    @property
    def mean(self) -> float:
        """Mean comparisons."""
        return float(np.mean([ending.comparisons for ending in self.endings]))

    @property
    def stderr(self) -> float:
        """Standard error of the mean; 0 for a single run."""
        counts = [ending.comparisons for ending in self.endings]
        return float(np.std(counts, ddof=1) / np.sqrt(len(counts))) if len(counts) > 1 else 0.0

    @property
    def mean_cost(self) -> float:
        """Mean cost of all requests, by the trial's costs."""
        return float(np.mean([ending.cost for ending in self.endings]))

    @property
    def mean_units(self) -> float:
        """Mean units that took part: those compared, and those that caps left to the incumbent alone."""
        return float(np.mean([self._units(ending) for ending in self.endings]))

    @property
    def answered(self) -> tuple[float, ...]:
        """With caps, the share of the units taking part that each policy answered, in all runs together."""
        caps = self.trial.caps
        if caps is None:
            return ()
        answers = np.sum([ending.requests for ending in self.endings], axis=0).astype(np.float64)
        compared = sum(ending.comparisons for ending in self.endings) * 2 / caps.answers
        units = sum(self._units(ending) for ending in self.endings)
        answers[caps.incumbent] += units - compared
        return tuple((answers / units).tolist())

    def _units(self, ending: RunEnding) -> float:
        answers = 1 if self.trial.caps is None else self.trial.caps.answers
        return (ending.comparisons if ending.opportunities is None else ending.opportunities) * 2 / answers

    @property
    def wrong(self) -> int:
        """Wrong promotions."""
        return sum(ending.is_wrong for ending in self.endings)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many runs ended in each way."""
        counted = Counter(ending.kind for ending in self.endings)
        return {kind: counted.get(kind, 0) for kind in KINDS}

    def to_json(self) -> dict[str, Any]:
        """Plain values; `hardness` and `ratio` are None if there is nothing to identify.

        If the objective is cost, both are in cost, and `mean_cost` is given. `space` is given if named,
        `promise` if there is a margin, `mean_units` and `answered` if there are caps.
        """
        trial, hardness = self.trial, self.trial.hardness
        saves_cost = trial.objective == "cost"
        report = {
            "world": trial.world.name,
            "method": trial.method,
            "stopping": trial.stopping,
            "delta": trial.delta,
            "epsilon": trial.epsilon,
            "seeds": len(self.endings),
            "hardness": hardness if np.isfinite(hardness) else None,
            "mean_comparisons": self.mean,
            "stderr": self.stderr,
            "ratio": (self.mean_cost if saves_cost else self.mean) / trial.yardstick
            if np.isfinite(hardness)
            else None,
            "wrong": self.wrong,
            "outcomes": self.outcomes,
        }
        if saves_cost:
            report |= {"objective": trial.objective, "mean_cost": self.mean_cost}
        if trial.epsilon > 0:
            report |= {"promise": trial.promise}
        if trial.last_look:
            report |= {"last_look": True}
        if trial.caps is not None:
            report |= {"mean_units": self.mean_units, "answered": list(self.answered)}
        return report if trial.space is None else report | {"space": trial.space}
