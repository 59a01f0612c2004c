"""Configurations, experiments and a gateway's parts for the control-plane tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.definitions import Definition, define
from gateway.experiments.policies import compile_policies

NAME = "support"


def config_fields(
    *,
    api_base: str = "http://127.0.0.1:9/v1",
    policies: Sequence[str] = ("plain", "warm"),
    name: str = NAME,
    auth: Mapping[str, Any] | None = None,
    **experiment: Any,
) -> dict[str, Any]:
    """A configuration file: one experiment whose policies are models of the same names, the first serving."""
    return {
        "model_list": [
            {
                "model_name": policy,
                "litellm_params": {"model": f"openai/{policy}", "api_base": api_base, "api_key": "k"},
            }
            for policy in policies
        ],
        "experiments": {
            name: {
                "incumbent": policies[0],
                "policies": {policy: {"model": policy} for policy in policies},
                "traffic": {"share": 1.0, "collect": "matched"},
                "promotion": {"min_comparisons": 10},
                **experiment,
            }
        },
        **({"auth": auth} if auth else {}),
    }


def gateway_config(**changes: Any) -> GatewayConfig:
    """The same, read."""
    return GatewayConfig.model_validate(config_fields(**changes))


def definition(**changes: Any) -> Definition:
    """The experiment of `gateway_config`."""
    config = gateway_config(**changes)
    name, spec = next(iter(config.experiments.items()))
    return define(name, spec, compile_policies(config, spec))
