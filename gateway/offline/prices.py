"""Prices of tokens: from the run's own `prices`, or else from the list that the gateway uses."""

from __future__ import annotations

from gateway.errors import ConfigError, ConfigIssue
from gateway.offline.calls import Prices, per_token
from gateway.offline.config import OptimizeConfig
from gateway.upstream.prices import model_prices


def used_models(config: OptimizeConfig) -> list[str]:
    """Every `model_name` that the run calls, in the order of `model_list`."""
    used = {policy.model for policy in config.experiment.policies.values()}
    if config.judge.llm is not None:
        used.add(config.judge.llm.model)
    return [entry.model_name for entry in config.model_list if entry.model_name in used]


def prices_of(config: OptimizeConfig) -> Prices:
    """Prices of the models that the run calls, as far as they are known.

    Raises:
        ConfigError: If there is a budget in USD, and the price of a model is not known.
    """
    used = used_models(config)
    known: dict[str, tuple[float, float]] = dict(model_prices(config.gateway.entry(name) for name in used))
    for name in config.prices.keys() & set(used):
        stated = config.prices[name]
        known[name] = per_token(stated.prompt_usd_per_million, stated.completion_usd_per_million)
    unknown = [name for name in used if name not in known]
    if config.budget.usd is not None and unknown:
        raise ConfigError(
            [
                ConfigIssue(
                    "budget.usd",
                    f"The price of the model {name} is not known, so a budget in USD cannot be kept.",
                    f"Give prices.{name}, or use budget.calls.",
                )
                for name in unknown
            ]
        )
    return known
