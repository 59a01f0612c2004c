"""Certificates of structured experiments: marked asymptotic, recomputed, held back by a misfit."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.proof.recorded import read_log
from gateway.proof.verification import UndecidedError, Verification, verify

Rows = list[dict[str, Any]]


def _checked(rows: Rows) -> Verification:
    return verify(read_log(json.dumps(row) for row in rows))


async def test_asymptotic_certificate_says_so_and_is_confirmed(decide: Callable[..., Any]) -> None:
    """Likelihood ratios decide, and the log alone is enough to recompute the certificate."""
    rows = await decide(space="bradley_terry")

    found = _checked(rows)

    certificate = rows[0]["certificate"]
    assert found.differences == ()
    assert found.champion == "warm"
    assert (certificate["stopping"], certificate["guarantee"]) == ("lr-mixture", "asymptotic")
    assert "Asymptotic" in certificate["assumption"]


async def test_exact_certificate_in_a_structured_space(decide: Callable[..., Any]) -> None:
    """The e-process decides, whatever the structure is worth."""
    rows = await decide(space="bradley_terry", guarantee="exact")

    assert _checked(rows).differences == ()
    assert (rows[0]["certificate"]["stopping"], rows[0]["certificate"]["guarantee"]) == ("e-process", "exact")


async def test_likelihood_ratio_certificate_without_structure(decide: Callable[..., Any]) -> None:
    """`stopping: glr` decides by counts alone and is recomputed from them."""
    rows = await decide(stopping="glr")

    assert _checked(rows).differences == ()
    assert rows[0]["certificate"]["stopping"] == "glr"


async def test_misfit_holds_the_decision_unless_told_to_warn(decide: Callable[..., Any]) -> None:
    """No scores explain five policies of which each beats all before it by 9 to 1."""
    promotion = {"min_comparisons": 200}
    held = await decide(space="bradley_terry", policies=tuple("abcde"), most=300, promotion=promotion)

    with pytest.raises(UndecidedError):
        _checked(held)


async def test_warned_misfit_is_on_the_certificate(decide: Callable[..., Any]) -> None:
    """`on_misfit: warn` decides nevertheless, and keeps the p-value."""
    rows = await decide(
        space="bradley_terry",
        policies=tuple("abcde"),
        most=300,
        promotion={"min_comparisons": 200, "on_misfit": "warn"},
    )

    assert _checked(rows).differences == ()
    assert rows[0]["certificate"]["fit"]["p_value"] < 0.01


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("guarantee", "exact"),
        ("stopping", "e-process"),
        ("features", [[1.0, 0.0], [1.0, 1.0]]),
        ("statistic_nats", 50.0),
        ("fit", {"deviance": 9.0, "expected": 1.0, "p_value": 0.5}),
    ],
)
async def test_tampering_with_the_structure_is_found(
    decide: Callable[..., Any], field: str, value: object
) -> None:
    """A certificate cannot claim another rule, guarantee, structure or number than the log supports."""
    rows = await decide(space="bradley_terry")
    rows[0]["certificate"][field] = value

    assert any(field in difference for difference in _checked(rows).differences)
