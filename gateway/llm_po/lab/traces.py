"""The leader and the evidence of a simulated run at a few checkpoints.

For every method the leader is the policy with the best mean score of the fit, so that curves compare how
methods sample and not how they read their counts. One fit per checkpoint is cheap, and no run depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.llm_po.bradley_terry import fit
from gateway.llm_po.evidence import Ledgers
from gateway.llm_po.lines import NANO, elimination_threshold
from gateway.llm_po.no_worse import against_rivals
from gateway.llm_po.scalars import whole_number
from gateway.llm_po.stopping import Design
from gateway.llm_po.wins import BoolArray, FloatArray, IntArray


def checkpoints(most: int, count: int = 40) -> tuple[int, ...]:
    """Up to `count` numbers of comparisons from 10 to `most`, evenly spaced on a logarithmic scale.

    Raises:
        DesignError: If one is not a whole number of at least 1.
    """
    whole_number(most, "most", 1)
    whole_number(count, "count", 1)
    return tuple(int(value) for value in np.unique(np.geomspace(min(10, most), most, count).astype(np.int64)))


class Recorder:
    """Leaders and evidence of runs in lockstep, noted at the first refresh at or after each checkpoint."""

    def __init__(self, budgets: Sequence[int], runs: int) -> None:
        self._budgets = tuple(budgets)
        self._leaders = np.empty((runs, 0), dtype=np.int64)
        self._progress = np.empty((runs, 0))

    def note(self, ledgers: Ledgers, design: Design) -> None:
        """Note the runs' state if a checkpoint has been reached."""
        due = sum(budget <= ledgers.comparisons for budget in self._budgets) - self._leaders.shape[1]
        if due == 0:
            return
        leaders = np.tile(_leaders(ledgers)[:, None], (1, due))
        reached = np.tile(decision_progress(ledgers, design)[:, None], (1, due))
        self._leaders = np.concatenate([self._leaders, leaders], axis=1)
        self._progress = np.concatenate([self._progress, reached], axis=1)

    def keep(self, runs: BoolArray) -> None:
        """Keep only these runs."""
        self._leaders, self._progress = self._leaders[runs], self._progress[runs]

    def leaders(self, run: int, last: int) -> list[int]:
        """The leader at every checkpoint; `last` at checkpoints after the run's end."""
        seen = self._leaders[run].tolist()
        return [*seen, *[last] * (len(self._budgets) - len(seen))]

    def progress(self, run: int, last: float) -> tuple[float, ...]:
        """Evidence as a share of the needed nats at every checkpoint; `last` after the run's end."""
        seen = self._progress[run].tolist()
        return (*seen, *[last] * (len(self._budgets) - len(seen)))

    def leader(self, ledgers: Ledgers, run: int) -> int:
        """The policy that leads a run now."""
        return int(_leaders(ledgers, np.array([run]))[0])


def decision_progress(ledgers: Ledgers, design: Design) -> FloatArray:
    """Evidence as a share of what a decision needs, shape (R,), in [0, 1].

    epsilon = 0: the evidence of the policy second hardest to eliminate, because all but one have to be.
    epsilon > 0: that of the policy closest to being certified as no worse.
    """
    if design.epsilon == 0:
        shares = ledgers.evidence.sum(axis=2) / NANO / elimination_threshold(design.delta)
        shares = np.where(ledgers.eliminated, 1.0, shares)
        return np.asarray(np.clip(np.sort(shares, axis=1)[:, 1], 0.0, 1.0))
    everyone = np.arange(design.policies)
    against = against_rivals(ledgers.evidence, ledgers.at_half, None, design.promise) / NANO
    against[:, everyone, everyone] = np.inf
    best = against.min(axis=1).max(axis=1)
    return np.asarray(np.clip(best / design.no_worse_nats, 0.0, 1.0))


def _leaders(ledgers: Ledgers, runs: IntArray | None = None) -> IntArray:
    wins = ledgers.wins if runs is None else ledgers.wins[runs]
    return np.asarray(fit(wins).mean_scores.argmax(axis=1))
