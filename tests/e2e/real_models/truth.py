"""Which policy really is better: items answered rightly by each when asked directly, all 100 items each.

Measured by measure.py; benchmarks/results/real_models.md says when and how. `first-attempt` samples at
random, so its number varies; the others hardly do.
"""

from __future__ import annotations

RIGHT_OF_100 = {
    "add-two-numbers": {"unaided": 1, "calculator-cut-model": 19, "calculator": 100},
    "second-letter": {"first-attempt": 41, "worked-over": 79},
}


def best_policy(experiment: str) -> str:
    """The policy that is right most often."""
    right = RIGHT_OF_100[experiment]
    return max(right, key=right.__getitem__)
