"""Turns an entry of `model_list` into a target that can be called: its wire format and its address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final, Literal

from gateway.config.gateway_file import LitellmParams, ModelEntry
from gateway.upstream.base import ModelTarget
from gateway.upstream.json_text import parsed
from gateway.upstream.private_text import all_texts
from gateway.upstream.surfaces import Wire

OPENAI_BASE: Final = "https://api.openai.com/v1"
_ANTHROPIC_BASE: Final = "https://api.anthropic.com"
# LiteLLM's names for servers that speak the OpenAI wire format at the operator's own address.
_OPENAI_WIRE: Final = frozenset(
    {"openai", "openai_like", "custom_openai", "hosted_vllm", "vllm", "llamafile", "lm_studio", "xinference"}
)
# Providers that may be asked without litellm.
OUR_PROVIDERS: Final = _OPENAI_WIRE | {"anthropic"}
# Fields that do not go to litellm as further arguments.
_OWN_FIELDS: Final = frozenset(
    {
        "api_base",
        "api_key",
        "extra_headers",
        "input_cost_per_token",
        "model",
        "organization",
        "output_cost_per_token",
        "timeout",
    }
)


def model_target(entry: ModelEntry, environ: Mapping[str, str] = os.environ) -> ModelTarget:
    """How to call a model.

    A provider of the OpenAI wire format is relayed when its address is known. `openai/` without an address
    is OpenAI itself and, as in LiteLLM, takes its key from `OPENAI_API_KEY` if the entry has none.
    `anthropic/` works in the same way. Keys from the environment are never sent to any other address.
    """
    params = entry.litellm_params
    values = params.revealed()
    headers = dict(params.extra_headers)
    if params.organization is not None:
        headers["OpenAI-Organization"] = params.organization
    api_base: str | None = values.get("api_base")
    api_key: str | None = values.get("api_key")
    if params.provider == "openai" and api_base is None:
        api_base = OPENAI_BASE
        api_key = api_key or environ.get("OPENAI_API_KEY")
    wire: Wire | Literal["litellm"] = "litellm"
    if params.provider in _OPENAI_WIRE and api_base is not None:
        wire = "openai"
    elif params.provider == "anthropic":
        wire = "anthropic"
        api_key = api_key or (None if api_base else environ.get("ANTHROPIC_API_KEY"))
        # Without a path in it, as in LiteLLM.
        api_base = (api_base or _ANTHROPIC_BASE).rstrip("/").removesuffix("/messages").removesuffix("/v1")
    return ModelTarget(
        name=entry.model_name,
        wire=wire,
        provider=params.provider,
        model=params.provider_model,
        api_base=api_base.rstrip("/") if api_base else None,
        api_key=api_key,
        timeout_seconds=params.timeout,
        first_byte_seconds=entry.first_byte_timeout,
        stall_seconds=entry.stall_timeout,
        speaks_messages=entry.messages == "native",
        http2=entry.http2,
        merges_system=entry.merges_system,
        headers=headers,
        secrets=_secrets(params, api_key, headers),
        options={name: value for name, value in values.items() if name not in _OWN_FIELDS},
    )


def _secrets(params: LitellmParams, api_key: str | None, headers: Mapping[str, str]) -> tuple[str, ...]:
    """The texts that no answer may repeat: every secret, and the texts inside secrets written as JSON."""
    found = [*params.secrets(), *headers.values(), *([api_key] if api_key else [])]
    for secret in params.secrets():
        with suppress(ValueError):
            found += all_texts(parsed(secret.encode()))
    return tuple(found)


def model_targets(
    entries: list[ModelEntry], environ: Mapping[str, str] = os.environ
) -> dict[str, ModelTarget]:
    """Every model by the name that clients and policies use, each with its fallbacks (without circles)."""
    listed = {entry.model_name: entry for entry in entries}
    made: dict[str, ModelTarget] = {}

    def target(name: str) -> ModelTarget:
        if name not in made:
            chain = (
                one for other in listed[name].fallbacks for one in (target(other), *target(other).fallbacks)
            )
            fallbacks = tuple({one.name: one for one in chain}.values())
            made[name] = replace(model_target(listed[name], environ), fallbacks=fallbacks)
        return made[name]

    return {name: target(name) for name in listed}
