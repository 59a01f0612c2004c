"""The fields of each kind of request: the known ones, and the types of those that the gateway relies on.

Unknown fields are passed on to providers that may know them, unless they are among the `CONTROLS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import NoneType
from typing import Any, Final

from gateway.api.controls import CONTROLS
from gateway.api.requests.catalogue import REQUESTS
from gateway.errors import InvalidRequestError
from gateway.upstream.surfaces import SurfaceName

_MOST_NAMED: Final = 8

Request = dict[str, Any]


# The fields that the OpenAPI document describes.
KNOWN_FIELDS: Final[Mapping[SurfaceName, frozenset[str]]] = {
    name: frozenset(request.fields) for name, request in REQUESTS.items()
}


def check_fields(kind: SurfaceName, request: Request) -> None:
    """Refuse a request that has control fields, or fields of types that the gateway cannot use.

    Raises:
        InvalidRequestError: Naming the field at fault and what it must be.
    """
    if not request.keys() <= KNOWN_FIELDS[kind]:
        controls = sorted(request.keys() & CONTROLS.keys())
        if controls:
            raise _steering(controls)
    model = request.get("model")
    if not model or not isinstance(model, str):
        raise _invalid("model", "the name of a model or experiment")
    types = _TYPES[kind]
    for name in request:
        if name in types:
            _require(isinstance(request[name], types[name][0]), name, types[name][1])
    for check in _CHECKS[kind]:
        check(request)


def _check_responses(request: Request) -> None:
    given = request.get("input")
    if "prompt" not in request or given is not None:
        is_input = isinstance(given, list) and all(isinstance(item, dict) for item in given)
        _require(isinstance(given, str) or is_input, "input", "a string or a list of objects")
        for index, item in enumerate(given if isinstance(given, list) else []):
            if not isinstance(item.get("role"), str | None):
                raise _invalid(f"input[{index}].role", "a string")
    _require(
        not request.get("background"),
        "background",
        "absent, because the gateway does not keep answers for later",
    )


def _check_texts(request: Request, name: str) -> None:
    _require(isinstance(request.get(name), str | list), name, "a string or a list")


def _check_embeddings(request: Request) -> None:
    _check_texts(request, "input")
    _require(not request.get("stream"), "stream", "absent, because embeddings are not streamed")


def _check_anthropic(request: Request) -> None:
    most = request.get("max_tokens")
    _require(_is_count(most), "max_tokens", "an integer of at least 1")
    system = request.get("system")
    is_blocks = isinstance(system, list) and all(isinstance(block, dict) for block in system)
    _require(isinstance(system, str | None) or is_blocks, "system", "a string or a list of objects")


def _check_messages(request: Request) -> None:
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "a list of at least one message")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _invalid(f"messages[{index}]", "an object")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise _invalid(f"messages[{index}].role", "a string")


def _check_common(request: Request) -> None:
    if "n" in request:
        _require(request["n"] is None or _is_count(request["n"]), "n", "an integer of at least 1")
    if "metadata" in request:
        metadata = request["metadata"] or {}
        for name in ("session_id", "user_id"):
            _require(isinstance(metadata.get(name), str | None), f"metadata.{name}", "a string")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _require(holds: bool, param: str, expected: str) -> None:
    if not holds:
        raise _invalid(param, expected)


def _invalid(param: str, expected: str) -> InvalidRequestError:
    return InvalidRequestError(f"{param!r} must be {expected}.", param=param, code="invalid_value")


def _steering(names: list[str]) -> InvalidRequestError:
    shown = "; ".join(f"{name!r}: {CONTROLS[name]}" for name in names[:_MOST_NAMED])
    more = f"; and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return InvalidRequestError(
        f"A request cannot set what the operator of the gateway decides. Leave out {shown}{more}.",
        param=names[0],
        code="unknown_parameter",
    )


_TEXT: Final = ((str, NoneType), "a string")
_OBJECT: Final = ((dict, NoneType), "an object")
_SWITCH: Final = ((bool, NoneType), "true or false")
_OF_ALL: Final = {
    "metadata": _OBJECT,
    "safety_identifier": _TEXT,
    "store": _SWITCH,
    "stream": _SWITCH,
    "user": _TEXT,
}
# The type of each of these fields, if a request has it, and the words for that type.
_TYPES: Final[Mapping[SurfaceName, Mapping[str, tuple[tuple[type, ...], str]]]] = {
    "chat": {**_OF_ALL, "stream_options": _OBJECT, "response_format": _OBJECT},
    "responses": {
        **_OF_ALL,
        **dict.fromkeys(("text", "reasoning", "stream_options"), _OBJECT),
        "instructions": _TEXT,
    },
    "completions": {**_OF_ALL, "stream_options": _OBJECT},
    "embeddings": {},
    "messages": _OF_ALL,
}
_CHECKS: Final[Mapping[SurfaceName, tuple[Callable[[Request], None], ...]]] = {
    "chat": (_check_messages, _check_common),
    "responses": (_check_responses, _check_common),
    "completions": (partial(_check_texts, name="prompt"), _check_common),
    "embeddings": (_check_embeddings,),
    "messages": (_check_messages, _check_anthropic, _check_common),
}
