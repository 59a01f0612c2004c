"""Checks that a request which names something a provider stores is sent to that provider.

Another provider would answer with an error, or ignore what was named. So the request is refused before any
provider is asked, with the field's name and what to do instead. It counts as no policy's failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.errors import InvalidRequestError, ThreadNotFoundError
from gateway.upstream.base import ModelTarget
from gateway.upstream.references import Reference, Scope, references
from gateway.upstream.surfaces import CHAT, RESPONSES, Surface

_THREAD: Final = "thread"
_OF_EXPERIMENT: Final = "unsupported_by_experiment"
_OF_MODEL: Final = "unsupported_by_model"
# The kinds of request for which litellm passes file ids on to the provider it translates for.
_NAME_FILES: Final = (CHAT, RESPONSES)


def check_kept_by_model(payload: Mapping[str, Any], surface: Surface, target: ModelTarget) -> None:
    """Refuse fields that name something stored, if the model is asked in another format or keeps no threads.

    Raises:
        InvalidRequestError: Naming the field at fault.
    """
    if target.speaks(surface) and (_THREAD not in payload or _keeps_threads(target)):
        return  # at no cost for most requests
    _check(references(payload), surface, target)


def check_kept_by_all(
    payload: Mapping[str, Any], surface: Surface, targets: Callable[[], Sequence[ModelTarget]]
) -> None:
    """Refuse fields that name something stored, unless each of these models, any of which may answer, has it.

    Raises:
        InvalidRequestError: Naming the field at fault.
    """
    named = references(payload)
    if not named:
        return
    first, *others = targets()
    for one in named:
        if one.scope is Scope.ANSWER and not _is_thread(one):
            raise _refusal(
                one,
                "an experiment's policies cannot continue from it: send the whole conversation",
                _OF_EXPERIMENT,
            )
        if not all(is_same_account(first, other) for other in others):
            raise _refusal(
                one,
                "the policies of this experiment use several: send the content itself, or name a "
                "model of the gateway",
                _OF_EXPERIMENT,
            )
    for target in (first, *others):
        _check(named, surface, target)


def _check(named: Sequence[Reference], surface: Surface, target: ModelTarget) -> None:
    for one in named:
        if _is_thread(one):
            raise ThreadNotFoundError
        if not target.speaks(surface) and not (one.is_file and surface in _NAME_FILES):
            raise _refusal(
                one,
                "requests to this model are translated, and it has no meaning there: send the content itself",
                _OF_MODEL,
            )


def keepers(
    payload: Mapping[str, Any], target: ModelTarget, fallbacks: Sequence[ModelTarget]
) -> Sequence[ModelTarget]:
    """The fallbacks of a model that have what the request names."""
    if not fallbacks or not references(payload):
        return fallbacks
    return [other for other in fallbacks if is_same_account(target, other)]


def without_threads(payload: dict[str, Any], surface: Surface, target: ModelTarget) -> dict[str, Any]:
    """The request without its new thread, so that a model without threads can answer it."""
    if _THREAD not in payload or surface.wire != "anthropic" or _keeps_threads(target):
        return payload
    return {name: value for name, value in payload.items() if name != _THREAD}


def is_same_account(one: ModelTarget, other: ModelTarget) -> bool:
    """Whether two models use the same provider and account, as far as the file says."""
    return _account(one) == _account(other)


def _account(target: ModelTarget) -> tuple[Any, ...]:
    return (
        target.wire,
        target.provider,
        target.api_base,
        target.api_key,
        dict(target.headers),
        dict(target.options),
    )


def _keeps_threads(target: ModelTarget) -> bool:
    return target.wire == "anthropic"


def _is_thread(one: Reference) -> bool:
    return one.where == _THREAD


def _refusal(one: Reference, instead: str, code: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{one.where!r} names something that one provider keeps; {instead}.",
        param=one.where,
        code=code,
    )
