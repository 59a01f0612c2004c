"""Checks of single numbers, made before anything is computed from them. Loads no numpy: the server must not.

Every check takes the error to raise, because a wrong number is a bad world in one place and a bad design in
another. The message names the value and the remedy. Later code can rely on the returned value.
"""

from __future__ import annotations

import math
import reprlib
from numbers import Integral, Real
from typing import Final, TypeGuard

from gateway.llm_po.errors import DesignError, LlmPoError

FEWEST_POLICIES: Final = 2
_SMALLEST_DELTA: Final = 1e-300  # its inverse is still finite


def shown(value: object) -> str:
    """A value as it is shown in messages, always short."""
    as_list = getattr(value, "tolist", None)  # numpy's values have it; this module must not load numpy
    return reprlib.repr(value if as_list is None else as_list())


def real(value: object, name: str, remedy: str, error: type[LlmPoError] = DesignError) -> float:
    """`value` unchanged, if it is a finite number.

    Raises:
        LlmPoError: As `error`, if it is text, NaN, infinite or None.
    """
    if not is_real(value):
        raise error(f"{name} is {shown(value)}; {remedy}.")
    return value


def is_real(value: object) -> TypeGuard[float]:
    """Whether it is a finite number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def whole_number(value: object, name: str, least: int, error: type[LlmPoError] = DesignError) -> int:
    """`value`, if it is a whole number of at least `least`.

    Raises:
        LlmPoError: As `error`, if it is anything else.
    """
    if not is_whole(value, least):
        raise error(f"{name} is {shown(value)}; a whole number of at least {least} is needed.")
    return int(value)


def is_whole(value: object, least: int) -> TypeGuard[int]:
    """Whether it is a whole number of at least `least`."""
    if type(value) is int:  # asking for an abstract class takes ten times as long
        return value >= least
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def checked_delta(delta: float) -> float:
    """`delta`, if it is an error level.

    Raises:
        DesignError: If it is not in (0, 1).
    """
    remedy = "choose an error level between 0 and 1, such as 0.05"
    if not _SMALLEST_DELTA < real(delta, "delta", remedy) < 1:
        raise DesignError(f"delta is {delta}; {remedy}.")
    return delta


def checked_epsilon(epsilon: float) -> float:
    """`epsilon`, if it is a margin.

    Raises:
        DesignError: If it is not in [0, 1/2).
    """
    remedy = "choose a margin of at least 0 and below 0.5, such as 0.02"
    if not 0 <= real(epsilon, "epsilon", remedy) < 0.5 or 0.5 + epsilon >= 1:
        raise DesignError(f"epsilon is {epsilon}; {remedy}.")
    return epsilon
