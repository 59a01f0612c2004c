"""Configurations, experiments and a gateway's parts for the control-plane tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.catalogue import Catalogue, CatalogueHolder, catalogue_of
from gateway.experiments.definitions import Definition
from gateway.settings import Settings

NAME = "support"
DECIDES_AT_ONCE = {"min_duration": "0s", "min_voters": 0}


def config_fields(
    *,
    api_base: str = "http://127.0.0.1:9/v1",
    policies: Sequence[str] = ("plain", "warm"),
    name: str = NAME,
    auth: Mapping[str, Any] | None = None,
    promotion: Mapping[str, Any] | None = None,
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
                "promotion": {
                    "min_duration": "0s",
                    "min_voters": 0,
                    **(promotion or {"min_comparisons": 10}),
                },
                **experiment,
            }
        },
        **({"auth": auth} if auth else {}),
    }


def gateway_config(**changes: Any) -> GatewayConfig:
    """The configuration of `config_fields`, read."""
    return GatewayConfig.model_validate(config_fields(**changes))


def definition(**changes: Any) -> Definition:
    """The experiment of `gateway_config`."""
    return next(iter(catalogue(**changes).definitions.values()))


def catalogue(**changes: Any) -> Catalogue:
    """What follows from `gateway_config`."""
    return catalogue_of(gateway_config(**changes), Settings(), {})


def catalogue_holder(config_hash: str = "c0ffee", **changes: Any) -> CatalogueHolder:
    """A gateway's catalogue, under a hash that tests can name."""
    return CatalogueHolder(replace(catalogue(**changes), config_hash=config_hash))
