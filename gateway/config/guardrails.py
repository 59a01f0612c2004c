"""The part of a configuration file about guardrails: what is measured, and what is done when it is worse."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.config.promotion import PromotionSpec
from gateway.config.section import Section
from gateway.config.values import Level, fault

Then = Literal["eject", "pause", "rollback", "ask"]

SHARE_METRICS: Final = ("error_rate", "refusal_rate")
"""Metrics that are 0 or 1 for each answer."""

AMOUNTS: Final = ("latency", "cost", "output_tokens")
"""Metrics without a largest number, which the file has to give."""

QUANTILE: Final = re.compile(r"latency_p([1-9]\d?)")
"""The latency that so many of a hundred answers stay below."""

MOST_GUARDRAILS: Final = 20
_PERCENT: Final = re.compile(r"(\d{1,4}(?:\.\d+)?)%")
_LARGEST: Final = 1e12


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _as_tolerance(value: Any) -> Any:
    if not _is_number(value) and not (isinstance(value, str) and _PERCENT.fullmatch(value)):
        raise fault(
            f"{reprlib.repr(value)} is no tolerance.",
            "Write a percentage of the incumbent's number, such as 20%, or a number such as 0.01.",
        )
    return value


Tolerance = Annotated[
    float | str,
    BeforeValidator(_as_tolerance),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_PERCENT.pattern}$"}]}
    ),
]


def _as_range(value: Any) -> Any:
    if value is None or value == "boolean":
        return value
    if isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)):  # noqa: PLR2004
        return tuple(value)
    raise fault(
        f"{reprlib.repr(value)} is no range.",
        "Write the smallest and the largest number, such as [0, 1], or boolean. "
        f"Numbers may be from -{_LARGEST:g} to {_LARGEST:g}.",
    )


_RANGE_SCHEMA: Final = {
    "anyOf": [
        {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        {"const": "boolean"},
    ]
}


class GuardrailSpec(Section):
    """What one metric of answers is compared by, and what happens if a policy is worse."""

    worse_by: Tolerance = Field(
        description="How much worse than the incumbent a policy may be: a number in the metric's unit, or a "
        "percentage of the incumbent's number, as `20%`."
    )
    then: Then = Field(
        description="What happens once a policy is proven to be worse than that. `eject`: it is drawn no "
        "more. `pause`: the experiment is paused. `rollback`: its promotion is taken back. `ask`: the "
        "experiment is paused, and resuming it is the answer. In each case the policy is not promoted, and "
        "while a promotion is watched, all but `ask` take it back."
    )
    level: Level = Field(
        default=0.01,
        description="Largest probability that the guardrail ever finds a policy worse that is not.",
    )
    up_to: float | None = Field(
        default=None,
        gt=0,
        le=_LARGEST,
        description="Of `latency` (seconds), `cost` (USD) and `output_tokens`: larger numbers count as this "
        "one.",
    )
    range: Annotated[
        tuple[float, float] | Literal["boolean"] | None,
        BeforeValidator(_as_range),
        WithJsonSchema(_RANGE_SCHEMA),
    ] = Field(
        default=None,
        description="Of a metric that the application posts: its smallest and largest number, or `boolean`.",
    )
    better: Literal["lower", "higher"] = Field(
        default="lower", description="Of a metric that the application posts: which numbers are better."
    )

    @property
    def relative(self) -> float | None:
        """The tolerance as a share of the incumbent's number; None if it is a number in the metric's unit."""
        found = _PERCENT.fullmatch(self.worse_by) if isinstance(self.worse_by, str) else None
        return float(found[1]) / 100 if found else None

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        if not isinstance(self.worse_by, str) and self.worse_by < 0:
            raise fault(f"`worse_by` is {self.worse_by:g}.", "It is 0 or more, whichever numbers are better.")
        if isinstance(self.range, tuple) and not self.range[0] < self.range[1]:
            low, high = self.range
            raise fault(f"The range from {low:g} to {high:g} is empty.", "Give the smaller number first.")
        return self


Guardrails = Annotated[dict[str, GuardrailSpec], Field(max_length=MOST_GUARDRAILS)]


def check_guardrails(guardrails: Mapping[str, GuardrailSpec], promotion: PromotionSpec) -> None:
    """Refuse guardrails that cannot work. Raises PydanticCustomError for the first of them."""
    for name, spec in guardrails.items():
        is_own = name not in (*SHARE_METRICS, *AMOUNTS) and QUANTILE.fullmatch(name) is None
        if is_own:
            _check_own(name, spec)
        else:
            _check_built_in(name, spec)
        _check_tolerance(name, spec)
        if spec.then == "rollback" and promotion.watch is None and promotion.mode != "staged":
            raise fault(
                f"`{name}` asks for a rollback, and no promotion here is staged or watched.",
                "Set `promotion.watch`, or `promotion.mode: staged`; or use eject or pause.",
            )


def _check_own(name: str, spec: GuardrailSpec) -> None:
    if spec.range is None:
        near = get_close_matches(name, [*SHARE_METRICS, *AMOUNTS, "latency_p95"], 1)
        remedy = f"Did you mean {near[0]}? " if near else ""
        raise fault(
            f"`{name}` is no metric that the gateway measures.",
            f"{remedy}There are {', '.join([*SHARE_METRICS, *AMOUNTS])} and latency_p50 to latency_p99. "
            "A metric of your own needs a `range`: [0, 1], or boolean.",
        )
    if spec.up_to is not None:
        raise fault(f"`up_to` is for {', '.join(AMOUNTS)}, and this is `{name}`.", "Give the `range` alone.")


def _check_built_in(name: str, spec: GuardrailSpec) -> None:
    if spec.range is not None or spec.better != "lower":
        raise fault(
            f"The gateway measures `{name}` itself: lower is better, and its range is known.",
            "Leave `range` and `better` out, or give your own metric another name.",
        )
    if name in AMOUNTS and spec.up_to is None:
        unit = {"latency": "seconds", "cost": "USD", "output_tokens": "tokens"}[name]
        raise fault(
            f"`{name}` has no largest number, and the test needs one.",
            f"Set `up_to` to a number of {unit} that few answers exceed; larger numbers count as this one.",
        )
    if name not in AMOUNTS and spec.up_to is not None:
        raise fault(f"`up_to` is for {', '.join(AMOUNTS)}, and this is `{name}`.", "Leave it out.")
    if QUANTILE.fullmatch(name) and not spec.relative:
        raise fault(
            f"`{name}` compares with the incumbent's own times, and `worse_by` is {spec.worse_by}.",
            "Write a percentage above 0, such as 20%.",
        )


def _check_tolerance(name: str, spec: GuardrailSpec) -> None:
    low, high = range_of(spec)
    if spec.relative is not None:
        if low != 0:
            raise fault(
                f"`worse_by: {spec.worse_by}` is a part of a number counted from 0, and the range of "
                f"`{name}` begins at {low:g}.",
                "Write a number instead, or give a range that begins at 0.",
            )
        if spec.better == "higher" and spec.relative >= 1:
            raise fault(f"`{name}` cannot fall by {spec.worse_by}.", "Write a percentage below 100%.")
    elif float(spec.worse_by) >= high - low:
        raise fault(
            f"`worse_by: {spec.worse_by:g}` is the whole range of `{name}`, so nothing could be worse by it.",
            f"Write a number below {high - low:g}.",
        )


def range_of(spec: GuardrailSpec) -> tuple[float, float]:
    """The smallest and the largest number of a metric."""
    if isinstance(spec.range, tuple):
        return spec.range
    return 0.0, 1.0 if spec.up_to is None else spec.up_to
