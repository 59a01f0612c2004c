"""Decides, before a policy is drawn, which requests an experiment can answer with all its policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, assert_never

from gateway.errors import InvalidRequestError
from gateway.experiments.collecting import Assigns, Way
from gateway.experiments.formats import FORMATS
from gateway.experiments.snapshot import LiveExperiment
from gateway.serving.continuing import PREVIOUS
from gateway.serving.dueling import asks_for_two
from gateway.serving.exchange import Question
from gateway.serving.kept import check_kept_by_all
from gateway.upstream.base import ModelTarget
from gateway.upstream.surfaces import CHAT

# Fields with which servers show the prompt they were sent: of vLLM, and `debug` of OpenRouter.
_SHOW_THE_PROMPT: Final = frozenset(
    {"debug", "echo", "enable_response_messages", "prompt_logprobs", "return_token_ids"}
)


def check_answerable(
    experiment: LiveExperiment, question: Question, models: Mapping[str, ModelTarget]
) -> bool:
    """Refuse a request that not every policy of the experiment could answer.

    Args:
        experiment: The experiment.
        question: The request.
        models: How each model is called.

    Returns:
        Whether the request may take part. If not, the incumbent answers it, outside any comparison.

    Raises:
        InvalidRequestError: Naming the field at fault and what works instead.
    """
    surface = question.surface
    if surface.name not in FORMATS:
        raise _refusal(
            f"An experiment cannot answer {surface.name}; use chat completions, responses or messages, or "
            "name a model of the gateway.",
            "model",
        )
    for name in question.payload.keys() & _SHOW_THE_PROMPT:
        asked = question.payload[name]
        if asked is not None and asked is not False:  # `prompt_logprobs: 0` shows the prompt, too
            raise _refusal(
                f"Leave out {name!r}: it would show the prompt of a policy, which an experiment keeps "
                f"private.",
                name,
            )
    takes_part = _may_take_part(experiment.way, question)
    asked = question.payload
    if question.continued is not None:  # that it may be named was found out with what the provider calls it
        asked = {name: value for name, value in asked.items() if name != PREVIOUS}
    check_kept_by_all(asked, surface, lambda: [models[policy.model] for policy in experiment.policies])
    if surface is CHAT:
        return takes_part
    if not all(surface.name in policy.forms for policy in experiment.policies):
        raise _refusal(
            f"A policy of this experiment sets a parameter that {surface.name} requests do not have; use "
            "chat completions.",
            "model",
        )
    return takes_part


def _may_take_part(way: Way, question: Question) -> bool:
    """Whether the caller can take the answers of this way of collecting. Raises InvalidRequestError."""
    surface = question.surface
    match way.assigns:
        case Assigns.ONE | Assigns.UNSEEN:
            return surface.name in way.surfaces
        case Assigns.IN_TURN:  # of several choices there is no telling which one was gone on from
            return surface.name in way.surfaces and question.payload.get("n") in (None, 1)
        case Assigns.BOTH:
            is_asked = asks_for_two(question)
            if is_asked and surface.name not in way.surfaces:
                raise _refusal(
                    f"{surface.name} requests have one answer: ask for two with chat completions, or ask "
                    f"for one.",
                    "model",
                )
            return is_asked
        case _:
            assert_never(way.assigns)


def _refusal(message: str, param: Any) -> InvalidRequestError:
    return InvalidRequestError(message, param=param, code="unsupported_by_experiment")
