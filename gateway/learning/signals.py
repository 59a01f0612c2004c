"""Turns a signal about an answer into a number: built-in signals and those that an operator names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Final

from gateway.config.feedback import TRUTH_SIGNALS
from gateway.errors import InvalidFeedbackError
from gateway.experiments.found_signals import FoundRules

# Built-in signals take one type each, so that a score of 1 and a thumb of true cannot be mixed up.
# Signals that an operator named take either type, and those with a scale take numbers.
_SIGNAL_TYPES: Final[Mapping[str, type[bool | float]]] = {
    "score": float,
    **dict.fromkeys(TRUTH_SIGNALS, bool),
}
_KINDS: Final[Mapping[type[bool | float] | None, str]] = {
    bool: "true or false",
    float: "a finite number",
    None: "true, false or a finite number",
}
_LONGEST_SHOWN: Final = 64
_NO_SCALES: Final[Mapping[str, tuple[float, float]]] = {}
# An action needs no value: the signal itself says that it happened.
_ACTIONS: Final = frozenset({"copied", "edited", "regenerated", "abandoned"})


def check_signal(signal: str, weights: Mapping[str, float]) -> None:
    """Refuse a signal that is not among those declared. Raises InvalidFeedbackError."""
    if signal not in weights:
        declared = ", ".join(sorted(weights))
        raise InvalidFeedbackError(
            f"The experiment has no signal {signal[:_LONGEST_SHOWN]!r}. Declared: {declared}.",
            reason="unknown_signal",
            status=422,
            param="signal",
        )


def refuse_found(signal: str | None, rules: FoundRules | None) -> None:
    """Refuse a report of what the gateway finds itself: it would pass for what users did.

    Raises:
        InvalidFeedbackError: The experiment finds this signal.
    """
    if rules is not None and signal in rules.signals:
        raise InvalidFeedbackError(
            f"The gateway finds {signal!r} itself in the conversation that is sent back (`found: true`), so "
            "it takes no report of it. Report another declared signal; an application that knows better "
            "than the gateway can have one of its own.",
            reason="found_signal",
            status=422,
            param="signal",
        )


def takes_truth(signal: str) -> bool:
    """Whether a signal's values are true and false only."""
    return _SIGNAL_TYPES.get(signal) is bool


def needs_value(signal: str) -> bool:
    """Whether naming a signal does not say it all."""
    return signal not in _ACTIONS


def signal_value(
    signal: str,
    value: bool | float | None,
    weights: Mapping[str, float],
    scales: Mapping[str, tuple[float, float]] = _NO_SCALES,
) -> float:
    """What a signal says about an answer, as a number: more is better.

    Args:
        signal: Name of a declared signal.
        value: The reported value; true counts as +1, false as -1, a number as itself. None means true for
            actions (copied, edited, regenerated, abandoned): the signal itself says that they happened.
        weights: The experiment's declared signals.
        scales: The lowest and the highest grade of signals with a scale; grades are spread over -1 to 1.

    Raises:
        InvalidFeedbackError: The signal is not declared, or its value is missing, of another type, not finite
            or outside the signal's scale.
    """
    check_signal(signal, weights)
    if signal in scales:
        return weights[signal] * _graded(signal, value, *scales[signal])
    if value is None and signal in _ACTIONS:
        value = True
    wanted = _SIGNAL_TYPES.get(signal)
    if value is None or (wanted is not None and isinstance(value, bool) != (wanted is bool)):
        raise _invalid_value(signal, value, _KINDS[wanted])
    if isinstance(value, bool):
        return weights[signal] * (1.0 if value else -1.0)
    if not math.isfinite(value):
        raise _invalid_value(signal, value, _KINDS[wanted])
    return weights[signal] * float(value)


def _graded(signal: str, value: bool | float | None, lowest: float, highest: float) -> float:
    """A grade's place on its scale, from -1 for the lowest to 1 for the highest."""
    if value is None or isinstance(value, bool) or not lowest <= value <= highest:
        raise _invalid_value(signal, value, f"a number from {lowest:g} to {highest:g}")
    return (float(value) - lowest) / (highest - lowest) * 2 - 1


def _invalid_value(signal: str, value: bool | float | None, wanted: str) -> InvalidFeedbackError:
    got = "and is missing" if value is None else f"not {json.dumps(value)}"
    return InvalidFeedbackError(
        f"The value of {signal!r} must be {wanted}, {got}.", reason="invalid_value", status=422, param="value"
    )
