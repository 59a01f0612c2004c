"""Simulated sources of comparisons that only inform: judges that agree with the users about some pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from gateway.llm_po.bradley_terry import logistic
from gateway.llm_po.errors import DesignError
from gateway.llm_po.scalars import is_real, is_whole, shown
from gateway.llm_po.wins import FloatArray

_BISECTIONS: Final = 60
_LARGEST_NOISE: Final = 1e6  # logits


@dataclass(frozen=True, slots=True)
class SimulatedJudge:
    """A judge that compared every pair before the experiment.

    Attributes:
        agreement: On how many of the pairs it prefers the same policy as the users, on average.
        per_pair: How many comparisons of each pair it made.
        errs: What it is wrong about. `anywhere`: any pair by itself, which it then prefers with one minus
            the users' probability. `close`: its logits are the users' (or, with an agreement below one half,
            their negatives) and noise, so that it is wrong about close pairs more often.

    Raises:
        DesignError: If a number is out of range.
    """

    agreement: float
    per_pair: int = 100
    errs: Literal["anywhere", "close"] = "anywhere"

    def __post_init__(self) -> None:
        if not is_real(self.agreement) or not 0 <= self.agreement <= 1 or not is_whole(self.per_pair, 1):
            raise DesignError(
                f"agreement is {shown(self.agreement)}, per_pair {shown(self.per_pair)}; a probability and a "
                "whole number of at least 1."
            )

    def counts(self, preferences: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Its comparisons, shape (R, K, K), given the users' preferences in each run, of that shape."""
        upper = np.triu(np.ones(preferences.shape[1:]), 1)
        if self.errs == "anywhere":
            said = np.where(rng.random(preferences.shape) < self.agreement, preferences, 1 - preferences)
        else:
            logits = np.log(preferences) - np.log1p(-preferences)
            leads = np.abs(logits[0][np.triu_indices(logits.shape[1], 1)])
            sign = 1.0 if self.agreement >= 0.5 else -1.0
            noise = _noise_for(leads, max(self.agreement, 1 - self.agreement))
            said = logistic(sign * logits + noise * rng.standard_normal(logits.shape))
        wins = rng.binomial(self.per_pair, said) * upper
        return np.asarray(wins + ((self.per_pair - wins) * upper).swapaxes(1, 2))


def _noise_for(leads: FloatArray, agreement: float) -> float:
    """The standard deviation of noise that leaves this share of logits with their sign, at least one half."""
    low, high = 1e-9, _LARGEST_NOISE
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        kept = np.mean([0.5 + 0.5 * math.erf(lead / middle / math.sqrt(2)) for lead in leads])
        low, high = (middle, high) if kept > agreement else (low, middle)
    return high
