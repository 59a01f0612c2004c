"""The fields of its request that a response repeats: the sent value, or else the API's default.

Clients read these fields (the official ones declare most of them as never null), servers of OpenAI's format
repeat those they know, and LiteLLM repeats nulls. An experiment repeats what its caller sent, even if a
policy changed it; a translated answer repeats the translated request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# From OpenAI's API reference, as of November 2026.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
_OF_FUNCTIONS: Final[Mapping[str, Any]] = {"description": None, "parameters": None, "strict": True}
_OF_USAGE: Final[Mapping[str, Mapping[str, int]]] = {
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}


def repeated(request: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of a response that repeats its request."""
    said = {name: _over(default, request.get(name)) for name, default in _DEFAULTS.items()}
    if isinstance(said["tools"], list):
        said["tools"] = [
            _over(_OF_FUNCTIONS, each) if isinstance(each, dict) and each.get("type") == "function" else each
            for each in said["tools"]
        ]
    return said


def completed(response: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """A translated response, completed with the fields about request and tokens that the API always sends."""
    usage = response.get("usage")
    counted = {"usage": {**usage, **_over(_OF_USAGE, usage)}} if isinstance(usage, dict) else {}
    return {**response, **repeated(request), **counted}


def _over(default: Any, said: Any) -> Any:
    """The sent value; missing fields of an object have their defaults."""
    if said is None:
        return default
    if not isinstance(default, Mapping) or not isinstance(said, Mapping):
        return said
    return {**said, **{name: _over(each, said.get(name)) for name, each in default.items()}}
