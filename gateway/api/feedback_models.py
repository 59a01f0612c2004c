"""Wire models of feedback: what a report may say, and what its caller is told."""

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
from gateway.learning.acknowledging import Acknowledgement, NotCounted
from gateway.learning.given_feedback import Feedback, Preferred
from policy_store.models import Receipt

# What each field must be, in the words of the refusal.
_MUST_BE: Final = {
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
