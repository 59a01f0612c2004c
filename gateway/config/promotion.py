"""What a configuration file says about promotions: what must have happened before, and what follows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from gateway.config.references import MIN_COMPARISONS
from gateway.config.section import Section
from gateway.config.values import DURATION_PATTERN, Duration, fault

_USUAL: Final = timedelta(days=7)


class WatchSpec(Section):
    """How a promotion is watched. A duration alone is short for `for`."""

    share: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="Share of the units for which the promoted policy is compared with the one before it.",
    )
    lasts: Duration | None = Field(
        default=None,
        alias="for",
        description="How long the watch lasts at most; `7d` where neither this nor `comparisons` is given.",
    )
    comparisons: int | None = Field(
        default=None, ge=1, description="After how many comparisons it ends, if that comes first."
    )
    level: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Largest probability of rolling a promotion back although the policy is no worse.",
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        lt=0.5,
        description="How much less often than one half the promoted policy may be preferred; the "
        "experiment's `epsilon` where it is left out.",
    )

    @model_validator(mode="before")
    @classmethod
    def _duration_alone(cls, value: Any) -> Any:
        return {"for": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        if self.lasts is not None and not self.lasts:
            raise fault("A watch needs some time.", "Use a duration greater than 0, such as 7d.")
        return self

    @property
    def seconds(self) -> float | None:
        """How long it lasts at most; None where comparisons alone end it."""
        if self.lasts is None:
            return _USUAL.total_seconds() if self.comparisons is None else None
        return self.lasts.total_seconds()


def _or_duration(schema: dict[str, Any]) -> None:
    schema["anyOf"].insert(1, {"type": "string", "pattern": DURATION_PATTERN})


class PromotionSpec(Section):
    """What happens once a policy is certified, and what a decision has to wait for."""

    mode: Literal["automatic", "approval"] = Field(
        default="automatic",
        description="`automatic`: the certified policy becomes the incumbent at once. `approval`: it waits "
        "for a person (`llmpo experiments approve`), while evidence goes on being gathered.",
    )
    min_comparisons: int = Field(
        default=MIN_COMPARISONS, ge=0, description="No decision before this many comparisons."
    )
    min_duration: Duration = Field(
        default="1h",
        validate_default=True,
        description="No decision before this long after the start: time to notice false votes.",
    )
    min_voters: int = Field(
        default=10,
        ge=0,
        description="No decision while fewer voters than this gave the votes. Votes without a user or "
        "session count as one voter each if there is a single client key, otherwise as one voter per key.",
    )
    on_misfit: Literal["hold", "warn"] = Field(
        default="hold",
        description="What happens while the assumed structure does not fit the counts: `hold` decides "
        "nothing, `warn` only reports it. Exact guarantees do not depend on the fit and never wait.",
    )

    watch: WatchSpec | None = Field(
        default=None,
        json_schema_extra=_or_duration,
        description="How a promotion is watched: a share of the traffic goes on comparing the promoted "
        "policy with the one before it, and a promotion that turns out worse is rolled back. Left out: not "
        "at all.",
    )

    @property
    def asks_a_person(self) -> bool:
        """Whether a certified policy waits for a person."""
        return self.mode == "approval"
