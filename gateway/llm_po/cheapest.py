"""Which policy is cheapest to certify in each posterior draw, without weighing every policy.

To certify s within the margin, every rival j still needs some nats, and a comparison of j with s gives more
of them the further j is behind s in the draw. It gives no more than one of j with the rival furthest ahead of
j would. So one product of matrices bounds the cost of every policy from below. The policy with the lowest
bound is weighed first, and after it only those whose bound is not above its cost: usually one or two.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.llm_po.draws import PairDraws, information_below
from gateway.llm_po.wins import FloatArray, IntArray

SMALLEST_NO_WORSE_PACE: Final = 1e-4
"""Nats per comparison: the least information assumed of a rival of the policy to certify."""

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
    prices = np.broadcast_to(prices, needed.shape)
    bounds = (1 / np.maximum(information_below(drawn.worst, threshold), least)) @ (needed * prices)

    def weighed(runs: IntArray, draws: IntArray, policies: IntArray) -> tuple[FloatArray, FloatArray]:
        pace = information_below(drawn.of_rivals(runs, draws, policies), threshold)
        work = needed[runs, :, policies] / np.maximum(pace, least[runs, draws], out=pace)
        return work, (work * prices[runs, :, policies]).sum(axis=1)

    runs, draws = np.indices(bounds.shape[:2]).reshape(2, -1)
    lowest = bounds.reshape(-1, drawn.policies)
    chosen = lowest.argmin(axis=1)
    work, cost = weighed(runs, draws, chosen)
    may_be_cheaper = lowest <= cost[:, None] * (1 + _ROUNDING)
    may_be_cheaper[np.arange(chosen.size), chosen] = False
    each, others = np.nonzero(may_be_cheaper)
    their_work, their_cost = weighed(runs[each], draws[each], others)
    falling = np.argsort(-their_cost)  # of several for one draw, the cheapest is written last
    better = falling[their_cost[falling] < cost[each[falling]]]
    chosen[each[better]], work[each[better]] = others[better], their_work[better]
    return chosen.reshape(bounds.shape[:2]), work.reshape(bounds.shape)
