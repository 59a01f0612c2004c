"""Policies compiled from a few words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.config.experiments import PolicySpec
from gateway.config.gateway_file import ModelEntry
from gateway.config.values import PromptTemplate
from gateway.experiments.policies import CompiledPolicy, compile_policy

Compile = Callable[..., CompiledPolicy]


@pytest.fixture
def compiled() -> Compile:
    """Compile a policy; keywords are those of a policy, `litellm_params` those of its model."""

    def build(*, litellm_params: dict[str, Any] | None = None, **spec: Any) -> CompiledPolicy:
        if isinstance(spec.get("template"), str):
            spec["template"] = PromptTemplate("prompt.j2", spec["template"])
        params = {"model": "openai/gpt-4o-mini", "api_key": "sk-1", **(litellm_params or {})}
        entry = ModelEntry.model_validate({"model_name": "small", "litellm_params": params})
        return compile_policy("warm", PolicySpec.model_validate({"model": "small", **spec}), entry)

    return build
