"""Policies come and go: the counts that a new generation keeps between the remaining policies.

    the last generation's counts, and the policies kept  ->  succeed()  ->  the new generation's start

The evidence of a pair is about that pair alone and is kept unchanged; rows and columns of newcomers start at
zero. A removed rival k's contribution to the row total of j is dropped if it was evidence against j, because
losing to k says nothing about j among the others. If it was in favour of j, it stays as a *debt* of j. An
operator who removes policies has usually looked at the evidence first; if a removal could raise a row total,
the total would no longer be a supermartingale. The proofs are in docs/proofs/policies-come-and-go.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gateway.llm_po.errors import TallyError
from gateway.llm_po.evidence import Tally
from gateway.llm_po.lines import elimination_nano_nats
from gateway.llm_po.scalars import FEWEST_POLICIES, whole_number
from gateway.llm_po.wins import IntArray

Sources = Sequence[int | None]
"""For each policy of a generation its index in the generation before, or None for a newcomer."""


@dataclass(frozen=True, slots=True, eq=False)
class GenerationStanding:
    """The counts with which a generation starts or stands.

    Attributes:
        tally: The counts between its policies.
        eliminated_at: Per policy the comparison at which it was eliminated, or None. For a policy whose
            elimination was derived anew, the last comparison inherited.
        policies_ever: How many policies the experiment ever had, including those removed.
    """

    tally: Tally
    eliminated_at: tuple[int | None, ...]
    policies_ever: int


def succeed(before: GenerationStanding, sources: Sources, delta: float) -> GenerationStanding:
    """The standing that the next generation starts with.

    Args:
        before: The standing of the last generation.
        sources: For each policy of the next generation its index in the last, or None.
        delta: Error level of both.

    Returns:
        Its standing. No row total of a kept policy is higher than before.

    Raises:
        TallyError: If `sources` names a policy twice or an unknown one, or keeps fewer than two.
    """
    kept = _checked(sources, before.tally.policies)
    new = np.array([index for index, source in enumerate(sources) if source is not None])
    removed = np.setdiff1d(np.arange(before.tally.policies), kept)

    def moved(matrix: IntArray) -> IntArray:
        at_new_places = np.zeros((len(sources), len(sources)), dtype=np.int64)
        at_new_places[np.ix_(new, new)] = matrix[np.ix_(kept, kept)]
        return at_new_places

    wins, ties, evidence = map(moved, (before.tally.wins, before.tally.ties, before.tally.evidence))
    at_half, lower = None, before.tally.evidence
    if before.tally.at_half is not None:
        at_half, lower = moved(before.tally.at_half), np.minimum(lower, before.tally.at_half)
    debts = np.zeros(len(sources), dtype=np.int64)
    spoke_for = np.minimum(lower[np.ix_(kept, removed)], 0).sum(axis=1)
    debts[new] = before.tally.debts[kept] + spoke_for
    comparisons = int(wins.sum() + ties.sum() // 2)
    eliminated_at: list[int | None] = [None] * len(sources)
    totals = evidence.sum(axis=1) + debts
    for index, source in zip(new.tolist(), kept.tolist(), strict=True):
        if removed.size == 0:
            eliminated_at[index] = before.eliminated_at[source]
        elif totals[index] >= elimination_nano_nats(delta):
            eliminated_at[index] = comparisons
    eliminated = np.array([at is not None for at in eliminated_at])
    return GenerationStanding(
        tally=Tally(wins, ties, evidence, eliminated, comparisons, debts, at_half),
        eliminated_at=tuple(eliminated_at),
        policies_ever=before.policies_ever + len(sources) - new.size,
    )


def _checked(sources: Sources, policies: int) -> IntArray:
    named = [whole_number(source, "A source", 0, TallyError) for source in sources if source is not None]
    kept = np.array([source for source in named if source < policies], dtype=np.int64)
    if kept.size < len(named):
        raise TallyError(f"sources is {list(sources)}; each is the index of one of {policies} policies.")
    if kept.size < FEWEST_POLICIES:
        raise TallyError(f"{kept.size} policies are kept; at least two have evidence between them.")
    if np.unique(kept).size < kept.size:
        raise TallyError(f"sources is {list(sources)}; each of {policies} policies may be named once.")
    return kept
