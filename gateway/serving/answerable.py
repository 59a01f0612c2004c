"""Which requests an experiment can answer: decided before anybody is drawn, the same for every policy."""

from __future__ import annotations

from typing import Any, Final

from gateway.errors import InvalidRequestError
from gateway.experiments.collecting import Assigns, Way
from gateway.experiments.formats import FORMATS
from gateway.experiments.snapshot import LiveExperiment
from gateway.serving.exchange import Question
from gateway.upstream.surfaces import CHAT

# An earlier response is kept by whichever provider gave it, under an id of its own.
_STORED: Final = ("previous_response_id", "conversation", "prompt")


def check_answerable(experiment: LiveExperiment, question: Question) -> None:
    """Refuse what the experiment cannot answer with any of its policies.

    Raises:
        InvalidRequestError: Naming the field at fault and what works instead.
    """
    surface = question.surface
    if experiment.way.assigns is Assigns.BOTH:
        _check_choices(experiment.way, question)
    if surface is CHAT:
        return
    if surface.name not in FORMATS:
        raise _refusal(
            f"An experiment cannot answer {surface.name}; use chat completions, responses or messages, or "
            "name a model of the gateway.",
            "model",
        )
    for name in _STORED:
        if question.payload.get(name) is not None:
            raise _refusal(
                f"An experiment cannot continue from what a provider keeps: leave {name!r} out and send the "
                "whole conversation.",
                name,
            )
    if not all(surface.name in policy.forms for policy in experiment.policies):
        raise _refusal(
            f"A policy of this experiment sets a parameter that {surface.name} requests do not have; use "
            "chat completions.",
            "model",
        )


def _check_choices(way: Way, question: Question) -> None:
    if question.surface.name not in way.surfaces:
        raise _refusal(
            "This experiment answers with two choices, which only chat completions can hold.", "model"
        )
    if question.payload.get("n") not in {None, 1}:
        raise InvalidRequestError(
            "This model answers with two choices: 'n' must be 1 or absent.", param="n", code="invalid_value"
        )


def _refusal(message: str, param: Any) -> InvalidRequestError:
    return InvalidRequestError(message, param=param, code="unsupported_by_experiment")
