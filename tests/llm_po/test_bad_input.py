"""Nonsense in, a typed error out: every public function of the core, and everything that could be wrong."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gateway.llm_po
from gateway.llm_po import certificate, evidence, lines, scalars, unstructured, wins
from gateway.llm_po.errors import LlmPoError, TallyError
from gateway.llm_po.lab import reference, worlds
from gateway.llm_po.structured import solver
from tests.llm_po.bad_runs import RUNS
from tests.llm_po.bad_spaces import SPACES
from tests.llm_po.nonsense import COUNTS, INF, NAN, ONE_HOT, PREFERENCES, Case

CASES = [*SPACES, *RUNS]

TRUSTING = {
    "balance": {
        "imbalance_nats",
        "expected_second",
        "imbalance_line",
        "reporting_ratio",
    },  # of counts; tested beside them
    "betting": {"increments_at", "gone_on", "natural_log"},  # of what was checked before, for each comparison
    "bradley_terry": {"logistic", "differences", "laplacian", "log_evidence"},  # of arrays checked before
    "certificate": {"certificate"},  # takes records of the core only
    "belief": {"gained_nats"},  # of a probability that a plan states
    "cheapest": {"cheapest_to_certify"},  # takes draws and a situation of the core
    "checks": "the checks themselves, met through everything else",
    "draws": {"information_below"},  # arithmetic on logits of the core
    "evidence": {"increments_of_bets"},  # of forecasts as published and a threshold checked before
    "exposure": "takes `Caps`, which are checked, and pairs of the core",
    "failing": {"failing_nats", "failing_line"},  # of counts; tested beside them
    "forecast": {"chance_preferred", "doubts"},  # take a `Fit` only
    "fragility": {"fragile_count"},  # takes a certificate of the core
    "guardrails": {"Contrast", "checked_pairs", "in_steps", "mean_numbers", "tripping_nats"},  # beside them
    "holdback": {"replay_watch"},  # takes a log read back and a `Holdback`
    "last_look": {"with_last_look"},  # of a tally and a design
    "lines": {"keeps_half", "last_look_nano_nats"},  # of a checked promise, and of a checked number
    "lab.matching": {"matched_runs"},  # of outcomes and orders that a trial holds
    "lab.traces": {"decision_progress"},  # takes ledgers
    "lab.worlds": {"drifted"},  # arithmetic on a world's matrices
    "no_worse": {"against_rivals", "against_best", "line_nats", "line_nano_nats"},  # of a tally and a design
    "opponents": {"promise"},  # of a fit and a situation of the core
    "priors": {"informed", "used"},  # of counts that the store kept, and fits of them
    "scalars": "the checks themselves, met through everything else",
    "stakes": {"published"},  # takes forecasts of the core and a `Situation`
    "stopping": {"may_conclude", "cheapest", "check_promise", "check_look"},
    "structured.features": {"are_names"},  # says yes or no to anything
    "structured.forecast": {"structured_scales", "scales_for"},  # take a `Situation` and `Features`
    "structured.likelihood_ratio": {"mixture_nats", "lr_may_conclude", "leader_progress"},  # fits of counts
    "structured.linear": {"prior_precision", "is_separated"},  # take `Features`, and fits of counts
    "structured.sampler": {"aim", "expected_remaining", "shares_due"},  # take a `Situation` and `Features`
    "unstructured": {"find_champion", "at_least_even"},  # of checked preferences
    "wins": {"pair_totals", "pair_rates", "majority_cycle"},  # arithmetic on counts checked before
}


def _nonsense() -> Iterator[Any]:
    for call, valid, wrong in CASES:
        for argument, values in wrong.items():
            for index, value in enumerate(values):
                name = getattr(call, "__qualname__", repr(call))
                yield pytest.param(
                    call, valid, argument, value, id=f"{call.__module__[15:]}.{name}-{argument}-{index}"
                )


@pytest.mark.parametrize(("call", "valid", "argument", "value"), list(_nonsense()))
def test_nonsense_is_refused_by_name(
    call: Callable[..., Any], valid: dict[str, Any], argument: str, value: Any
) -> None:
    """Nothing but an error of the core comes out, and no warning; its sentence says what was wrong."""
    with pytest.raises(LlmPoError) as refused:
        call(**{**valid, argument: value})

    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert len(sentence.split()) > 5


@pytest.mark.parametrize("case", CASES, ids=[case[0].__qualname__ for case in CASES])
def test_what_is_no_nonsense_is_accepted(case: Case) -> None:
    """The arguments that the others are wrong in place of are right themselves."""
    call, valid, wrong = case
    missing = set(wrong) - set(valid)
    required = {
        name
        for name, one in inspect.signature(call).parameters.items()
        if one.default is inspect.Parameter.empty
    }
    if not missing & required and call is not certificate.recompute:
        call(**valid)


def _takes_input(value: object) -> bool:
    return inspect.isfunction(value) or (inspect.isclass(value) and "__post_init__" in vars(value))


def test_every_public_function_is_asked_or_says_why_not() -> None:
    """A function or checked record of the core is in the table, or among those that trust earlier checks."""
    asked = {(call.__module__, call.__qualname__.split(".")[0]) for call, _, _ in CASES}
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(gateway.llm_po.__path__, f"{gateway.llm_po.__name__}.")
        if not found.ispkg
    ]
    names = {module.__name__.removeprefix(f"{gateway.llm_po.__name__}.") for module in modules}
    assert set(TRUSTING) <= names
    for module in modules:
        trusting = TRUSTING.get(module.__name__.removeprefix(f"{gateway.llm_po.__name__}."), set())
        if isinstance(trusting, str):
            continue
        functions = {
            name
            for name, value in vars(module).items()
            if _takes_input(value) and value.__module__ == module.__name__ and not name.startswith("_")
        }
        assert trusting <= functions
        assert {name for name in functions - trusting if (module.__name__, name) not in asked} == set()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: unstructured.optimal_allocation(PREFERENCES, -np.ones((3, 3))), r"costs\[0\]\[1\] is -1.0"),
        (lambda: unstructured.optimal_allocation(PREFERENCES, "dear"), "costs is 'dear'"),  # type: ignore[arg-type]
        (lambda: reference.solve_allocation(PREFERENCES, -np.ones((3, 3))), r"costs\[0\]\[1\] is -1.0"),
        (lambda: solver.solve([[0.1, NAN, 0]], ONE_HOT), r"scores\[0\]\[1\] is nan"),
        (lambda: solver.solve([[1e308, -1e308, 0]], ONE_HOT), r"scores go from -1e\+308 to 1e\+308"),
        (lambda: solver.solve([[1, 0, 0]], ONE_HOT, margin=INF), "margin is inf"),
        (lambda: reference.solve_structured([0.1, 0.1, 0], ONE_HOT), "share the largest score"),
        (lambda: lines.elimination_threshold(NAN), "delta is nan"),
        (lambda: wins.WinMatrix(np.array([[0, 1e30], [0, 0]])), r"wins holds 1e\+30"),
        (lambda: evidence.Tally(COUNTS, COUNTS * 0, COUNTS * 0, [0] * 3, 35, [0, 0, NAN]), r"debts is .*nan"),  # type: ignore[arg-type]
        (lambda: worlds.grid("g", {"m": {"a": "x"}}), "Level 'a' of axis 'm' of world 'g' adds 'x'"),  # type: ignore[dict-item]
    ],
)
def test_message_names_the_value(call: Callable[[], Any], said: str) -> None:
    """The message tells the reader what to change."""
    with pytest.raises(LlmPoError, match=said):
        call()


def test_lists_do_as_well_as_arrays() -> None:
    """Nested lists of numbers are a matrix."""
    listed = unstructured.optimal_allocation([[0.5, 0.6], [0.4, 0.5]], [[1, 2], [2, 1]])

    assert listed.champion == 0
    assert listed.proportions.tolist() == [[0, 0], [1, 0]]
    assert unstructured.no_worse_hardness([[0.5, 0.6], [0.4, 0.5]], 0.1) > 0


def test_large_numbers_that_are_counts_stay_counts() -> None:
    """Unsigned counts are counted; beyond what can have been they are refused."""
    assert wins.WinMatrix(np.array([[0, 7], [3, 0]], dtype=np.uint64)).totals[0, 1] == 10
    with pytest.raises(TallyError, match=str(2**63)):
        wins.WinMatrix(np.array([[0, 2**63], [3, 0]], dtype=np.uint64))


def test_smallest_levels_have_a_bound_still() -> None:
    """If the error level rounds 1 - delta to 1, the bound is its limit, the logarithm."""
    assert unstructured.lower_bound(1.0, 1e-200) == pytest.approx(200 * np.log(10))
    assert scalars.checked_delta(1e-200) == 1e-200
