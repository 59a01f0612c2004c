"""What tokens cost: as the file says, else as LiteLLM's own list does, without asking the network."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import ConfigError, ConfigIssue
from gateway.offline.calls import Prices, per_token
from gateway.offline.config import OptimizeConfig
from gateway.upstream.litellm import token_prices


def used_models(config: OptimizeConfig) -> list[str]:
    """Every `model_name` the run calls, in the order of `model_list`."""
    used = {policy.model for policy in config.experiment.policies.values()}
    if config.judge.llm is not None:
        used.add(config.judge.llm.model)
    return [entry.model_name for entry in config.model_list if entry.model_name in used]


def prices_of(config: OptimizeConfig) -> Prices:
    """Prices of the models the run calls, as far as they are known.

    Raises:
        ConfigError: If there is a budget in USD and a price nobody knows.
    """
    known: dict[str, tuple[float, float]] = {}
    for name in used_models(config):
        found = _price(config, name)
        if found is not None:
            known[name] = found
    if config.budget.usd is not None:
        _check_known(set(known), used_models(config))
    return known


def _price(config: OptimizeConfig, name: str) -> tuple[float, float] | None:
    stated = config.prices.get(name)
    if stated is not None:
        return per_token(stated.prompt_usd_per_million, stated.completion_usd_per_million)
    params = config.gateway.entry(name).litellm_params
    # At an address of the operator's own, a well-known name says nothing about the price.
    return None if params.api_base is not None else token_prices(params.model)


def _check_known(known: set[str], used: Iterable[str]) -> None:
    unknown = [name for name in used if name not in known]
    if unknown:
        raise ConfigError(
            [
                ConfigIssue(
                    "budget.usd",
                    f"What the model {name} costs is not known, so a budget in USD cannot be kept.",
                    f"Give prices.{name}, or use budget.calls.",
                )
                for name in unknown
            ]
        )
