"""Wire models of the control plane: what feedback may say, what the experiments pages answer."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic import model_validator as validator

from gateway.errors import InvalidFeedbackError
from gateway.learning.feedback import Acknowledgement, Feedback, NotCounted, Preferred
from policy_store.models import Receipt

# What each field must be, in the words of the refusal.
_MUST_BE = {
    "id": "the `id` of a response, as a string",
    "signal": "the name of a signal, as a string",
    "value": "true, false or a finite number",
    "preferred": '0, 1, "tie" or "both_bad"',
    "comment": "a string of at most 10,000 characters",
    "idempotency_key": "a string of at most 255 characters",
}
_LONGEST_SHOWN: Final = 64


class FeedbackBody(BaseModel):
    """`POST /v1/feedback`: either a signal with its value, or which of two choices was preferred."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: Annotated[StrictStr, Field(min_length=1, max_length=512, description="The `id` of the response.")]
    signal: Annotated[
        StrictStr | None, Field(min_length=1, max_length=128, description="A signal the experiment declares.")
    ] = None
    value: Annotated[
        StrictBool | StrictInt | StrictFloat | None,
        Field(description="What the signal says. May be left out for actions, such as `copied`."),
    ] = None
    preferred: Annotated[
        Annotated[StrictInt, Field(ge=0, le=1)] | Literal["tie", "both_bad"] | None,
        Field(description="Which choice of a side-by-side response was better."),
    ] = None
    comment: Annotated[
        StrictStr | None,
        Field(max_length=10_000, description="Accepted and discarded: never stored or logged."),
    ] = None
    idempotency_key: Annotated[
        StrictStr | None,
        Field(max_length=255, description="Accepted; the same report is counted once with or without it."),
    ] = None

    @validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.signal is None) == (self.preferred is None):
            raise ValueError('Send either "signal" (with its "value") or "preferred".')
        if self.preferred is not None and self.value is not None:
            raise ValueError('"value" belongs to a "signal"; "preferred" has none.')
        return self


def parse_feedback(fields: Mapping[str, Any]) -> Feedback:
    """The report in the body of a request.

    Raises:
        InvalidFeedbackError: Naming the field at fault and what it must be; reason `invalid_body`.
    """
    try:
        parsed = FeedbackBody.model_validate(fields)
    except ValidationError as error:
        raise _explained(error) from error
    preferred: Preferred | None = parsed.preferred  # type: ignore[assignment]  # bounded to 0 and 1 above
    return Feedback(parsed.id, parsed.signal, parsed.value, preferred)


def _explained(error: ValidationError) -> InvalidFeedbackError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if not first["loc"]:
        return _invalid(first["msg"].removeprefix("Value error, "))
    field = str(first["loc"][0])[:_LONGEST_SHOWN]
    if first["type"] == "extra_forbidden":
        near = get_close_matches(field, _MUST_BE, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(_MUST_BE)}."
        return _invalid(f"Unknown field {field!r}.{hint}", param=field)
    if first["type"] == "missing":
        return _invalid(f'"{field}" is missing: it must be {_MUST_BE[field]}.', param=field)
    return _invalid(f'"{field}" must be {_MUST_BE[field]}.', param=field)


def _invalid(message: str, *, param: str | None = None) -> InvalidFeedbackError:
    return InvalidFeedbackError(message, reason="invalid_body", param=param)


class FeedbackAnswer(BaseModel):
    """What became of a report."""

    status: Receipt | Literal["not_counted"]
    reason: NotCounted | None = Field(
        default=None, description="Why a report in order is not counted; with that status only."
    )
    experiment: str
    detail: str


def answer_of(outcome: Acknowledgement) -> FeedbackAnswer:
    """What the caller is told."""
    became, experiment, detail = outcome.became, outcome.experiment, outcome.detail
    if isinstance(became, NotCounted):
        return FeedbackAnswer(status="not_counted", reason=became, experiment=experiment, detail=detail)
    return FeedbackAnswer(status=became, experiment=experiment, detail=detail)


class ExperimentSummary(BaseModel):
    """One line of the list of experiments."""

    name: str
    state: str
    generation: int
    incumbent: str
    leader: str | None
    comparisons: int


class ExperimentList(BaseModel):
    """`GET /v1/experiments`."""

    data: list[ExperimentSummary]
    config_hash: str = Field(description="Names this replica's configuration; all should show the same.")


class EvidenceOfPolicy(BaseModel):
    """How much evidence one policy has gathered towards the line."""

    policy: str
    nats: float
    needed: float | None
    eliminated_at: int | None = Field(
        description="The comparison that ruled the policy out as the winner; null with a margin."
    )


class PlanInForce(BaseModel):
    """What the planner wants compared next."""

    pairs: list[tuple[str, str]]
    probabilities: list[float]
    version: int
    age_seconds: float
    expected_remaining: int | None = Field(
        description="Comparisons to a decision, its minima and the budget included; null where not known."
    )
    expected_seconds: float | None = Field(description="The same in time, at the rate so far.")


class EventShown(BaseModel):
    """Something that happened."""

    at: float = Field(description="Unix seconds.")
    kind: str
    detail: dict[str, Any] = Field(description="Policies are named.")


class InheritedComparisons(BaseModel):
    """What a generation went on from."""

    generation: int
    comparisons: int = Field(description="How many of its comparisons were counted there or before.")


class PolicyShown(BaseModel):
    """What a policy is."""

    name: str
    fingerprint: str = Field(description="SHA-256 of the content's canonical JSON.")
    content: dict[str, Any] | None = Field(
        description="All that decides how it answers: model, prompt, parameters. Null where "
        "`policies_shown: names` keeps it back. With `redacted`, parts that look like secrets are blanked."
    )


class PolicyCost(BaseModel):
    """What an answer of a policy costs."""

    policy: str
    per_answer: float | None = Field(description="Null where it is not known.")
    answers: int = Field(description="How many answers were measured.")


class AnswerCostsShown(BaseModel):
    """What answers cost."""

    source: Literal["declared", "measured"] = Field(
        description="`declared` in the file, in any unit; else `measured` tokens times prices, in USD."
    )
    policies: list[PolicyCost]


class GainShown(BaseModel):
    """How much more often a policy is preferred to the incumbent, by decisive comparisons of the two."""

    policy: str = Field(description="The champion; before the decision, the policy ahead.")
    incumbent: str = Field(description="The incumbent; after the decision, the one before it.")
    wins: int
    losses: int
    preference: float | None = Field(description="Share of them that the policy won.")
    low: float = Field(description="Lower end of the interval for its probability to be preferred.")
    high: float = Field(description="Upper end.")
    confidence: float = Field(description="With which the intervals of all rivals hold, at any time.")
    cost_ratio: float | None = Field(description="How many times the incumbent's cost an answer of it costs.")


class ExperimentDetail(ExperimentSummary):
    """`GET /v1/experiments/{name}`. Lists and matrices follow the order of `policies`."""

    policies: list[str]
    policy_details: list[PolicyShown] = Field(description="What each of them is.")
    wins: list[list[int]]
    ties: list[list[int]]
    evidence: list[EvidenceOfPolicy]
    plan: PlanInForce | None
    certificate: dict[str, Any] | None
    events: list[EventShown] = Field(description="The latest, newest last.")
    delta: float
    epsilon: float
    collect: str
    share: float
    min_comparisons: int
    max_comparisons: int | None
    started_at: float = Field(description="Unix seconds.")
    policies_ever: int = Field(description="How many policies there ever were, those removed included.")
    inherited: InheritedComparisons | None = Field(description="Null where it started from nothing.")
    matches_store: bool = Field(
        description="False where this replica's file defines the experiment otherwise than the store runs it."
    )
    fit_p_value: float | None = Field(
        default=None, description="How well the structure assumed fits the counts; null where none is."
    )
    votes: int = Field(default=0, description="In comparisons; one of two answers shown, or two of one each.")
    voters: int = Field(default=0, description="Who gave them; each vote of an unknown voter counts as one.")
    largest_voter: int = Field(default=0, description="The most votes of one voter.")
    reports_held: int = Field(default=0, description="Reports that count once `feedback.hold` is over.")
    answer_costs: AnswerCostsShown
    gain: GainShown | None = Field(description="Null while the incumbent itself is ahead, and where it won.")
    held: list[str] = Field(default=[], description="Why nothing is decided yet, however clear it is.")
    warnings: list[str] = Field(default=[], description="What an operator should look at.")
