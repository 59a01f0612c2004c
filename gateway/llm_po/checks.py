"""Checks of arrays, counts and costs, made before anything is computed from them; `scalars` has the numbers.

Every check takes the error to raise, because a wrong array is a bad world in one place and a bad design in
another. The message names the value and the remedy. Later code can rely on the returned value.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.llm_po.errors import DesignError, LlmPoError, TallyError
from gateway.llm_po.scalars import FEWEST_POLICIES, shown

LARGEST_SPREAD: Final = 700.0
"""Logits between two policies beyond which a preference rounds to exactly 0 or 1."""

SMALLEST_COST: Final = 1e-9
LARGEST_COST: Final = 1e9
"""The cost of a comparison lies between these; as any unit is allowed, a suitable one can be chosen."""

LARGEST_COUNT: Final = 2**40
"""An upper bound on counts, chosen so that sums over all pairs stay exact."""

LARGEST_AMOUNT: Final = 2**56
"""The most evidence in nano-nats, of either sign, chosen so that sums over policies stay within 64 bits."""


def reals(
    values: npt.ArrayLike, name: str, shape: tuple[int | None, ...], error: type[LlmPoError]
) -> npt.NDArray[np.float64]:
    """`values` as finite numbers of the shape given, in which None stands for any length.

    Raises:
        LlmPoError: As `error`, if they are ragged, no numbers, not finite or of another shape.
    """
    array = numbers(values, name, error)
    fits = array.ndim == len(shape) and all(
        wanted in (None, length) for wanted, length in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        raise error(f"{name} has shape {array.shape}; ({wanted}) is needed.")
    if not np.isfinite(array).all():
        where = tuple(map(int, np.argwhere(~np.isfinite(array))[0]))
        place = "".join(f"[{index}]" for index in where)
        raise error(f"{name}{place} is {array[where]}; give finite numbers.")
    return array


def numbers(values: npt.ArrayLike, name: str, error: type[LlmPoError]) -> npt.NDArray[np.float64]:
    """`values` as an array of numbers, finite or not.

    Raises:
        LlmPoError: As `error`, if they are ragged or no numbers.
    """
    try:
        raw: npt.NDArray[Any] = np.asarray(values)
        if raw.dtype.kind not in "iufbO":
            raise error(f"{name} is {shown(values)}, which is not numeric; give numbers.")
        return np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as cause:
        raise error(
            f"{name} is {shown(values)}, which is not numeric ({cause}); give rows of equal length."
        ) from cause


def spread_scores(scores: npt.NDArray[np.float64], error: type[LlmPoError]) -> npt.NDArray[np.float64]:
    """Finite scores, shape (..., K), if no two policies are further apart than preferences can express.

    Raises:
        LlmPoError: As `error`, if they are.
    """
    lowest, highest = scores.min(axis=-1), scores.max(axis=-1)
    with np.errstate(over="ignore"):
        spread = highest - lowest
    if spread.size and spread.max() > LARGEST_SPREAD:
        worst = np.unravel_index(int(spread.argmax()), spread.shape)
        raise error(
            f"scores go from {lowest[worst]:g} to {highest[worst]:g}; they are logits, and beyond "
            f"{LARGEST_SPREAD:g} apart preferences round to 0 or 1."
        )
    return scores


def counted(
    wins: npt.ArrayLike, policies: int | None = None, dimensions: int | None = None
) -> npt.NDArray[np.int64]:
    """Counts of one or many runs, shape (..., K, K), as int64.

    Args:
        wins: Whole numbers from 0.
        policies: K, or None for any from 2.
        dimensions: 2 for a single run, 3 for (R, K, K), None for any.

    Raises:
        TallyError: If they are anything else.
    """
    raw = wins if isinstance(wins, np.ndarray) else numbers(wins, "wins", TallyError)
    leading = {2: "", 3: "R, "}.get(dimensions or 0, "..., ")
    is_square = raw.ndim >= 2 and raw.shape[-1] == raw.shape[-2] >= FEWEST_POLICIES
    if not is_square or dimensions not in (None, raw.ndim) or policies not in (None, raw.shape[-1]):
        wanted = "K >= 2" if policies is None else f"K = {policies}"
        raise TallyError(f"wins has shape {raw.shape}; ({leading}K, K) with {wanted} is needed.")
    return whole_array(raw, "wins", 0, LARGEST_COUNT)


def whole_array(
    raw: npt.NDArray[Any], name: str, least: int, most: int, error: type[LlmPoError] = TallyError
) -> npt.NDArray[np.int64]:
    """An array as int64, if it holds whole numbers from `least` to `most`.

    Raises:
        LlmPoError: As `error`, if it does not.
    """
    if raw.dtype.kind not in "iufb":
        raise error(f"{name} is {shown(raw)}, which holds {raw.dtype}; whole numbers are needed.")
    if raw.dtype.kind == "f":
        if not np.isfinite(raw).all():
            raise error(f"{name} is {shown(raw)}, which holds NaN or infinity; whole numbers are needed.")
        if (raw != np.floor(raw)).any():
            raise error(f"{name} is {shown(raw)}, which holds fractions; whole numbers are needed.")
    if raw.size:
        lowest, highest = raw.min(), raw.max()
        if lowest < least:
            rule = "counts start at 0" if least == 0 else f"nothing below {least} can have been counted"
            raise error(f"{name} holds {lowest}; {rule}.")
        if highest > most:
            raise error(f"{name} holds {highest}; nothing above {most} can have been counted.")
    return raw.astype(np.int64, copy=False)


def flags(values: npt.ArrayLike, name: str) -> npt.NDArray[np.bool_]:
    """`values` as truth values; 0 and 1 are accepted.

    Raises:
        TallyError: If they are anything else.
    """
    array = numbers(values, name, TallyError)
    if not np.isin(array, (0.0, 1.0)).all():
        raise TallyError(f"{name} is {shown(values)}; one true or false per policy is needed.")
    return array.astype(np.bool_)


def debts_of(debts: npt.ArrayLike, policies: int) -> npt.NDArray[np.int64]:
    """Debts in nano-nats, shape (K,), none above 0; an empty array means no debts.

    Raises:
        TallyError: If they are anything else.
    """
    raw = debts if isinstance(debts, np.ndarray) else numbers(debts, "debts", TallyError)
    if not raw.size:
        return np.zeros(policies, dtype=np.int64)
    if raw.shape != (policies,) or (raw.dtype.kind in "iuf" and (raw > 0).any()):
        raise TallyError(f"debts is {shown(raw)}; one number per policy is needed, none above 0.")
    return whole_array(raw, "debts", -LARGEST_AMOUNT, 0)


def pair_costs(
    costs: npt.ArrayLike | None, policies: int, error: type[LlmPoError]
) -> npt.NDArray[np.float64]:
    """The cost of a comparison of each pair, shape (K, K), 1 on the diagonal; None: 1 everywhere.

    Raises:
        LlmPoError: As `error`, if the costs are of another shape, not symmetric, or out of range.
    """
    if costs is None:
        return np.ones((policies, policies))
    paid = np.array(numbers(costs, "costs", error))
    if paid.shape != (policies, policies):
        raise error(
            f"costs has shape {paid.shape}; one for each pair of K = {policies}, symmetric, is needed."
        )
    np.fill_diagonal(paid, 1.0)
    in_range = (paid >= SMALLEST_COST) & (paid <= LARGEST_COST)  # False for NaN
    if not in_range.all():
        first, second = map(int, np.argwhere(~in_range)[0])
        raise error(
            f"costs[{first}][{second}] is {paid[first, second]}; give positive costs between "
            f"{SMALLEST_COST:g} and {LARGEST_COST:g}, in a suitable unit."
        )
    if not np.allclose(paid, paid.T, rtol=1e-9, atol=0):
        first, second = map(int, np.argwhere(~np.isclose(paid, paid.T, rtol=1e-9, atol=0))[0])
        raise error(
            f"costs[{first}][{second}] is {paid[first, second]} but costs[{second}][{first}] is "
            f"{paid[second, first]}; a comparison costs the same both ways, so give symmetric costs."
        )
    return paid


def same_policies(tally: int, design: int) -> None:
    """Refuse a tally and a design of different numbers of policies.

    Raises:
        TallyError: If they differ.
    """
    if tally != design:
        raise TallyError(f"The tally has K = {tally}, the design {design}; they must agree.")


def checked_type(value: object, kind: type, name: str, error: type[LlmPoError] = DesignError) -> None:
    """Refuse a value that is not an instance of `kind`.

    Raises:
        LlmPoError: As `error`, naming the value.
    """
    if not isinstance(value, kind):
        raise error(f"{name} is {shown(value)}; a {kind.__name__} is needed.")
