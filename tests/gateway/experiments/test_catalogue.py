"""The hash of a configuration: what replicas must agree on, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.catalogue import catalogue_of
from gateway.settings import Settings
from tests.gateway.building import config_fields


def config_hash(fields: dict[str, Any], **settings: Any) -> str:
    """The hash of a file under some settings."""
    return catalogue_of(GatewayConfig.model_validate(fields), Settings(**settings), {}).config_hash


def with_model(**changes: Any) -> dict[str, Any]:
    """The file with another entry for the model of the first policy."""
    fields = config_fields()
    fields["model_list"][0]["litellm_params"] |= changes
    return fields


def with_entry(**changes: Any) -> dict[str, Any]:
    """The file with one more model."""
    params = {"model": "openai/more", "api_key": "k"}
    fields = config_fields()
    fields["model_list"].append({"model_name": "more", "litellm_params": params, **changes})
    return fields


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(config_fields(delta=0.01), id="a setting of an experiment"),
        pytest.param(config_fields(traffic={"share": 0.1}), id="what is not part of its evidence"),
        pytest.param(config_fields(incumbent="warm"), id="the incumbent"),
        pytest.param(with_model(api_base="http://127.0.0.1:10/v1"), id="where a policy's model is"),
        pytest.param(with_entry(), id="a model"),
        pytest.param(with_entry(fallbacks=["plain"]), id="a model with a fallback"),
        pytest.param(config_fields(auth={"client_keys": [hash_key("k")]}), id="a key"),
        pytest.param({**config_fields(), "cors_origins": ["https://app.example"]}, id="an origin"),
        pytest.param(config_fields(auth={"limits": {"tokens_per_minute": 1}}), id="limits"),
    ],
)
def test_what_replicas_must_agree_on_changes_the_hash(fields: dict[str, Any]) -> None:
    """Each of these changes would make two replicas treat the same request differently."""
    assert config_hash(fields) != config_hash(config_fields())


def test_what_is_each_replicas_own_does_not() -> None:
    """Secrets, time-outs and the order of lines do not change the hash."""
    assert config_hash(with_model(api_key="another", timeout=3)) == config_hash(config_fields())
    turned = config_fields()
    turned["model_list"].reverse()
    assert config_hash(turned) == config_hash(config_fields())


def test_keys_of_the_environment_count_like_those_of_the_file() -> None:
    """The source of a key makes no difference."""
    in_file = config_fields(auth={"client_keys": [hash_key("k")]})
    assert config_hash(config_fields(), client_keys=(hash_key("k"),)) == config_hash(in_file)
