"""The part of a configuration file about promotions: their conditions, and what follows them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.config.references import MIN_COMPARISONS
from gateway.config.section import Section
from gateway.config.values import DURATION_PATTERN, Duration, Level, Margin, fault
from gateway.config.webhooks import ConfirmSpec

_USUAL: Final = timedelta(days=7)
_USUAL_STEP: Final = timedelta(hours=1)
_PERCENT: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)%")


def _as_share(value: Any) -> Any:
    found = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and found is None:
        raise fault(f"{value!r} is no share.", "Write a percentage such as 5%, or a number such as 0.05.")
    return float(found[1]) / 100 if found else value


_SHARE_SCHEMA: Final = [
    {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    {"type": "string", "pattern": f"^{_PERCENT.pattern}$"},
]
Share = Annotated[
    float, BeforeValidator(_as_share), Field(gt=0, le=1), WithJsonSchema({"anyOf": _SHARE_SCHEMA})
]


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
        description="Longest duration of the watch; `7d` if neither this nor `comparisons` is given.",
    )
    comparisons: int | None = Field(
        default=None,
        ge=1,
        description="Number of comparisons after which the watch ends, if that comes first.",
    )
    level: Level = Field(
        default=0.05,
        description="Largest probability of rolling a promotion back although the policy is no worse.",
    )
    margin: Margin | None = Field(
        default=None,
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


def _or_shares(schema: dict[str, Any]) -> None:
    steps = schema["anyOf"][0]
    steps["items"] = {"anyOf": [steps["items"], *_SHARE_SCHEMA]}


def _or_duration(schema: dict[str, Any]) -> None:
    schema["anyOf"].insert(1, {"type": "string", "pattern": DURATION_PATTERN})


Mode = Literal["automatic", "approval", "staged"]


class StepSpec(Section):
    """One step of a staged promotion. A share alone is short for `share`."""

    share: Share = Field(description="Share of ordinary traffic, as `5%` or 0.05.")
    lasts: Duration | None = Field(
        default=None,
        alias="for",
        description="How long the step lasts; `1h` where nothing else ends it.",
    )
    comparisons: int | None = Field(
        default=None, ge=1, description="It lasts until so many comparisons more are counted."
    )
    approval: bool = Field(
        default=False, description="It lasts until a person approves (`llmpo experiments approve`)."
    )

    @model_validator(mode="before")
    @classmethod
    def _share_alone(cls, value: Any) -> Any:
        is_share = isinstance(value, str | int | float) and not isinstance(value, bool)
        return {"share": value} if is_share else value

    @model_validator(mode="after")
    def _check_end(self) -> Self:
        if (self.lasts is not None) + (self.comparisons is not None) + self.approval > 1:
            raise fault("Several things would end this step.", "Keep one of for, comparisons and approval.")
        return self

    @property
    def has_end(self) -> bool:
        """Whether the file says what ends it."""
        return self.lasts is not None or self.comparisons is not None or self.approval

    @property
    def seconds(self) -> float | None:
        """How long it lasts; None where something else ends it, and at the promotion."""
        lasts = self.lasts if self.has_end or self.share == 1 else _USUAL_STEP
        return None if lasts is None else lasts.total_seconds()


class PromotionSpec(Section):
    """What happens once a policy is certified, and what a decision has to wait for."""

    mode: Mode = Field(
        default="automatic",
        description="`automatic`: the certified policy becomes the incumbent at once. `approval`: it waits "
        "for a person (`llmpo experiments approve`), while evidence goes on being gathered. `staged`: it "
        "answers a growing share of ordinary traffic meanwhile, as `steps` say.",
    )
    steps: list[StepSpec] | None = Field(
        default=None,
        min_length=2,
        json_schema_extra=_or_shares,
        description="The shares of ordinary traffic that a certified policy answers one after the other with "
        "`mode: staged`, the last being `100%`; `[5%, 25%, 100%]` if left out.",
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
    gives_up_after: Duration | None = Field(
        default="15m",
        validate_default=True,
        description="The experiment ends (`unfit`) once a candidate is known to fail on most of the requests "
        "it is asked, and this long has passed since the first one; `null`: never. A failure is known once "
        "every request begun before it has ended: after `LLMPO_REQUEST_TIMEOUT_SECONDS`, or the longest "
        "`judge.timeout` of the file.",
    )
    on_misfit: Literal["hold", "warn"] = Field(
        default="hold",
        description="What happens while the assumed structure does not fit the counts: `hold` decides "
        "nothing, `warn` only reports it. Exact guarantees do not depend on the fit and never wait.",
    )
    on_imbalance: Literal["hold", "warn"] = Field(
        default="hold",
        description="What happens while reports come clearly more often for the answers of one policy than "
        "for those of another: `hold` decides nothing, `warn` only reports it.",
    )

    watch: WatchSpec | None = Field(
        default=None,
        json_schema_extra=_or_duration,
        description="How a promotion is watched: a share of the traffic goes on comparing the promoted "
        "policy with the one before it, and a promotion that turns out worse is rolled back. Left out: not "
        "at all.",
    )

    confirm: ConfirmSpec | None = Field(
        default=None,
        description="A receiver that is asked before a certified policy is promoted. Left out: none is.",
    )

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if self.steps is None:
            return self
        if self.mode != "staged":
            raise fault(
                f"`steps` are for `mode: staged`, and `mode` is {self.mode}.", "Set it, or leave `steps` out."
            )
        shares = [step.share for step in self.steps]
        if shares[-1] != 1 or sorted(set(shares)) != shares:
            raise fault(
                "The shares of `steps` grow up to 100%, which is the promotion.", "Write [5%, 25%, 100%]."
            )
        if self.steps[-1].has_end:
            raise fault("The last step is the promotion, which nothing ends.", "Write it as 100% alone.")
        return self

    @model_validator(mode="after")
    def _check_confirm(self) -> Self:
        if self.confirm is not None and self.mode == "staged":
            raise fault(
                "`confirm` is for `mode: automatic` and `mode: approval`, and `mode` is staged.",
                "Leave it out, or let a person approve a step.",
            )
        return self

    @property
    def in_steps(self) -> list[StepSpec]:
        """The steps of a staged promotion; none where promotions have no steps."""
        return (self.steps or _USUAL_STEPS) if self.mode == "staged" else []

    @property
    def asks_a_person(self) -> bool:
        """Whether a person has to approve a certified policy."""
        return self.mode == "approval"

    @property
    def asks_first(self) -> bool:
        """Whether a certified policy waits for a person or for the confirm hook."""
        return self.asks_a_person or self.confirm is not None


_USUAL_STEPS: Final = [StepSpec(share=share) for share in (0.05, 0.25, 1.0)]
