"""Finds out what a provider needs without asking it and without importing LiteLLM, which takes seconds.

The names of providers are read from LiteLLM's package as text, as its prices are. A table here says where
LiteLLM, or the gateway itself, finds a provider's key: many providers are asked without a key if none is
found, so a rehearsal would not notice. A test compares the table with LiteLLM.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from gateway.config.gateway_file import LitellmParams
from gateway.upstream.targets import OUR_PROVIDERS

# Any one of the variables is enough. The gateway itself reads those of OpenAI and Anthropic, LiteLLM the
# others.
KEY_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "ai21_chat": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"),
    "baseten": ("BASETEN_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "codestral": ("CODESTRAL_API_KEY",),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "deepinfra": ("DEEPINFRA_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "featherless_ai": ("FEATHERLESS_API_KEY", "FEATHERLESS_AI_API_KEY"),
    "fireworks_ai": (
        "FIREWORKS_API_KEY",
        "FIREWORKS_AI_API_KEY",
        "FIREWORKSAI_API_KEY",
        "FIREWORKS_AI_TOKEN",
    ),
    "friendliai": ("FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "github": ("GITHUB_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "hyperbolic": ("HYPERBOLIC_API_KEY",),
    "jina_ai": ("JINA_AI_API_KEY", "JINA_AI_TOKEN"),
    "lambda_ai": ("LAMBDA_API_KEY",),
    "meta_llama": ("LLAMA_API_KEY",),
    "minimax": ("MINIMAX_API_KEY",),
    "mistral": ("MISTRAL_API_KEY", "MISTRAL_AZURE_API_KEY"),
    "moonshot": ("MOONSHOT_API_KEY",),
    "nebius": ("NEBIUS_API_KEY",),
    "novita": ("NOVITA_API_KEY",),
    "nscale": ("NSCALE_API_KEY",),
    "nvidia_nim": ("NVIDIA_NIM_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "ovhcloud": ("OVHCLOUD_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "sambanova": ("SAMBANOVA_API_KEY",),
    "scaleway": ("SCW_SECRET_KEY",),
    "text-completion-openai": ("OPENAI_API_KEY",),
    "together_ai": (
        "TOGETHER_API_KEY",
        "TOGETHER_AI_API_KEY",
        "TOGETHERAI_API_KEY",
        "TOGETHER_AI_TOKEN",
    ),
    "vercel_ai_gateway": ("VERCEL_AI_GATEWAY_API_KEY", "VERCEL_OIDC_TOKEN"),
    "volcengine": ("VOLCENGINE_API_KEY",),
    "voyage": ("VOYAGE_API_KEY", "VOYAGE_AI_API_KEY", "VOYAGE_AI_TOKEN"),
    "wandb": ("WANDB_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY",),
}
# Variables with the address of providers that have no fixed one.
_ADDRESS_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {"azure": ("AZURE_API_BASE",)}
# Servers on the operator's own machines, which need no key and have a default address.
_KEYLESS: Final = frozenset({"ollama", "ollama_chat"})
_NAMES_BEGIN: Final = "class LlmProviders(str, Enum):\n"


def missing_key(params: LitellmParams, environ: Mapping[str, str]) -> str | None:
    """The warning for an entry whose provider needs a key and gets none; None if no key is missing.

    A server at the operator's own address may need no key.
    """
    has_own = params.api_key or params.azure_ad_token or params.client_secret
    variables = KEY_VARIABLES.get(params.provider, ())
    at_own_address = params.api_base is not None and params.provider not in _ADDRESS_VARIABLES
    if has_own or at_own_address or not variables or _is_set(variables, environ):
        return None
    return (
        f"there is no `api_key`, and the environment has no {' or '.join(variables)}. "
        "Requests would go out without a key."
    )


def missing_address(params: LitellmParams, environ: Mapping[str, str]) -> str | None:
    """The warning for an entry whose provider has no fixed address and got none."""
    variables = _ADDRESS_VARIABLES.get(params.provider, ())
    if params.api_base is not None or not variables or _is_set(variables, environ):
        return None
    return f"there is no `api_base`, and the environment has no {' or '.join(variables)}."


def is_understood(params: LitellmParams) -> bool:
    """Whether this module knows everything that an entry needs; otherwise only LiteLLM does."""
    if params.provider in OUR_PROVIDERS and (params.api_base or params.provider in KEY_VARIABLES):
        return True
    return params.provider in KEY_VARIABLES or params.provider in _KEYLESS


def names_in_package() -> frozenset[str]:
    """The known prefixes of models; empty if this release of LiteLLM has no list."""
    package = find_spec("litellm")
    if package is None or package.origin is None:
        return frozenset()
    try:
        text = Path(package.origin).with_name("types").joinpath("utils.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return frozenset()
    _, _, rest = text.partition(_NAMES_BEGIN)
    body = rest.partition("\n\n")[0]
    return frozenset(re.findall(r'^    [A-Z0-9_]+ = "([^"]+)"', body, re.MULTILINE))


def _is_set(variables: tuple[str, ...], environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) for name in variables)
