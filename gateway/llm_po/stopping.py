"""The design of an experiment, and the verdict that its ledger supports.

A verdict is a function of the tally and the design alone, so anyone with the comparison log can repeat it.
The proofs are in docs/decisions/0011-thresholds.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from gateway.llm_po.bradley_terry import Fit
from gateway.llm_po.checks import LARGEST_COST, SMALLEST_COST, checked_type, counted, same_policies
from gateway.llm_po.errors import DesignError
from gateway.llm_po.evidence import Tally
from gateway.llm_po.forecast import doubts
from gateway.llm_po.lines import NANO, UNSTATED_PROMISE, Promise, checked_promise, elimination_threshold
from gateway.llm_po.no_worse import against_best, against_rivals, line_nano_nats, line_nats
from gateway.llm_po.scalars import checked_delta, checked_epsilon, is_real, shown, whole_number
from gateway.llm_po.structured.features import Features
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray, majority_cycle

Kind = Literal["winner", "no_worse", "no_winner", "inconclusive"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
Objective = Literal["comparisons", "cost"]
StoppingRule = Literal["e-process", "glr", "lr-mixture"]

_ALTERNATIVES: Final = np.linspace(0.05, 0.95, 10)
"""Alternatives for the preference against a rival that beats a policy, as shares of 1/2 - epsilon."""


@dataclass(frozen=True, slots=True)
class Design:
    """The promise, assumptions and limits of an experiment.

    Attributes:
        delta: Error level in (0, 1).
        epsilon: Smallest margin that matters, in [0, 1/2); 0 asks for the winner, more for a policy no worse.
        incumbent: Index of the policy serving now.
        costs: Declared cost per request of each policy, all in the same unit; length K.
        max_comparisons: Budget, or None.
        min_comparisons: No decision is made before this many.
        may_decide: False holds every decision back (the caller checks durations).
        objective: What to keep small: the number of comparisons, or their cost. It guides the choice of
            pairs, never the line that the evidence has to reach.
        policies_ever: How many policies the experiment ever had, including those removed; None: these only.
        features: The features of the policies, or None if nothing is assumed of preferences.
        stopping: The rule that decides; `rules` names the guarantee of each. `lr-mixture` needs features.
        holds_on_misfit: Whether `lr-mixture` waits while the features do not fit the counts.
        promise: With a margin: which policies may not be preferred to the promoted one by more than it.
        last_look: The uniform number in (0, 1] of the look at the end of the budget (`last_look`), once it is
            known; None before, and without such a look.

    Raises:
        DesignError: If any of these is out of range.
    """

    delta: float
    epsilon: float
    incumbent: int
    costs: tuple[float, ...]
    max_comparisons: int | None = None
    min_comparisons: int = 0
    may_decide: bool = True
    objective: Objective = "comparisons"
    policies_ever: int | None = None
    features: Features | None = None
    stopping: StoppingRule = "e-process"
    holds_on_misfit: bool = True
    promise: Promise = UNSTATED_PROMISE
    last_look: float | None = None

    def __post_init__(self) -> None:
        checked_delta(self.delta)
        checked_epsilon(self.epsilon)
        checked_type(self.costs, Sequence, "costs")
        if len(self.costs) < 2:
            raise DesignError(f"costs has {len(self.costs)} entries; give one per policy, at least two.")
        if not all(is_real(cost) and cost >= 0 for cost in self.costs):
            raise DesignError(f"costs is {self.costs}; costs are finite and at least 0.")
        if whole_number(self.incumbent, "incumbent", 0) >= len(self.costs):
            raise DesignError(f"incumbent is {self.incumbent}; it is an index below {len(self.costs)}.")
        if self.max_comparisons is not None:
            whole_number(self.max_comparisons, "max_comparisons", 1)
        whole_number(self.min_comparisons, "min_comparisons", 0)
        if whole_number(self.ever, "policies_ever", 0) < len(self.costs):
            raise DesignError(f"policies_ever is {self.ever}, but there are {len(self.costs)} policies now.")
        _check_known("stopping", self.stopping, get_args(StoppingRule))
        _check_known("objective", self.objective, get_args(Objective))
        check_promise(self.promise, self.stopping)
        check_look(self.last_look, self.max_comparisons, self.stopping)
        if self.features is None and self.stopping == "lr-mixture":
            raise DesignError("stopping is lr-mixture, which needs features; use e-process without.")
        if self.features is not None:
            checked_type(self.features, Features, "features")
        if self.features is not None and self.features.policies != len(self.costs):
            raise DesignError(
                f"There are {len(self.costs)} policies, and features of {self.features.policies}."
            )
        in_range = min(self.costs) >= SMALLEST_COST and 2 * max(self.costs) <= LARGEST_COST
        if self.objective == "cost" and not in_range:
            raise DesignError(
                f"costs is {self.costs}; to save cost, declare a positive one for every policy, between "
                f"{SMALLEST_COST:g} and half of {LARGEST_COST:g}."
            )

    @property
    def policies(self) -> int:
        """K, the number of policies."""
        return len(self.costs)

    @property
    def ever(self) -> int:
        """How many policies the experiment ever had."""
        return self.policies if self.policies_ever is None else self.policies_ever

    @property
    def no_worse_nats(self) -> float:
        """The nats that evidence for "no worse" has to reach."""
        return line_nats(self.promise, self.delta, self.ever, self.ever - self.policies)

    @property
    def no_winner_nats(self) -> float:
        """The nats that evidence for "no winner" has to reach for every policy."""
        if self.epsilon > 0 and self.assumes_winner:
            return self.no_worse_nats
        return elimination_threshold(self.delta)

    @property
    def assumes_winner(self) -> bool:
        """Whether the certificate of a promotion assumes that some policy is preferred to every other."""
        return self.epsilon == 0 or self.promise == "no_worse_than_best"

    @property
    def pair_costs(self) -> FloatArray:
        """The objective's cost of a comparison of each pair, (K, K): 1, or the cost of both requests."""
        if self.objective == "comparisons":
            return np.ones((self.policies, self.policies))
        costs = np.array(self.costs)
        return np.asarray(costs[:, None] + costs[None, :])


def check_promise(promise: Promise, stopping: str) -> None:
    """Refuse a promise that does not exist, or that the stopping rule cannot keep.

    Raises:
        DesignError: If so.
    """
    if checked_promise(promise) == "no_worse_than_best" and stopping != "e-process":
        raise DesignError(f"promise is no_worse_than_best, which {stopping} cannot keep; use e-process.")


def check_look(uniform: float | None, budget: int | None, stopping: str) -> None:
    """Refuse a last look that is not one number in (0, 1], or that the design cannot take.

    Raises:
        DesignError: If so.
    """
    if uniform is None:
        return
    if not is_real(uniform) or not 0 < uniform <= 1:
        raise DesignError(f"last_look is {shown(uniform)}; give the uniform number, in (0, 1].")
    if budget is None or stopping != "e-process":
        raise DesignError("A last_look is of exact evidence, at max_comparisons; give it, with e-process.")


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise DesignError(f"{name} is {value!r}; choose one of {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an experiment ends.

    Attributes:
        kind: `winner`, `no_worse`, `no_winner` or `inconclusive`.
        champion: The certified policy, or None.
        statistic_nats: The smallest evidence the verdict rests on, or None.
        threshold_nats: The line that it had to reach, or None.
        cycle: For `no_winner`: policies each of which is ahead of the next, and the last of the first.
        by_last_look: Whether the line is the lower one at the end of the budget (`last_look`).
    """

    kind: Kind
    champion: int | None
    statistic_nats: float | None
    threshold_nats: float | None
    cycle: tuple[int, ...] = ()
    by_last_look: bool = False


def verdict(tally: Tally, design: Design) -> Verdict | None:
    """The verdict that the ledger supports now; None while there is none and the budget lasts.

    Raises:
        TallyError: If tally and design disagree about K.
    """
    same_policies(tally.policies, design.policies)
    if not design.may_decide or tally.comparisons < design.min_comparisons:
        return None
    certified = _winner(tally, design) if design.epsilon == 0 else _no_worse(tally, design)
    return _undecided(tally, design) if certified is None else certified


def _undecided(tally: Tally, design: Design) -> Verdict | None:
    """No verdict; or the end without one, once the budget is spent."""
    if design.max_comparisons is not None and tally.comparisons >= design.max_comparisons:
        return Verdict("inconclusive", None, None, None)
    return None


def may_conclude(
    wins: IntArray,
    evidence: IntArray,
    eliminated: BoolArray,
    design: Design,
    at_half: IntArray | None = None,
) -> BoolArray:
    """Which of R runs may have a verdict on evidence, shape (R,); the caller checks budgets."""
    if design.epsilon == 0:
        return np.asarray(eliminated.sum(axis=1) >= design.policies - 1)
    line = _no_worse_line(design)
    against = against_rivals(evidence, at_half, None, design.promise)
    least = np.where(np.eye(design.policies, dtype=np.bool_), line, against).min(axis=1)
    certified = np.asarray(least.max(axis=1) >= line)
    if design.assumes_winner:  # if every policy is shown not to be the best, every one is certified too
        return certified
    all_beaten = beaten_nats(wins, design).min(axis=1) >= design.no_winner_nats
    return np.asarray(certified | all_beaten)


def beaten_nats(wins: IntArray, design: Design) -> FloatArray:
    """Evidence that each policy is beaten by some other by more than epsilon, shape (..., K), in nats.

    From the counts alone: for each pair a mixture, over a fixed grid of alternatives below g = 1/2 - epsilon,
    of the likelihood ratios against "preferred with probability >= g", averaged over the rivals. Each is a
    nonnegative supermartingale that starts at one, whatever was compared when, and so is the average.
    Removed rivals count as zero.

    Args:
        wins: Shape (..., K, K).
        design: Fixes epsilon.
    """
    wins = counted(wins, design.policies)
    return _beaten(wins, wins.swapaxes(-1, -2), np.eye(design.policies, dtype=np.bool_), design)


def _beaten(won: IntArray, lost: IntArray, is_itself: BoolArray, design: Design) -> FloatArray:
    """`beaten_nats` of policies by how often they won and lost against each, shape (..., K)."""
    bound = 0.5 - design.epsilon
    alternatives = bound * _ALTERNATIVES
    ratios = np.multiply.outer(np.log(alternatives / bound), won)
    ratios += np.multiply.outer(np.log((1 - alternatives) / (1 - bound)), lost)
    mixed = np.where(is_itself, -np.inf, _log_mean(ratios, axis=0))
    return np.asarray(_log_mean(mixed, axis=-1) + math.log(won.shape[-1] / (design.ever - 1)))


def _log_mean(logs: FloatArray, axis: int) -> FloatArray:
    """Logarithm of the mean along an axis."""
    top = logs.max(axis=axis, keepdims=True)
    shares = np.exp(logs - top).sum(axis=axis) / logs.shape[axis]
    return np.asarray(np.log(shares) + top.squeeze(axis))


def qualified(tally: Tally, design: Design) -> BoolArray:
    """Policies certified as no worse by the evidence, shape (K,).

    Raises:
        TallyError: If tally and design disagree about K.
    """
    same_policies(tally.policies, design.policies)
    reached = _against_rivals(tally, design) >= _no_worse_line(design)
    np.fill_diagonal(reached, val=True)
    return np.asarray(reached.all(axis=0))


def _no_worse_line(design: Design) -> int:
    return line_nano_nats(design.promise, design.delta, design.ever, design.ever - design.policies)


def _against_rivals(tally: Tally, design: Design) -> IntArray:
    return against_rivals(tally.evidence, tally.at_half, tally.debts, design.promise)


def progress(tally: Tally, design: Design) -> tuple[FloatArray, FloatArray]:
    """Evidence per policy and the nats that it needs, for people to look at; shapes (K,).

    epsilon = 0: evidence that the policy is not the winner (full: eliminated). epsilon > 0: the smallest
    evidence over the rivals that the rival does not beat the policy by more than epsilon or, if the promise
    is about the best only, that it is not a best policy which does (full: certified).

    Raises:
        TallyError: If tally and design disagree about K.
    """
    same_policies(tally.policies, design.policies)
    if design.epsilon == 0:
        needed = elimination_threshold(design.delta)
        nats = np.where(
            tally.eliminated, np.maximum(tally.row_totals / NANO, needed), tally.row_totals / NANO
        )
        return nats, np.full(design.policies, needed)
    others = _against_rivals(tally, design).copy()
    np.fill_diagonal(others, np.iinfo(np.int64).max)
    return others.min(axis=0) / NANO, np.full(design.policies, design.no_worse_nats)


def _winner(tally: Tally, design: Design) -> Verdict | None:
    survivors = np.flatnonzero(~tally.eliminated)
    if survivors.size > 1:
        return None
    threshold = elimination_threshold(design.delta)
    nats, _ = progress(tally, design)
    statistic = float(nats[tally.eliminated].min())
    if survivors.size == 0:
        return Verdict("no_winner", None, statistic, threshold, majority_cycle(tally.win_matrix))
    return Verdict("winner", int(survivors[0]), statistic, threshold)


def cheapest(certified: BoolArray, design: Design) -> int | None:
    """The policy to promote of those certified as no worse, shape (K,): the cheapest, then the incumbent."""
    return min(
        (int(policy) for policy in np.flatnonzero(certified)),
        key=lambda policy: (design.costs[policy], policy != design.incumbent, policy),
        default=None,
    )


def _no_worse(tally: Tally, design: Design) -> Verdict | None:
    """The verdict for a policy that is no worse, by either promise; or no winner.

    No worse than any: there is no winner if the counts show that every policy is beaten by more than
    epsilon. No worse than the best: there is none if no policy can be at least even with every other. This
    is checked first, because then every policy is certified as no worse than a best one that does not exist.
    Both verdicts are wrong with probability at most delta, without a union bound: one particular policy's
    evidence must have crossed the line.
    """
    if design.assumes_winner:
        least = float(against_best(tally.evidence, tally.at_half, tally.debts).min()) / NANO
        return _no_winner(least, tally, design) or _certified(qualified(tally, design), tally, design)
    wins = tally.wins  # nearly always the policy that won most is beaten too little, which one row shows
    ahead = int((wins.sum(axis=1) - wins.sum(axis=0)).argmax())
    least = float(_beaten(wins[ahead], wins[:, ahead], np.arange(len(wins)) == ahead, design))
    if least >= design.no_winner_nats:
        least = float(beaten_nats(wins, design).min())
    return _certified(qualified(tally, design), tally, design) or _no_winner(least, tally, design)


def _no_winner(least_nats: float, tally: Tally, design: Design) -> Verdict | None:
    threshold = design.no_winner_nats
    if least_nats < threshold:
        return None
    return Verdict("no_winner", None, least_nats, threshold, majority_cycle(tally.win_matrix))


def no_worse_verdict(champion: object, tally: Tally, design: Design) -> Verdict | None:
    """The verdict that promotes `champion`, if the evidence certifies it as no worse, else None.

    Raises:
        TallyError: If tally and design disagree about K.
    """
    chosen = np.array([policy == champion for policy in range(design.policies)])
    return _certified(qualified(tally, design) & chosen, tally, design)


def _certified(among: BoolArray, tally: Tally, design: Design) -> Verdict | None:
    champion = cheapest(among, design)
    if champion is None:
        return None
    nats, needed = progress(tally, design)
    return Verdict("no_worse", champion, float(nats[champion]), float(needed[champion]))


def conclusion(tally: Tally, design: Design, fit: Fit) -> Verdict | None:
    """The verdict, held back while the policy it promotes has not been cleared of every rival.

    If a certificate assumes that one policy is preferred to every other, preferences in a cycle would
    promote the last survivor, or any policy, only because of the order of the comparisons. So a policy waits
    until it is cleared of every rival, or until the evidence leaves no policy that could be the best. The
    check only delays (docs/decisions/0013-survivor-check.md).
    """
    reached = verdict(tally, design)
    if reached is None or reached.champion is None or not design.assumes_winner:
        return reached
    if design.epsilon == 0:
        return reached if doubts(fit, reached.champion).size == 0 else _undecided(tally, design)
    cleared = qualified(tally, design)
    for policy in np.flatnonzero(cleared).tolist():
        cleared[policy] = doubts(fit, policy, design.epsilon).size == 0
    return _certified(cleared, tally, design) or _undecided(tally, design)
