"""What to simulate, how a run of it ended, and what many runs came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gateway.llm_po import glr
from gateway.llm_po.baselines import DoubleThompson, EpsilonGreedy, RandomPair, RoundRobin, Rucb, Tracking
from gateway.llm_po.errors import DesignError, UnsupportedError, WorldError
from gateway.llm_po.evidence import elimination_threshold
from gateway.llm_po.features import Features, one_hot
from gateway.llm_po.likelihood_ratio import margin_logits
from gateway.llm_po.samplers import LlmPo, Sampler
from gateway.llm_po.stopping import Design, Objective
from gateway.llm_po.structured import solve
from gateway.llm_po.unstructured import no_worse_hardness, optimal_allocation
from gateway.llm_po.wins import IntArray
from gateway.llm_po.worlds import World

METHODS: dict[str, Callable[[], Sampler]] = {
    "llm-po": LlmPo,
    "llm-po-tracking": Tracking,
    "round-robin": RoundRobin,
    "random-pair": RandomPair,
    "eps-greedy": EpsilonGreedy,
    "double-thompson": DoubleThompson,
    "rucb": Rucb,
}
STOPPING_RULES = ("e-process", *glr.THRESHOLDS, "lr-mixture")
OUTCOMES = ("winner", "no_worse", "no_winner", "inconclusive")


@dataclass(frozen=True, slots=True)
class Trial:
    """What to simulate.

    Attributes:
        world: The truth.
        method: A key of `METHODS`.
        stopping: One of `STOPPING_RULES`.
        delta: Error level.
        epsilon: Margin.
        max_comparisons: Budget, or None.
        in_flight: Outcomes on their way at any time: assigned, not yet counted.
        refresh_every: Comparisons between refreshes, or None for every 2 % of those so far.
        incumbent: The policy serving now: it wins ties in cost between policies certified as no worse.
        costs: Declared cost per request of each policy, or None where all cost the same.
        min_comparisons: No decision before so many.
        objective: What to spend as little of as possible: comparisons, or what they cost.

    Raises:
        UnsupportedError: If the method or the stopping rule does not exist.
        DesignError: If a number is out of range.
    """

    world: World
    method: str = "llm-po"
    stopping: str = "e-process"
    delta: float = 0.05
    epsilon: float = 0.0
    max_comparisons: int | None = None
    in_flight: int = 0
    refresh_every: int | None = None
    incumbent: int = 0
    costs: tuple[float, ...] | None = None
    min_comparisons: int = 0
    objective: Objective = "comparisons"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UnsupportedError("method", self.method, tuple(METHODS))
        if self.stopping not in STOPPING_RULES:
            raise UnsupportedError("stopping", self.stopping, STOPPING_RULES)
        if self.costs is not None and len(self.costs) != self.world.policies:
            raise DesignError(f"costs has {len(self.costs)} entries for K = {self.world.policies}; one each.")
        self.design  # noqa: B018 - checks the error level, margin, budget and incumbent
        if self.in_flight < 0 or (self.refresh_every is not None and self.refresh_every < 1):
            raise DesignError(
                f"in_flight is {self.in_flight}, refresh_every {self.refresh_every}; at least 0 and 1."
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
        )

    def relabelled_design(self, order: IntArray) -> Design:
        """The same design with its policies in another order: position `i` holds old policy `order[i]`."""
        design = self.design
        costs = tuple(design.costs[int(index)] for index in order)
        return replace(design, incumbent=int(np.flatnonzero(order == design.incumbent)[0]), costs=costs)

    @property
    def features(self) -> Features | None:
        """What a structured rule assumes: the world's features, or one score per policy; None for others."""
        if self.stopping != "lr-mixture":
            return None
        return self.world.features or one_hot(self.world.policies)

    @property
    def hardness(self) -> float:
        """T* of the world, or T_eps when epsilon > 0; infinite where there is nothing to identify.

        In the space the stopping rule assumes: structured for `lr-mixture`, infinite in other worlds.
        """
        if self.features is not None:
            return self._structured_hardness(self.features)
        if self.epsilon > 0:
            return no_worse_hardness(self.world.preferences, self.epsilon)
        if self.world.champion is None:
            return float("inf")
        return optimal_allocation(self.world.preferences).hardness

    def _structured_hardness(self, features: Features) -> float:
        if self.epsilon == 0 and self.world.champion is None:
            return float("inf")
        try:
            scores = self.world.scores
        except WorldError:
            return float("inf")
        found = solve(scores[None], features, margin=margin_logits(self.epsilon), tolerance=1e-3)
        return float(found.hardness[0])


@dataclass(frozen=True, slots=True)
class Ending:
    """How one run ended.

    Attributes:
        kind: The verdict's.
        is_wrong: Whether it promoted wrongly.
        comparisons: How many were assigned by then, those never counted included.
        promoted: The policy promoted, as numbered in the world, or None.
        leads: At each checkpoint asked for, whether promoting the leader would have been right.
        progress: At each checkpoint, the evidence as a share of what a decision needs; empty where the
            stopping rule does not go by evidence.
        cost: What both requests of every comparison cost, by the trial's costs.
    """

    kind: str
    is_wrong: bool
    comparisons: int
    promoted: int | None = None
    leads: tuple[bool, ...] = ()
    progress: tuple[float, ...] = ()
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class Summary:
    """What many runs of a trial came to."""

    trial: Trial
    endings: tuple[Ending, ...]

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
    def wrong(self) -> int:
        """Wrong promotions."""
        return sum(ending.is_wrong for ending in self.endings)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many runs ended in each way."""
        counted = Counter(ending.kind for ending in self.endings)
        return {kind: counted.get(kind, 0) for kind in OUTCOMES}

    def to_json(self) -> dict[str, Any]:
        """Plain values; `hardness` and `ratio` are None where there is nothing to identify."""
        trial, hardness = self.trial, self.trial.hardness
        yardstick = hardness * elimination_threshold(trial.delta)
        return {
            "world": trial.world.name,
            "method": trial.method,
            "stopping": trial.stopping,
            "delta": trial.delta,
            "epsilon": trial.epsilon,
            "seeds": len(self.endings),
            "hardness": hardness if np.isfinite(hardness) else None,
            "mean_comparisons": self.mean,
            "stderr": self.stderr,
            "ratio": self.mean / yardstick if np.isfinite(hardness) else None,
            "wrong": self.wrong,
            "outcomes": self.outcomes,
        }
