"""Reads a configuration on a machine without its secrets, such as a laptop or a CI runner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.config.values import ENVIRONMENT_PREFIX


def without_unset(data: Any, environ: Mapping[str, str]) -> Any:
    """Plain data of a configuration without the values that refer to unset environment variables.

    Names of models stay, since policies and prices follow from them. A key without its hash is left out, and
    so are webhooks and confirm hooks without their address or their secret.
    """
    if not isinstance(data, dict):
        return data
    left = {
        name: _left(part, environ) if name in {"auth", "model_list"} else part for name, part in data.items()
    }
    if isinstance(data.get("webhooks"), list):
        left["webhooks"] = [each for each in data["webhooks"] if _left(each, environ) == each]
    if isinstance(data.get("experiments"), dict):
        left["experiments"] = {
            name: _without_unset_hook(section, environ) for name, section in data["experiments"].items()
        }
    auth = left.get("auth")
    if isinstance(auth, dict) and isinstance(auth.get("keys"), dict):
        hashed = {
            name: key
            for name, key in auth["keys"].items()
            if not _had_hash(data["auth"]["keys"][name]) or _had_hash(key)
        }
        left["auth"] = {**auth, "keys": hashed}
    return left


def _without_unset_hook(section: Any, environ: Mapping[str, str]) -> Any:
    promotion = section.get("promotion") if isinstance(section, dict) else None
    hook = promotion.get("confirm") if isinstance(promotion, dict) else None
    if not isinstance(promotion, dict) or hook is None or _left(hook, environ) == hook:
        return section
    kept = {name: part for name, part in promotion.items() if name != "confirm"}
    return {**section, "promotion": kept}


def _had_hash(key: Any) -> bool:
    return isinstance(key, dict) and "hash" in key


def _left(part: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(part, dict):
        return {
            name: _left(each, environ)
            for name, each in part.items()
            if name == "model" or not _is_unset(each, environ)
        }
    if isinstance(part, list):
        return [_left(each, environ) for each in part if not _is_unset(each, environ)]
    return part


def _is_unset(value: Any, environ: Mapping[str, str]) -> bool:
    return (
        isinstance(value, str)
        and value.startswith(ENVIRONMENT_PREFIX)
        and not environ.get(value.removeprefix(ENVIRONMENT_PREFIX))
    )
