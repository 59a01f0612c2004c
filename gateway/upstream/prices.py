"""Prices of a model's tokens: from the file, or else from LiteLLM's list.

The list comes with LiteLLM's package and is read from there as text. Importing the library takes seconds and
a hundred megabytes, too much for a metric in a gateway that only relays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.config.gateway_file import ModelEntry

_LIST: Final = "model_prices_and_context_window_backup.json"


class TokenPrices(NamedTuple):
    """Prices in USD of one token of a prompt and one of an answer."""

    prompt: float
    completion: float

    def of(self, prompt: int, completion: int) -> float:
        """The cost of these tokens in USD."""
        return prompt * self.prompt + completion * self.completion


def model_prices(entries: Iterable[ModelEntry]) -> dict[str, TokenPrices]:
    """Prices by `model_name`, for the models whose price is known."""
    listed = _PriceList()
    found: dict[str, TokenPrices] = {}
    for entry in entries:
        params = entry.litellm_params
        if params.input_cost_per_token is not None and params.output_cost_per_token is not None:
            found[entry.model_name] = TokenPrices(params.input_cost_per_token, params.output_cost_per_token)
        elif params.api_base is None:
            # At an operator's own address, a well-known model name says nothing about the price.
            prices = listed.find(params.provider, params.provider_model)
            if prices is not None:
                found[entry.model_name] = prices
    return found


class _PriceList:
    """LiteLLM's list, read at its first use. Of its 3 MB, only the requested entries are parsed."""

    @cached_property
    def _text(self) -> str:
        """The list as text; empty if this release of LiteLLM has none there."""
        package = find_spec("litellm")
        if package is None or package.origin is None:
            return ""
        try:
            return Path(package.origin).with_name(_LIST).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return ""

    def find(self, provider: str, model: str) -> TokenPrices | None:
        """A provider's prices for a model; None if the list does not have them."""
        entry = self._entry(f"{provider}/{model}") or self._entry(model)
        # Another provider may use the same name; some providers have several names, such as
        # `bedrock_converse`.
        if not str(entry.get("litellm_provider", "")).startswith(provider):
            return None
        prompt, completion = entry.get("input_cost_per_token"), entry.get("output_cost_per_token", 0.0)
        if not isinstance(prompt, int | float) or not isinstance(completion, int | float):
            return None
        return TokenPrices(float(prompt), float(completion))

    def _entry(self, name: str) -> dict[str, Any]:
        key = f"{json.dumps(name)}: "
        place = self._text.find(key)
        if place < 0:
            return {}
        try:
            entry, _ = json.JSONDecoder().raw_decode(self._text, place + len(key))
        except ValueError:
            return {}
        return entry if isinstance(entry, dict) else {}
