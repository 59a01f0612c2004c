"""Exposure caps: changes a plan's pairs so that each policy answers no more than the operator allows.

A unit that takes part is served in one of several ways w: a pair is compared, or the incumbent answers alone.
Of the units served by a pair, each of its policies answers a share g: 1/2 if a fair coin chooses one of the
two, 1 if both answer. If the plan's shares are p, the shares x that keep the caps and differ least from them
are

    minimise  sum_w  x_w log(x_w / p_w)   over x >= 0, sum x = 1,
              g sum_{w with i} x_w <= most_i  for each capped i,
              g sum_{w with the incumbent} x_w + x_alone >= least,

the I-projection of Csiszar (1975): x_w is p_w times one factor for each policy of the pair, below 1 only for
policies whose cap binds. There is no closed form, because the factors depend on one another; the program is
compiled once for each size and solved again with new numbers. The caps can always be kept, because the
incumbent alone keeps them all. But units that it answers alone are not compared. So in p the incumbent alone
gets only one unit in a thousand, and one in twenty goes to the pairs that the sampler would propose if the
policies above their caps were expensive (docs/decisions/0018-exposure-caps.md).

The evidence is valid however pairs are chosen, so no cap changes the guarantee. cvxpy is imported only when
a plan breaks a cap, because loading it takes seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np

from gateway.llm_po.checks import LARGEST_COST, checked_type
from gateway.llm_po.errors import DesignError, SolverError
from gateway.llm_po.samplers import Situation
from gateway.llm_po.scalars import is_real, whole_number
from gateway.llm_po.wins import FloatArray, IntArray

_ALONE: Final = 1e-3
_SPARE: Final = 0.05
_DEAR: Final = 100.0  # factor on the price, so that a sampler proposes a capped policy only as a last resort
_TOLERANCE: Final = 1e-9
_SMALLEST_SHARE: Final = 1e-4  # of the units; a solver leaves a small share everywhere


@dataclass(frozen=True, slots=True)
class Caps:
    """How much each policy may answer, as shares of the units that take part.

    Attributes:
        incumbent: Index of the policy that answers units that are not compared; it has no cap.
        most: The largest share of each policy, length K; 1 means no cap. The incumbent's entry is ignored.
        least: The smallest share of the incumbent; 0 for no such bound.
        answers: How many policies of a pair answer a unit.

    Raises:
        DesignError: If any of these is out of range.
    """

    incumbent: int
    most: tuple[float, ...]
    least: float = 0.0
    answers: int = 1

    def __post_init__(self) -> None:
        checked_type(self.most, Sequence, "most")
        if not all(is_real(share) and share > 0 for share in self.most):
            raise DesignError(f"most is {self.most}; give every policy a share above 0.")
        if whole_number(self.incumbent, "incumbent", 0) >= len(self.most):
            raise DesignError(f"incumbent is {self.incumbent}; it is an index below {len(self.most)}.")
        if not is_real(self.least) or not 0 <= self.least <= 1:
            raise DesignError(f"least is {self.least}; a share from 0 to 1 is needed.")
        if self.answers not in (1, 2):
            raise DesignError(f"answers is {self.answers}; one or both policies of a pair answer.")

    @property
    def capped(self) -> IntArray:
        """Indices of the policies that have a cap."""
        has_cap = np.array(self.most) < 1
        has_cap[self.incumbent] = False
        return np.flatnonzero(has_cap)


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """How units that take part are served.

    Attributes:
        pairs: Shape (M, 2), first < second, none twice.
        probabilities: Shape (M,): how often to draw each pair; sums to 1.
        compared: Share of the units that are compared at all; the incumbent alone answers the rest.
    """

    pairs: IntArray
    probabilities: FloatArray
    compared: float = 1.0


def answered(mix: Mix, caps: Caps) -> FloatArray:
    """Share of the units that each policy answers, shape (K,); they sum to 1, or to more if two answer."""
    shares = _meetings(mix.pairs, len(caps.most)) @ mix.probabilities * (mix.compared * caps.answers / 2)
    shares[caps.incumbent] += 1 - mix.compared
    return np.asarray(shares)


def keeps(mix: Mix, caps: Caps) -> bool:
    """Whether every cap is kept."""
    shares, capped = answered(mix, caps), caps.capped
    is_below = (shares[capped] <= np.array(caps.most)[capped] + _TOLERANCE).all()
    return bool(is_below and shares[caps.incumbent] >= caps.least - _TOLERANCE)


def capped_mix(choose: Callable[[Situation], Mix], situation: Situation, caps: Caps | None) -> Mix:
    """The mix that `choose` proposes, or the mix nearest to it that keeps the caps.

    Args:
        choose: Proposes pairs for a situation of a single run.
        situation: That run.
        caps: The caps to keep, or None.

    Raises:
        SolverError: If the solver stops without an optimum.
    """
    planned = choose(situation)
    if caps is None or keeps(planned, caps):
        return planned
    is_over = answered(planned, caps) > np.array(caps.most) + _TOLERANCE
    is_over[caps.incumbent] = False
    dear = np.where(is_over[:, None] | is_over[None, :], _DEAR, 1.0) * situation.prices
    spare = choose(replace(situation, pair_costs=np.minimum(dear, LARGEST_COST / 2), start=situation.fit))
    return within_caps(planned, spare, caps)


def within_caps(planned: Mix, spare: Mix, caps: Caps) -> Mix:
    """The mix that keeps the caps and is nearest to the planned one.

    Args:
        planned: The mix without caps.
        spare: Other pairs worth comparing, for units that the caps do not let the plan's pairs fill.
        caps: The caps to keep.

    Raises:
        SolverError: If the solver stops without an optimum.
    """
    policies = len(caps.most)
    ways = np.concatenate([planned.pairs, spare.pairs]) @ [policies, 1]
    weights = np.concatenate([(1 - _SPARE) * planned.probabilities, _SPARE * spare.probabilities])
    names, inverse = np.unique(ways, return_inverse=True)
    pairs = np.stack(np.divmod(names, policies), axis=1)
    return _rounded(pairs, _projected(pairs, np.bincount(inverse, weights).astype(np.float64), caps), caps)


def _projected(pairs: IntArray, wanted: FloatArray, caps: Caps) -> FloatArray:
    """Shares of the units for these pairs, shape (M,); the incumbent alone has the rest.

    The program's number of ways is a power of two. The surplus ways all stand for the incumbent alone;
    splitting a way into equal parts does not change the optimum.
    """
    count, capped = wanted.size, caps.capped
    room = 1 << int(count).bit_length()
    alone = np.full(room - count, _ALONE / (room - count))
    reference = np.concatenate([wanted * (1 - _ALONE), alone])
    met = np.zeros((len(caps.most), room))
    met[:, :count] = _meetings(pairs, len(caps.most)) * (caps.answers / 2)
    met[caps.incumbent, count:] = 1.0
    program = _compiled(capped.size, room)
    program.log_reference.value = np.log(reference)
    program.incumbent.value, program.least.value = met[caps.incumbent], caps.least
    if capped.size:
        program.met.value, program.most.value = met[capped], np.array(caps.most)[capped]
    remedy = "raise the caps, or lower the share of traffic that takes part"
    solve_program(program.problem, remedy, may_be_inaccurate=True)  # rounding keeps the caps
    return np.asarray(program.shares.value)[:count]


@dataclass(frozen=True, slots=True, eq=False)
class _Program:
    """The projection in cvxpy's terms, with the parameters to set before each solution."""

    problem: Any
    shares: Any
    log_reference: Any
    met: Any
    most: Any
    incumbent: Any
    least: Any


@lru_cache(maxsize=16)
def _compiled(capped: int, ways: int) -> _Program:
    """The program for these numbers of caps and ways; not safe for several threads at once."""
    import cvxpy  # noqa: PLC0415 - seconds of import, needed only where a plan breaks a cap

    shares: Any = cvxpy.Variable(ways)
    log_reference, incumbent = cvxpy.Parameter(ways), cvxpy.Parameter(ways, nonneg=True)
    met, most = cvxpy.Parameter((max(capped, 1), ways), nonneg=True), cvxpy.Parameter(max(capped, 1))
    least: Any = cvxpy.Parameter()
    constraints: list[Any] = [cvxpy.sum(shares) == 1, incumbent @ shares >= least]
    if capped:
        constraints.append(met @ shares <= most)
    objective: Any = cvxpy.Maximize(cvxpy.sum(cvxpy.entr(shares)) + log_reference @ shares)
    problem: Any = cvxpy.Problem(objective, constraints)
    return _Program(problem, shares, log_reference, met, most, incumbent, least)


def solve_program(problem: Any, remedy: str, *, may_be_inaccurate: bool = False) -> None:
    """Solve a cvxpy problem in place.

    Args:
        problem: The problem, with every parameter set.
        remedy: The advice that the error gives.
        may_be_inaccurate: Whether an optimum to four digits is enough if eight are not reached.

    Raises:
        SolverError: If the solver fails or stops without an optimum.
    """
    import cvxpy  # noqa: PLC0415 - as above

    try:
        with warnings.catch_warnings():  # about an inaccurate solution, which its status shows too
            warnings.simplefilter("ignore")
            problem.solve(solver=cvxpy.CLARABEL)
    except (cvxpy.SolverError, ValueError, ArithmeticError) as error:
        raise SolverError(f"The solver failed ({error}); {remedy}.") from error
    is_inaccurate = problem.status == cvxpy.OPTIMAL_INACCURATE
    if problem.status != cvxpy.OPTIMAL and not (may_be_inaccurate and is_inaccurate):
        raise SolverError(f"The solver stopped with status {problem.status!r}, not at an optimum; {remedy}.")


def _rounded(pairs: IntArray, shares: FloatArray, caps: Caps) -> Mix:
    """A solver's shares without its inaccuracy: negligible pairs are left out, and caps are kept exactly.

    Lowering the shares of all pairs by the same factor, in favour of the incumbent alone, lowers the share
    of every capped policy and never the incumbent's.
    """
    kept = shares >= min(_SMALLEST_SHARE, float(shares.max()))
    pairs, shares = pairs[kept], np.maximum(shares[kept], 0.0)
    total = float(shares.sum())
    mix = Mix(pairs, shares / total if total > 0 else np.full(shares.size, 1 / shares.size))
    by_policy, capped = answered(mix, caps), caps.capped
    bounds = [total, 1.0, *(np.array(caps.most)[capped] / np.maximum(by_policy[capped], _TOLERANCE))]
    if by_policy[caps.incumbent] < caps.least:
        bounds.append((1 - caps.least) / (1 - float(by_policy[caps.incumbent])))
    return replace(mix, compared=max(float(min(bounds)), 0.0))


def _meetings(pairs: IntArray, policies: int) -> FloatArray:
    """1 where a policy is one of a pair, shape (K, M)."""
    return np.asarray((np.arange(policies)[:, None, None] == pairs[None]).any(axis=2), dtype=np.float64)
