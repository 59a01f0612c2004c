"""Everything that follows from the configuration file: one frozen value, held in one place, swapped whole.

`catalogue_of` builds it from the file and the settings alone. Code that serves, plans, prices,
authenticates, limits or shows reads `holder.current` at each use and keeps no part of it, so one assignment
puts another configuration into effect.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.config.configured_keys import ApiKey, KeyLimits, configured_keys, default_limits
from gateway.config.environment import Environment
from gateway.config.gateway_file import GatewayConfig
from gateway.config.webhooks import WebhookSpec
from gateway.errors import ConfigError
from gateway.experiments.definitions import Definition, define
from gateway.experiments.description import Description, describe
from gateway.experiments.judge import compile_judge, judge_issues
from gateway.experiments.policies import compile_policies
from gateway.experiments.policy_content import PoliciesShown
from gateway.settings import Settings
from gateway.upstream.base import ModelTarget
from gateway.upstream.prices import TokenPrices, model_prices
from gateway.upstream.targets import model_targets


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The configuration of this gateway.

    Attributes:
        definitions: The experiments, by the name clients send.
        models: How to call each model, by `model_name`.
        prices: Prices of tokens, by `model_name`, as far as they are known.
        keys: The API keys of the file and of the environment.
        default_limits: Limits of client keys that have none of their own.
        webhooks: Receivers that are told what happens, by name.
        cors_origins: Origins whose pages may call from a browser; `*` for any.
        policies_shown: What is shown of policies besides their names.
        config_hash: Digest of everything that replicas must agree on: experiments, models and their
        fallbacks, keys and limits. It does not depend on how the file is written. Secrets, and addresses of
        models that take part in no experiment, are not included and may differ.
        description: The file, in values that may be shown.
    """

    definitions: Mapping[str, Definition]
    models: Mapping[str, ModelTarget]
    prices: Mapping[str, TokenPrices]
    keys: tuple[ApiKey, ...]
    default_limits: KeyLimits
    webhooks: Mapping[str, WebhookSpec]
    cors_origins: tuple[str, ...]
    policies_shown: PoliciesShown
    config_hash: str
    description: Description


class CatalogueHolder:
    """The one place the catalogue is swapped. Reading `current` is one attribute access."""

    __slots__ = ("current",)

    def __init__(self, current: Catalogue) -> None:
        self.current = current


def catalogue_of(
    config: GatewayConfig, settings: Settings, environ: Mapping[str, str] | None = None
) -> Catalogue:
    """The catalogue of a configuration.

    Args:
        config: The file.
        settings: Name further API keys.
        environ: Where providers' own keys are looked up if an entry has none; this process's environment if
            none is given.
    """
    environ = Environment(os.environ) if environ is None else environ
    definitions = definitions_of(config)
    keys = configured_keys(config.auth, settings.client_keys, settings.admin_keys)
    return Catalogue(
        definitions=definitions,
        models=model_targets(config.model_list, environ),
        prices=model_prices(config.model_list),
        keys=keys,
        default_limits=default_limits(config.auth),
        webhooks={webhook.label: webhook for webhook in config.webhooks},
        cors_origins=tuple(config.cors_origins),
        policies_shown=config.policies_shown,
        config_hash=_config_hash(config, definitions, keys),
        description=describe(config, definitions),
    )


def definitions_of(config: GatewayConfig) -> dict[str, Definition]:
    """The experiments of a configuration, by name.

    Raises:
        ConfigError: If nothing can keep the exposure caps of one, or the judge of one cannot be used.
    """
    if issues := list(judge_issues(config)):
        raise ConfigError(issues)
    return {
        name: define(name, spec, compile_policies(config, spec), compile_judge(config, spec))
        for name, spec in config.experiments.items()
    }


def _config_hash(config: GatewayConfig, definitions: Mapping[str, Definition], keys: Iterable[ApiKey]) -> str:
    told = [
        (each.label, each.url.get_secret_value(), each.events, each.experiments) for each in config.webhooks
    ]
    content = {
        "experiments": sorted(
            (each.experiment.to_json(), each.spec.model_dump_json(exclude={"policies"}))
            for each in definitions.values()
        ),
        "models": sorted(
            (entry.model_name, entry.litellm_params.model, entry.fallbacks) for entry in config.model_list
        ),
        "keys": sorted((key.hash, key.name, key.role, sorted(key.limits.given().items())) for key in keys),
        "limits": config.auth.limits.model_dump(),
        "origins": sorted(config.cors_origins),
        "policies_shown": config.policies_shown,
        **({"webhooks": told} if told else {}),
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
