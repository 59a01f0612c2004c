"""Configurations, experiments and a gateway's parts for the control-plane tests."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from gateway.config.models import GatewayConfig
from gateway.services.definitions import Definition, define
from gateway.services.rendering import compile_policies

NAME = "support"


def gateway_config(
    *,
    api_base: str = "http://127.0.0.1:9/v1",
    policies: Mapping[str, str] | None = None,
    name: str = NAME,
    auth: Mapping[str, Any] | None = None,
    **experiment: Any,
) -> GatewayConfig:
    """One model `small`, one experiment; `policies` maps names to system prompts, the first is the incumbent."""
    prompts = dict(policies or {"plain": "You help.", "warm": "You help warmly."})
    spec: dict[str, Any] = {
        "incumbent": next(iter(prompts)),
        "policies": {policy: {"model": "small", "system": system} for policy, system in prompts.items()},
        "traffic": {"share": 1.0, "collect": "matched"},
        "promotion": {"min_comparisons": 10},
        **experiment,
    }
    return GatewayConfig.model_validate(
        {
            "model_list": [
                {
                    "model_name": "small",
                    "litellm_params": {"model": "openai/tiny", "api_base": api_base, "api_key": "k"},
                }
            ],
            "experiments": {name: spec},
            **({"auth": auth} if auth else {}),
        }
    )


def definition(**changes: Any) -> Definition:
    """The experiment of `gateway_config`."""
    config = gateway_config(**changes)
    name, spec = next(iter(config.experiments.items()))
    return define(name, spec, compile_policies(config, spec))


def seeded() -> random.Random:
    """The same draws every time."""
    return random.Random(7)
