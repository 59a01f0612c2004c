"""The last look: at the end of the budget the evidence is compared once more, with a lower line.

The line that evidence e has to reach falls from log(1/delta) to log(u/delta), with u uniform in (0, 1]. If u
does not depend on anything that decides when the look is or what was counted, a promotion is still wrong with
probability at most delta (docs/proofs/last-look.md). The look only promotes: it finds no "no winner".
"""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.llm_po.bradley_terry import Fit
from gateway.llm_po.evidence import Tally
from gateway.llm_po.forecast import doubts
from gateway.llm_po.lines import NANO, elimination_nano_nats, elimination_threshold, last_look_nano_nats
from gateway.llm_po.no_worse import against_rivals
from gateway.llm_po.stopping import Design, Kind, Verdict, cheapest
from gateway.llm_po.wins import BoolArray, IntArray

_INTS: Final = np.iinfo(np.int64)


def with_last_look(
    reached: Verdict | None, tally: Tally, design: Design, fit: Fit | None = None, champion: object = None
) -> Verdict | None:
    """The verdict; where the budget ended without one and the look's number is known, that of the look.

    Args:
        reached: The verdict without the look.
        tally: Everything counted by the end of the budget.
        design: The design, with the number.
        fit: The posterior, of this run alone, by which a promotion that assumes a winner is held back
            (`stopping.conclusion`). None: nothing is held back.
        champion: If there is a choice, the policy to promote of those that the look certifies. Any other
            value: the cheapest, or the one that rests on the most evidence if the winner is asked for.
    """
    if reached is None or reached.kind != "inconclusive" or design.last_look is None:
        return reached
    needed = elimination_threshold(design.delta) if design.epsilon == 0 else design.no_worse_nats
    line = last_look_nano_nats(needed, design.last_look)
    least = _least_evidence(tally, design)
    certified = np.asarray(least >= line)
    if fit is not None and design.assumes_winner:
        for policy in np.flatnonzero(certified).tolist():
            certified[policy] = doubts(fit, policy, design.epsilon).size == 0
    chosen = _chosen(champion, certified, least, design)
    if chosen is None:
        return reached
    kind: Kind = "winner" if design.epsilon == 0 else "no_worse"
    return Verdict(kind, chosen, int(least[chosen]) / NANO, line / NANO, by_last_look=True)


def _least_evidence(tally: Tally, design: Design) -> IntArray:
    """Nano-nats that promoting each policy rests on, shape (K,): the least over the others.

    For the winner this is the least evidence that another policy is not the winner; if that was eliminated
    before, at least the line. A policy that was eliminated itself has the lowest value there is.

    Any rule may choose the policy: a wrong choice takes evidence against the true winner, or against the one
    policy that beats the chosen one.
    """
    if design.epsilon > 0:
        against = against_rivals(tally.evidence, tally.at_half, tally.debts, design.promise).copy()
        np.fill_diagonal(against, _INTS.max)
        return np.asarray(against.min(axis=0))
    line = elimination_nano_nats(design.delta)
    totals = np.where(tally.eliminated, np.maximum(tally.row_totals, line), tally.row_totals)
    others = np.where(np.eye(design.policies, dtype=np.bool_), _INTS.max, totals)
    return np.where(tally.eliminated, _INTS.min, others.min(axis=1))


def _chosen(champion: object, certified: BoolArray, least: IntArray, design: Design) -> int | None:
    if isinstance(champion, int) and 0 <= champion < certified.size and certified[champion]:
        return champion
    if design.epsilon > 0:
        return cheapest(certified, design)
    return int(np.where(certified, least, _INTS.min).argmax()) if certified.any() else None
