"""Which policy is cheapest to certify in each posterior draw, without weighing every policy.

To certify s within the margin, every rival j still needs some nats, and a comparison of j with s gives more
of them the further j is behind s in the draw. It gives no more than one of j with the rival furthest ahead of
j would. So one product of matrices bounds the cost of every policy from below. The policy with the lowest
bound is weighed first. The bound of every other policy that is not above its cost is raised by what the
rivals that are hardest to settle in the draw really cost, and those that are still not above are weighed too:
usually one or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.llm_po.draws import PairDraws, information_below
from gateway.llm_po.wins import FloatArray, IntArray

SMALLEST_NO_WORSE_PACE: Final = 1e-4
"""Nats per comparison: the least information assumed of a rival of the policy to certify."""

_HARDEST: Final = 4
"""How many rivals raise a bound; with few more policies than these, those left are weighed at once."""

_ROUNDING: Final = 1e-9
"""Share by which a bound may come out above the cost that it bounds."""


def cheapest_to_certify(
    drawn: PairDraws, needed: FloatArray, prices: FloatArray, threshold: float, elsewhere: FloatArray
) -> tuple[IntArray, FloatArray]:
    """The policy that is cheapest to certify in each draw, and the comparisons that its rivals still need.

    Args:
        drawn: The draws of R runs.
        needed: Shape (R, K, K): nats missing against each rival j of each policy s, `[r, j, s]`.
        prices: The price of a comparison of each pair, shape (R or 1, K, K).
        threshold: h: a comparison of j with s gives kl(mu, h) where mu = P(j preferred to s) is below it.
        elsewhere: Nats that a comparison of j with some other policy would give, which count for every s, in
            each draw; shape (R, draws, K).

    Returns:
        The policy, shape (R, draws), and the comparisons of each rival, shape (R, draws, K).
    """
    least = np.maximum(elsewhere, SMALLEST_NO_WORSE_PACE)
    fewest = 1 / np.maximum(information_below(drawn.worst, threshold), least)
    weighing = _Weighing(drawn, threshold, least, np.ascontiguousarray((needed * prices).swapaxes(1, 2)))
    bounds = (fewest @ weighing.priced.swapaxes(1, 2)).reshape(-1, drawn.policies)
    runs, draws = np.indices(fewest.shape[:2]).reshape(2, -1)
    everyone, chosen = np.arange(runs.size), bounds.argmin(axis=1)
    for_a_nat, cost = weighing.weighed(runs, draws, chosen)
    limit = cost * (1 + _ROUNDING)
    may_be_cheaper = bounds <= limit[:, None]
    may_be_cheaper[everyone, chosen] = False
    each, others = np.nonzero(may_be_cheaper)
    if drawn.policies > 2 * _HARDEST:
        raised = bounds[each, others] + weighing.raises(fewest, runs[each], draws[each], others)
        still = raised <= limit[each]
        each, others = each[still], others[still]
    theirs, their_cost = weighing.weighed(runs[each], draws[each], others)
    falling = np.argsort(-their_cost)  # of several for one draw, the cheapest is written last
    better = falling[their_cost[falling] < cost[each[falling]]]
    chosen[each[better]], for_a_nat[each[better]] = others[better], theirs[better]
    work = needed.swapaxes(1, 2)[runs, chosen] * for_a_nat
    return chosen.reshape(fewest.shape[:2]), work.reshape(fewest.shape)


@dataclass(frozen=True, slots=True, eq=False)
class _Weighing:
    """What it takes to certify policies, each in one draw of one run.

    Attributes:
        drawn: The draws.
        threshold: h.
        least: Nats that a comparison of each policy gives at least, shape (R, draws, K).
        priced: Nats missing against each rival j of s, times the price of a comparison: `[r, s, j]`.
    """

    drawn: PairDraws
    threshold: float
    least: FloatArray
    priced: FloatArray

    def weighed(self, runs: IntArray, draws: IntArray, policies: IntArray) -> tuple[FloatArray, FloatArray]:
        """The comparisons with each rival for a nat against it, shape (N, K), and the cost, shape (N,)."""
        pace = information_below(self.drawn.of_rivals(runs, draws, policies), self.threshold)
        for_a_nat = 1 / np.maximum(pace, self.least[runs, draws], out=pace)
        return for_a_nat, np.einsum("nj,nj->n", for_a_nat, self.priced[runs, policies])

    def raises(self, fewest: FloatArray, runs: IntArray, draws: IntArray, policies: IntArray) -> FloatArray:
        """By how much the cost of the rivals that are hardest to settle exceeds their bound, shape (N,).

        Args:
            fewest: The fewest comparisons for a nat against each policy in each draw, shape (R, draws, K).
            runs: Shape (N,).
            draws: Shape (N,).
            policies: Shape (N,).
        """
        rivals = np.argpartition(fewest, -_HARDEST, axis=2)[runs, draws, -_HARDEST:]
        pace = information_below(self.drawn.of_rivals(runs, draws, policies, rivals), self.threshold)
        runs, draws, policies = runs[:, None], draws[:, None], policies[:, None]
        np.maximum(pace, self.least[runs, draws, rivals], out=pace)
        more = 1 / pace - fewest[runs, draws, rivals]
        return np.asarray(np.einsum("nj,nj->n", more, self.priced[runs, policies, rivals]))
