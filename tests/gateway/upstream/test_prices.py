"""What a model's tokens cost: the operator's word, else LiteLLM's list, without importing LiteLLM."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from gateway.config.gateway_file import ModelEntry
from gateway.upstream.prices import TokenPrices, model_prices
from gateway.upstream.translating.upstream import _import_quietly


def price(model: str, **params: Any) -> TokenPrices | None:
    """The price of one entry of `model_list`."""
    entry = ModelEntry.model_validate({"model_name": "m", "litellm_params": {"model": model, **params}})
    return model_prices([entry]).get("m")


@pytest.mark.parametrize(
    "model",
    [
        "openai/gpt-4o-mini",
        "anthropic/claude-sonnet-4-5",
        "azure/gpt-4o",
        "gemini/gemini-2.5-flash",
        "vertex_ai/gemini-2.5-flash",
        "mistral/mistral-small-latest",
    ],
)
def test_price_is_that_of_litellm(model: str) -> None:
    """The list read as text says what the library itself says."""
    found = price(model)
    _import_quietly()
    from litellm import cost_per_token  # noqa: PLC0415 - only once it is quiet

    assert found is not None
    assert tuple(found) == pytest.approx(cost_per_token(model=model, prompt_tokens=1, completion_tokens=1))


def test_operators_word_goes_before_the_list() -> None:
    """The operator's prices win, because contracts differ from list prices."""
    own = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    assert price("openai/gpt-4o-mini", **own) == TokenPrices(1e-6, 2e-6)
    assert TokenPrices(1e-6, 2e-6).of(1_000_000, 500_000) == pytest.approx(2.0)


def test_a_known_name_at_an_address_of_ones_own_has_no_list_price() -> None:
    """A server in the cellar may call its model anything."""
    assert price("openai/gpt-4o-mini", api_base="http://cellar:8000/v1") is None


def test_unknown_models_have_no_price() -> None:
    """No price is invented, and another provider's model of the same name is not used."""
    assert price("openai/no-such-model") is None
    assert price("mistral/gpt-4o-mini") is None


def test_reading_prices_does_not_import_litellm() -> None:
    """The import would take seconds and a hundred megabytes."""
    code = """
import sys
from gateway.config.gateway_file import ModelEntry
from gateway.upstream.translating.upstream import _import_quietly
from gateway.upstream.prices import model_prices
params = {"model": "openai/gpt-4o-mini"}
assert model_prices([ModelEntry.model_validate({"model_name": "m", "litellm_params": params})])
assert "litellm" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
