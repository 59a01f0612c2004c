"""The part of a configuration file about feedback: its signals, and when it counts."""

from __future__ import annotations

import math
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from gateway.config.found_signals import FoundSignal, FoundSpec
from gateway.config.section import Section
from gateway.config.values import Duration, Name, fault
from policy_store.roles import Role

MAX_SIGNALS: Final = 32
SIGNALS: Final = {
    "thumb": 1,
    "score": 1,
    "copied": 0.5,
    "edited": -0.25,
    "regenerated": -0.5,
}
# These take true and false only.
TRUTH_SIGNALS: Final = frozenset({"thumb", "copied", "edited", "regenerated", "abandoned"})
# These come late because of what they say: an answer counts as abandoned only after a long silence.
LATE_SIGNALS: Final = frozenset({"abandoned"})
# What users do without saying anything about the answer. All other signals are explicit unless declared.
IMPLICIT_SIGNALS: Final = frozenset({"copied", "edited", "regenerated", "abandoned"})


class SignalSpec(Section):
    """What one feedback signal is worth. A plain number is short for its weight."""

    weight: Annotated[float, Field(ge=-1, le=1)] = Field(
        description="The outcome is the weight times the value reported (true: 1, false: -1)."
    )
    late: bool = Field(
        default=False,
        description="Whether the signal comes late because of what it says, like `abandoned`; it then needs "
        "a `hold`.",
    )

    found: bool = Field(
        default=False,
        description="Whether the gateway finds the signal itself, in the conversation that is sent back: "
        "`continued`, `reasked`, `corrected`, `abandoned`. It then needs a `hold`.",
    )
    role: Literal["explicit", "implicit"] | None = Field(
        default=None,
        description="Whether users say it of the answer (`explicit`) or do something that may show it "
        "(`implicit`), for `promote_on`. Unless given, copied, edited, regenerated, abandoned and what is "
        "`found` are implicit, and all others explicit.",
    )
    scale: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        default=None,
        description="The lowest and the highest grade, such as `[1, 5]`: grades are spread over -1 to 1, and "
        "others are refused. Left out: a number counts as it is.",
    )

    @model_validator(mode="before")
    @classmethod
    def _weight_alone(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"weight": value} if is_number else value

    @property
    def meaning(self) -> object:
        """What fixes the meaning of its outcomes: its weight, and what else is declared of it."""
        more: dict[str, object] = {} if self.scale is None else {"scale": self.scale}
        more |= {"found": True} if self.found else {}
        return {"weight": self.weight, **more} if more else self.weight

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: list[float] | None) -> list[float] | None:
        if scale is not None and not (math.isfinite(scale[1] - scale[0]) and scale[0] < scale[1]):
            raise fault(
                f"A scale goes from the lowest to the highest grade, not {scale}.", "Write it as [1, 5]."
            )
        return scale

    @field_validator("weight")
    @classmethod
    def _check_weight(cls, weight: float) -> float:
        if weight == 0:
            raise fault("A weight of 0 says nothing.", "Use a number from -1 to 1, or leave the signal out.")
        return weight


_WEIGHT_SCHEMA: Final = {"type": "number", "minimum": -1, "maximum": 1, "not": {"const": 0}}
_SIGNAL_SCHEMA: Final = {
    "anyOf": [
        _WEIGHT_SCHEMA,
        {
            "type": "object",
            "properties": {
                "weight": _WEIGHT_SCHEMA,
                "late": {"type": "boolean"},
                "found": {"type": "boolean"},
                "role": {"enum": ["explicit", "implicit", None]},
                "scale": {
                    "type": ["array", "null"],
                    "items": {"type": "number"},
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
            "required": ["weight"],
            "additionalProperties": False,
        },
    ]
}
Signal = Annotated[SignalSpec, WithJsonSchema(_SIGNAL_SCHEMA)]


class RegenerateSpec(Section):
    """With `collect: regenerate`: what asking again is, and what which answer was kept comes to."""

    within: Duration = Field(
        default="1h",
        validate_default=True,
        description="How long after a question the same question again is asking for another answer. At most "
        "`window`, in which the conversation must go on.",
    )
    similarity: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="How much an edited answer must still share with one of the two to count as that one: "
        "the share of their runs of three words that are in both.",
    )
    neither: Literal["tie", "ignore"] = Field(
        default="tie",
        description="What it is if the conversation goes on from neither of the two, or it cannot be told "
        "from which.",
    )
    identical: Literal["tie", "ignore"] = Field(
        default="tie", description="What it is if both answers have the same text."
    )


VerdictName = Literal["loss", "tie", "ignore"]


class Missing(StrEnum):
    """What an answer that has no outcome lacks."""

    NO_FEEDBACK = "no_feedback"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    REFUSAL = "refusal"
    EMPTY = "empty"
    TRUNCATED = "truncated"


# These are read from the answer itself.
READ_FROM_ANSWERS: Final = frozenset({Missing.REFUSAL, Missing.EMPTY, Missing.TRUNCATED})


class MissingSpec(Section):
    """What an answer comes to without feedback. One word is short for that word everywhere."""

    no_feedback: VerdictName = Field(
        default="ignore",
        description="No report until the answer counts. `ignore`: most users report nothing whichever policy "
        "answers, and comparing silence with silence decides nothing.",
    )
    failure: VerdictName = Field(
        default="loss",
        description="The policy was asked and gave no answer. `loss`: users cannot rate a failure, so "
        "without it a policy that often fails would be judged by its good answers alone, and one that "
        "always fails not at all.",
    )
    timeout: VerdictName = Field(
        default="loss", description="The policy was asked and did not answer in time."
    )
    refusal: VerdictName = Field(
        default="ignore",
        description="The answer says in its own fields that it is a refusal, and nothing was reported of it. "
        "`ignore` (as `no_feedback` says): users see a refusal, can rate it, and may be glad of it.",
    )
    empty: VerdictName = Field(
        default="ignore",
        description="The answer has neither text nor a tool call, and nothing was reported of it. `ignore` "
        "(as `no_feedback` says): like every answer that arrived, unless the file says more.",
    )
    truncated: VerdictName = Field(
        default="ignore",
        description="The answer stopped at a limit of tokens, and nothing was reported of it. `ignore` (as "
        "`no_feedback` says): the limit is often the caller's own, and users can rate what they got.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, value: Any) -> Any:
        # An answer that falls short and is not named itself counts as one without feedback.
        return dict.fromkeys(set(Missing) - READ_FROM_ANSWERS, value) if isinstance(value, str) else value

    @property
    def rules(self) -> dict[Missing, Literal["loss", "tie"]]:
        """The verdicts that count, by what is missing."""
        said: dict[Missing, VerdictName] = {what: getattr(self, what.value) for what in Missing}
        return {what: verdict for what, verdict in said.items() if verdict != "ignore"}


_MISSING_SCHEMA: Final = {
    "anyOf": [{"enum": ["loss", "tie", "ignore"]}, MissingSpec.model_json_schema()],
}


class FeedbackSpec(Section):
    """Which feedback counts, and for how long after the answer."""

    window: Duration = Field(
        default="24h", validate_default=True, description="How long feedback on an answer counts."
    )
    hold: Duration | None = Field(
        default=None,
        description="Age of an answer at which its feedback counts, no matter when the feedback came or what "
        "it says; later feedback does not count. In a session the age of its first answer. Needed by "
        "signals that come late because of what they say, such as `abandoned`. At most `window`.",
    )
    signals: Annotated[dict[Name, Signal], Field(min_length=1, max_length=MAX_SIGNALS)] = Field(
        default=SIGNALS,
        validate_default=True,
        description="Weight of each signal; signals given here replace the default ones.",
    )
    voter_cap: int = Field(
        default=1,
        ge=1,
        description="How many votes a user may give on a pair of policies. One person's votes are not "
        "independent, so the guarantee needs 1; with more than two policies a user may still vote on several "
        "pairs.",
    )
    voter_cap_per_experiment: int | None = Field(
        default=None,
        ge=1,
        description="How many votes a user may give in the whole experiment, on whichever pairs. With 1 all "
        "votes are those of different users, which the guarantee needs with more than two policies. Left "
        "out: as many as `voter_cap` allows on every pair.",
    )
    key_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Largest share of the votes on a pair that one API key may give, whatever users it "
        "names; its first ten votes are always allowed. If one key serves most of the traffic, most of its "
        "votes do not count: then raise it. No effect if the gateway knows a single client key.",
    )
    shared_ids: bool = Field(
        default=False,
        description="Whether any client key may report on an answer; if not, only the key that got the "
        "answer and admin keys may.",
    )
    missing: Annotated[MissingSpec, WithJsonSchema(_MISSING_SCHEMA)] = Field(
        default_factory=MissingSpec,
        description="How a failure, a timeout, silence, and a refused, empty or truncated answer count "
        "(`matched`, and `side_by_side` where this is given): `loss`, `tie` or `ignore`. They become known "
        "at other times than feedback, so `loss` and `tie` need a `hold`; without one they do not count.",
    )
    changed_mind: Literal["first", "replace"] = Field(
        default="first",
        description="Whether a later, contradicting report on an answer replaces an earlier one. `first`: it "
        "is refused. `replace`: it replaces it, unless the earlier one was already compared.",
    )
    tie_margin: float = Field(
        default=0.0,
        ge=0,
        le=2,
        description="Two outcomes that differ by no more than this are a tie (`matched`).",
    )
    spool: bool = Field(
        default=False,
        description="Whether a gateway keeps reports in a file of its data directory while the store is "
        "away, and has them counted afterwards. Without it they get a 503.",
    )
    regenerate: RegenerateSpec = Field(
        default_factory=RegenerateSpec,
        description="What asking again is, and which answer counts as kept (`regenerate`).",
    )
    found: FoundSpec = Field(
        default_factory=FoundSpec,
        description="What counts as the same question, and as an edited answer (signals with `found`).",
    )

    def role_of(self, signal: str) -> Role:
        """The role of a declared signal."""
        declared = self.signals[signal].role
        if declared is not None:
            return Role(declared)
        is_implicit = signal in IMPLICIT_SIGNALS or self.signals[signal].found
        return Role.IMPLICIT if is_implicit else Role.EXPLICIT

    @property
    def found_signals(self) -> frozenset[FoundSignal]:
        """The signals that the gateway finds itself."""
        return frozenset(FoundSignal(name) for name, signal in self.signals.items() if signal.found)

    @property
    def missing_rules(self) -> dict[Missing, Literal["loss", "tie"]]:
        """The verdicts that count, by what is missing; none without a hold."""
        return {} if self.hold is None else self.missing.rules

    @model_validator(mode="after")
    def _check_caps(self) -> Self:
        in_all = self.voter_cap_per_experiment
        if in_all is not None and in_all < self.voter_cap:
            raise fault(
                f"`voter_cap` allows {self.voter_cap} votes on a pair, and `voter_cap_per_experiment` only "
                f"{in_all} in all.",
                "Lower `voter_cap`, or raise `voter_cap_per_experiment`.",
            )
        return self

    @field_validator("window")
    @classmethod
    def _check_window(cls, window: Any) -> Any:
        if not window:
            raise fault("Feedback needs some time to arrive.", "Use a duration greater than 0, such as 24h.")
        return window

    @field_validator("hold")
    @classmethod
    def _check_hold(cls, hold: timedelta | None) -> timedelta | None:
        if hold is not None and hold < timedelta(seconds=1):
            raise fault("The age of answers is known to the second.", "Use at least 1s, such as 6h.")
        return hold

    @model_validator(mode="after")
    def _check_what_is_late(self) -> Self:
        if self.hold is None and "missing" in self.model_fields_set and self.missing.rules:
            raise fault(
                "A failure, timeout or silence is to count as an outcome, but there is no `hold`.",
                "Give one after which most feedback has arrived, such as `hold: 6h`, or use `missing: "
                "ignore`.",
            )
        if self.hold is not None and self.hold > self.window:
            raise fault(
                "`hold` is longer than `window`.",
                "Raise `window` too: it is the time in which feedback may come.",
            )
        is_declared = "within" in self.regenerate.model_fields_set
        if is_declared and self.regenerate.within > self.window:
            raise fault(
                "`regenerate.within` is longer than `window`.", "Shorten it, or raise `window` as well."
            )
        graded = [name for name, signal in self.signals.items() if signal.scale and name in TRUTH_SIGNALS]
        if graded:
            raise fault(
                f"The signal {graded[0]!r} is true or false, and has a `scale`.",
                "Leave the scale out, or give grades a signal of their own, such as `stars`.",
            )
        late = [
            name
            for name, signal in self.signals.items()
            if signal.late or name in LATE_SIGNALS or signal.found
        ]
        if late and self.hold is None:
            raise fault(
                f"The signal {late[0]!r} comes late because of what it says, and there is no `hold`.",
                "Give a `hold` as long as it takes until the signal is known, such as `hold: 6h`, or leave "
                "the signal out.",
            )
        return self

    @model_validator(mode="after")
    def _check_found(self) -> Self:
        known, named = ", ".join(FoundSignal), [name for name, signal in self.signals.items() if signal.found]
        for name in named:
            if name not in set(FoundSignal):
                raise fault(
                    f"The signal {name!r} is none that the gateway finds.",
                    f"It finds {known}: use one of them.",
                )
            if self.signals[name].scale or self.signals[name].role == "explicit":
                raise fault(
                    f"The signal {name!r} is found by the gateway: it has no grades, and no user says it.",
                    "Leave its `scale` and `role` out.",
                )
        if FoundSignal.ABANDONED in named and FoundSignal.CONTINUED not in named:
            raise fault(
                "Answers are found `abandoned` by what else is not found, and `continued` is not.",
                "List `continued` as well, such as `continued: {weight: 0.25, found: true}`.",
            )
        if FoundSignal.ABANDONED in named and Missing.NO_FEEDBACK in self.missing_rules:
            raise fault(
                "An answer without feedback is found `abandoned`, and `missing.no_feedback` counts, too.",
                "Use one of them.",
            )
        return self
