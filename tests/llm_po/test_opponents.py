"""Which rival promises most against a policy that is to be shown not to be the best."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.llm_po.bradley_terry import Fit, Scales, fit, logistic
from gateway.llm_po.opponents import promise
from gateway.llm_po.unstructured import bernoulli_kl
from gateway.llm_po.wins import FloatArray

EQUAL_PRICES = np.ones((1, 3, 3))
KNOWN, UNKNOWN = 1, 2


def _known_and_unknown() -> Fit:
    """Policy 0 has lost to policy 1 often, by 58 to 42, and has hardly met policy 2."""
    wins = np.zeros((1, 3, 3), dtype=np.int64)
    wins[0, 0, KNOWN], wins[0, KNOWN, 0] = 420, 580
    wins[0, 0, UNKNOWN], wins[0, UNKNOWN, 0] = 1, 2
    return fit(wins)


def _against_first(missing: float) -> FloatArray:
    found = promise(_known_and_unknown(), np.full((1, 3), missing), 0.5, EQUAL_PRICES)
    return np.asarray(found[0, 0])


def test_a_rival_that_may_be_clearer_is_looked_for_while_much_is_missing() -> None:
    """The known rival promises most for the last nat, the unknown one is worth a try before."""
    last, early = _against_first(0.05), _against_first(3.0)

    assert early[UNKNOWN] / early[KNOWN] > 1.2 * last[UNKNOWN] / last[KNOWN]
    assert early.argmax() == UNKNOWN


def test_nothing_is_looked_for_when_nothing_is_missing() -> None:
    """A rival is then worth what a comparison tells if its forecast is the posterior mean, and no more."""
    wins = np.random.default_rng(3).integers(0, 9, (1, 4, 4)) * (1 - np.eye(4, dtype=np.int64))
    fitted = fit(wins, Scales.grid([(0.5, 0.5, 1.0)]))
    found = promise(fitted, np.zeros((1, 4)), 0.5, np.ones((1, 4, 4)))[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    points = fitted.logits[0, 0] + np.multiply.outer(nodes, np.sqrt(fitted.logit_variance[0, 0]))
    mean = np.tensordot(weights / weights.sum(), logistic(points), 1)

    rivals = ~np.eye(4, dtype=np.bool_)
    told = np.where(mean < 0.5, bernoulli_kl(mean, 0.5), 0.0)
    assert found[rivals] == pytest.approx(told[rivals], rel=0.05, abs=1e-4)


def test_a_rival_known_to_be_even_tells_against_a_policy_with_a_margin() -> None:
    """At 1/2 + epsilon, what it takes to be "no worse", also an even preference is evidence."""
    wins = np.array([[[0, 50_000], [50_000, 0]]])

    assert promise(fit(wins), np.ones((1, 2)), 0.6, np.ones((1, 2, 2)))[0, 0, 1] > 0.9 * bernoulli_kl(
        0.5, 0.6
    )


@pytest.mark.parametrize("threshold", [0.5, 0.52])
def test_relabelled_policies_have_the_same_worth(threshold: float) -> None:
    """Nothing depends on the numbers of the policies."""
    order = np.array([2, 0, 3, 1])
    wins = np.random.default_rng(5).integers(0, 9, (1, 4, 4)) * (1 - np.eye(4, dtype=np.int64))
    missing = np.array([[3.0, 1.0, 0.2, 0.0]])

    found = promise(fit(wins), missing, threshold, np.ones((1, 4, 4)))
    relabelled = promise(fit(wins[:, order][:, :, order]), missing[:, order], threshold, np.ones((1, 4, 4)))

    assert relabelled == pytest.approx(found[:, order][:, :, order], abs=1e-9)


def test_twice_the_prices_are_half_the_worth() -> None:
    """The unit of prices changes no choice."""
    missing = np.full((1, 3), 2.0)
    once = promise(_known_and_unknown(), missing, 0.5, EQUAL_PRICES)
    twice = promise(_known_and_unknown(), missing, 0.5, 2 * EQUAL_PRICES)

    assert twice[0, 0, 1:] == pytest.approx(once[0, 0, 1:] / 2)


def test_a_dear_rival_promises_less() -> None:
    """What a comparison tells is divided by its price."""
    prices = EQUAL_PRICES.copy()
    prices[0, 0, UNKNOWN] = prices[0, UNKNOWN, 0] = 50.0

    assert promise(_known_and_unknown(), np.full((1, 3), 3.0), 0.5, prices)[0, 0].argmax() == KNOWN


@pytest.mark.parametrize("policies", [2, 3])
def test_no_policy_is_its_own_rival(policies: int) -> None:
    """Its worth lies below that of every other, also before anything is counted."""
    nothing = np.zeros((1, policies, policies), dtype=np.int64)
    found = promise(fit(nothing), np.full((1, policies), 3.0), 0.5, np.ones((1, policies, policies)))[0]

    assert (np.diag(found) < 0).all()
    assert (found[~np.eye(policies, dtype=np.bool_)] > 0).all()


def test_rivals_that_are_asked_for_have_the_same_worth_as_among_all() -> None:
    """Looking ahead with some rivals only changes nothing of what these promise."""
    missing, asked = np.array([[3.0, 1.0, 0.2]]), np.array([[KNOWN, 0, KNOWN]])
    everyone = promise(_known_and_unknown(), missing, 0.52, EQUAL_PRICES)
    some = promise(_known_and_unknown(), missing, 0.52, EQUAL_PRICES, asked)

    assert some[..., [0, KNOWN]] == pytest.approx(everyone[..., [0, KNOWN]])
    assert some[0, 0, UNKNOWN] < everyone[0, 0, UNKNOWN]
