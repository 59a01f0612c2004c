"""Wire models of feedback: the report and the answer to it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cached_property, lru_cache
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
from gateway.learning.acknowledging import Acknowledgement, NotCounted, WaitingPlace
from gateway.learning.given_feedback import Feedback, Preferred
from policy_store.report_records import Receipt

# What each field must be, as refusals say it.
_MUST_BE: Final = {
    "id": "the `id` of a response, as a string",
    "request_id": "the `x-request-id` of a request, as a string",
    "trace_id": "the id of a trace, as a string",
    "signal": "the name of a signal, as a string",
    "value": "true, false or a finite number",
    "preferred": '0, 1, "tie" or "both_bad"',
    "comment": "a string of at most 10,000 characters",
    "idempotency_key": "a string of at most 255 characters",
}
_LONGEST_SHOWN: Final = 64
AnswerNameText = Annotated[StrictStr, Field(min_length=1, max_length=512)]
SignalName = Annotated[StrictStr, Field(min_length=1, max_length=128)]


class FeedbackBody(BaseModel):
    """The body of `POST /v1/feedback`: a signal with its value, or which of two choices was preferred."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: Annotated[AnswerNameText | None, Field(description="The `id` of the response.")] = None
    request_id: Annotated[
        AnswerNameText | None, Field(description="Instead of `id`: the `x-request-id` of the answer.")
    ] = None
    trace_id: Annotated[
        AnswerNameText | None,
        Field(description="Instead of `id`: the `metadata.trace_id` or the trace of the request."),
    ] = None
    signal: Annotated[SignalName | None, Field(description="A signal that the experiment declares.")] = None
    value: Annotated[
        StrictBool | StrictInt | StrictFloat | None,
        Field(description="The value of the signal. May be left out for actions, such as `copied`."),
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
        Field(
            max_length=255, description="Accepted but not needed: a repeated report is counted once anyway."
        ),
    ] = None

    @validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.id is not None) + (self.request_id is not None) + (self.trace_id is not None) > 1:
            raise ValueError('Name the answer once, by "id", "request_id" or "trace_id".')
        if (self.signal is None) == (self.preferred is None):
            raise ValueError('Send either "signal" (with its "value") or "preferred".')
        if self.preferred is not None and self.value is not None:
            raise ValueError('"value" belongs to a "signal"; "preferred" has none.')
        return self

    @property
    def named(self) -> str | None:
        """What names the answer."""
        return self.id or self.request_id or self.trace_id


def parse_feedback(fields: Mapping[str, Any]) -> Feedback:
    """The report in the body of a request.

    Raises:
        InvalidFeedbackError: Naming the field at fault and what it must be; reason `invalid_body`.
    """
    try:
        parsed = FeedbackBody.model_validate(fields)
    except ValidationError as error:
        raise explained(error, _MUST_BE) from error
    if parsed.named is None:
        raise invalid(f'"id" is missing: it must be {_MUST_BE["id"]}.', param="id")
    preferred: Preferred | None = parsed.preferred  # type: ignore[assignment]  # bounded to 0 and 1 above
    return Feedback(parsed.named, parsed.signal, parsed.value, preferred, parsed.idempotency_key)


def explained(error: ValidationError, must_be: Mapping[str, str]) -> InvalidFeedbackError:
    """What is wrong with a body.

    Args:
        error: What was found.
        must_be: What each field must be, by its name.
    """
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if not first["loc"]:
        return invalid(first["msg"].removeprefix("Value error, "))
    field = str(first["loc"][0])[:_LONGEST_SHOWN]
    if first["type"] == "extra_forbidden":
        near = get_close_matches(field, must_be, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(must_be)}."
        return invalid(f"Unknown field {field!r}.{hint}", param=field)
    if first["type"] == "missing":
        return invalid(f'"{field}" is missing: it must be {must_be[field]}.', param=field)
    return invalid(f'"{field}" must be {must_be[field]}.', param=field)


def invalid(message: str, *, param: str | None = None) -> InvalidFeedbackError:
    """The refusal of a body."""
    return InvalidFeedbackError(message, reason="invalid_body", param=param)


class FeedbackAnswer(BaseModel):
    """The answer to a report."""

    model_config = ConfigDict(frozen=True)

    status: Receipt | WaitingPlace | Literal["not_counted"]
    reason: NotCounted | None = Field(
        default=None, description="Why a correct report is not counted; only with `not_counted`."
    )
    experiment: str
    detail: str

    @cached_property
    def content(self) -> Mapping[str, Any]:
        """The answer as JSON has it."""
        return self.model_dump(exclude_none=True)


@lru_cache(maxsize=1024)  # there are few different answers for each experiment
def answer_of(outcome: Acknowledgement) -> FeedbackAnswer:
    """The answer for the caller."""
    became, experiment, detail = outcome.became, outcome.experiment, outcome.detail
    if isinstance(became, NotCounted):
        return FeedbackAnswer(status="not_counted", reason=became, experiment=experiment, detail=detail)
    return FeedbackAnswer(status=became, experiment=experiment, detail=detail)


class FeedbackBatch(BaseModel):
    """`POST /v1/feedback` with several reports, each in any shape that one alone may have."""

    reports: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=100)]


class FeedbackResults(BaseModel):
    """What became of each of several reports: as it would alone, or `error` as its error would be."""

    results: list[dict[str, Any]]
