"""The published JSON Schema accepts what the gateway accepts and refuses what a schema can refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.config.load import json_schema
from gateway.config.promotion import PromotionSpec

from .conftest import GOOD

EXAMPLE = Path(__file__).parents[3] / "deploy" / "gateway.example.yaml"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    """The schema, itself checked against draft 2020-12."""
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("text", [GOOD, EXAMPLE.read_text(encoding="utf-8")], ids=["short", "example"])
def test_right_files_fit_the_schema(validator: Draft202012Validator, text: str) -> None:
    """An editor shows no error where the gateway has none."""
    assert list(validator.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    "value",
    [
        {"delta": 1},
        {"space": "metric"},
        {"grid": {}},
        {"policies": {"only": {"model": "small"}}},
        {"policies": {"a b": {"model": "small"}, "c": {"model": "small"}}},
        {"feedback": {"window": "soon"}},
        {"feedback": {"signals": {"thumb": 0}}},
        {"policies": {"a": {"model": "small", "params": {"n": 2}}, "b": {"model": "small"}}},
    ],
)
def test_wrong_values_do_not_fit_the_schema(validator: Draft202012Validator, value: dict[str, Any]) -> None:
    """Bounds, names and closed sets of keys are in the schema, not only in code."""
    data = yaml.safe_load(GOOD)
    data["experiments"]["support"].update(value)

    assert list(validator.iter_errors(data))


@pytest.mark.parametrize(
    "promotion",
    [
        {"watch": "7d"},
        {"watch": {"for": "7d", "comparisons": 500, "share": 0.05, "level": 0.05, "margin": 0.02}},
        {"mode": "staged", "steps": ["5%", 0.25, {"share": "50%", "approval": True}, "100%"]},
    ],
    ids=str,
)
def test_each_way_to_write_a_promotion_fits_the_schema_and_the_gateway(
    validator: Draft202012Validator, promotion: dict[str, Any]
) -> None:
    """Short and long forms of watches and steps fit both."""
    data = yaml.safe_load(GOOD)
    data["experiments"]["support"]["promotion"] = promotion

    assert list(validator.iter_errors(data)) == []
    assert PromotionSpec.model_validate(promotion)


@pytest.mark.parametrize("signals", [{"thumb": 1}, {"thumb": {"weight": -0.5}}], ids=["number", "mapping"])
def test_both_ways_to_write_a_signal_fit_the_schema(
    validator: Draft202012Validator, signals: dict[str, Any]
) -> None:
    """The short form of a signal is part of the schema."""
    data = yaml.safe_load(GOOD)
    data["experiments"]["support"]["feedback"] = {"signals": signals}

    assert list(validator.iter_errors(data)) == []
