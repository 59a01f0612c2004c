"""Reads feedback in the forms of other gateways and tracing tools as reports of our own.

Each shape is recognised by fields that no other has. The answer is what its clients expect, plus our own
answer under `llmpo`. Fields without a use here are accepted and dropped, because those clients send them;
but fields of another shape are refused, because a report that mixes two is ambiguous.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self
from uuid import NAMESPACE_URL, uuid5

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, ValidationError

from gateway.api.feedback_models import AnswerNameText, FeedbackAnswer, SignalName, explained, invalid
from gateway.errors import InvalidFeedbackError
from gateway.learning.given_feedback import Feedback
from gateway.learning.signals import takes_truth

Content = dict[str, Any]

_A_NAME: Final = "the id of a response, of its request or of its trace, as a string"
_TRUTHS: Final[Mapping[Any, bool]] = {0: False, 1: True, "false": False, "true": True}


class Peer(BaseModel, ABC):
    """A report in the shape of another product. Its fields have the product's names."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)
    must_be: ClassVar[Mapping[str, str]]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The report in a body. Raises InvalidFeedbackError."""
        foreign = sorted(fields.keys() & _MARKS - cls.must_be.keys())
        if foreign:
            raise invalid(
                f"{foreign[0]!r} belongs to another kind of report than the other fields. "
                f"Send one of: {', '.join(cls.must_be)}.",
                param=foreign[0],
            )
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise explained(error, cls.must_be) from error

    @abstractmethod
    def feedback(self) -> Feedback:
        """Our form of the report. Raises InvalidFeedbackError."""

    @abstractmethod
    def reply(self, answer: FeedbackAnswer) -> Content:
        """The answer that its client expects."""


class TensorZeroReport(Peer):
    """`POST /feedback` of TensorZero."""

    inference_id: AnswerNameText
    metric_name: SignalName
    value: Any = None
    dryrun: StrictBool | None = None

    must_be: ClassVar[Mapping[str, str]] = {
        "inference_id": f"{_A_NAME}; episodes are not known here",
        "metric_name": "the name of a signal, as a string",
        "value": "true, false or a finite number",
        "dryrun": "true or false",
        "tags": "an object",
    }

    def feedback(self) -> Feedback:
        """Our form of it. Comments, demonstrations and dry runs do not count."""
        if self.metric_name in {"comment", "demonstration"}:
            return Feedback(self.inference_id, is_to_count=False)
        value = _checked(self.value)
        return Feedback(self.inference_id, self.metric_name, value, is_to_count=not self.dryrun)

    def reply(self, answer: FeedbackAnswer) -> Content:
        """The id of the feedback, and our answer."""
        return {"feedback_id": _feedback_id(self.inference_id, self.metric_name), **_beside(answer)}


class LangfuseScore(Peer):
    """A score of Langfuse: `POST /api/public/scores`, or an event of `POST /api/public/ingestion`."""

    trace_id: AnswerNameText = Field(alias="traceId")
    name: SignalName
    value: Any
    id: AnswerNameText | None = None
    data_type: str | None = Field(default=None, alias="dataType")

    must_be: ClassVar[Mapping[str, str]] = {
        "traceId": f"{_A_NAME}; sessions and data sets have no scores here",
        "name": "the name of a signal, as a string",
        "value": "a finite number, or 0 or 1 for true and false",
        "id": "a string of at most 512 characters",
        "dataType": "NUMERIC, BOOLEAN, CATEGORICAL, TEXT or CORRECTION",
    }

    def feedback(self) -> Feedback:
        """Our form of it. Texts do not count; a signal of true and false takes 1 and 0."""
        if self.data_type in {"TEXT", "CORRECTION"}:
            return Feedback(self.trace_id, is_to_count=False)
        if self.data_type == "BOOLEAN" or takes_truth(self.name):
            value = self.value
            truth = _TRUTHS.get(value.lower() if isinstance(value, str) else _checked(value))
            if truth is None:
                raise _not_to_count("0 or 1")
            return Feedback(self.trace_id, self.name, truth)
        return Feedback(self.trace_id, self.name, _checked(self.value))

    def reply(self, answer: FeedbackAnswer) -> Content:
        """The id of the score, and our answer."""
        return {"id": self.id or _feedback_id(self.trace_id, self.name), **_beside(answer)}


class HeliconeRating(Peer):
    """`POST /v1/request/{requestId}/feedback` of Helicone; elsewhere the request is named in the body."""

    request_id: AnswerNameText
    rating: StrictBool

    must_be: ClassVar[Mapping[str, str]] = {"request_id": _A_NAME, "rating": "true or false"}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Self:
        """The report in a body that names the request under any of its known names."""
        named = next((fields[name] for name in ("request_id", "id", "helicone-id") if name in fields), None)
        rest = {name: value for name, value in fields.items() if name not in {"id", "helicone-id"}}
        return super().of({**rest, **({} if named is None else {"request_id": named})})

    def feedback(self) -> Feedback:
        """The rating as a thumb."""
        return Feedback(self.request_id, "thumb", self.rating)

    def reply(self, answer: FeedbackAnswer) -> Content:
        """No data and no error, and our answer."""
        return {"data": None, "error": None, **_beside(answer)}


class PortkeyFeedback(Peer):
    """`POST /v1/feedback` of Portkey."""

    trace_id: AnswerNameText
    value: Annotated[StrictInt | StrictFloat, Field(ge=-10, le=10)]
    weight: Annotated[StrictInt | StrictFloat, Field(ge=0, le=1)] = 1

    must_be: ClassVar[Mapping[str, str]] = {
        "trace_id": _A_NAME,
        "value": "a number from -10 to 10",
        "weight": "a number from 0 to 1",
        "metadata": "an object",
    }

    def feedback(self) -> Feedback:
        """The weighted value as a score; a value of weight 0 does not count."""
        return Feedback(self.trace_id, "score", float(self.value * self.weight), is_to_count=self.weight > 0)

    def reply(self, answer: FeedbackAnswer) -> Content:
        """That it was stored under an id, and our answer."""
        found = _feedback_id(self.trace_id, "score")
        return {"status": "success", "message": answer.detail, "feedback_ids": [found], **_beside(answer)}


# The fields by which a shape is recognised, in the order of the search.
_SHAPES: Final[Mapping[type[Peer], frozenset[str]]] = {
    TensorZeroReport: frozenset({"inference_id", "episode_id", "metric_name", "dryrun"}),
    LangfuseScore: frozenset({"traceId", "dataType"}),
    HeliconeRating: frozenset({"rating"}),
}
_MARKS: Final = frozenset({"signal", "preferred", "trace_id", "weight"}).union(*_SHAPES.values()) - {
    "episode_id"
}


def peer_of(fields: Any) -> type[Peer] | None:
    """The product whose shape a report has; None for our own shape and for anything else.

    Portkey's shape names the answer as ours may, but has a value without a signal.
    """
    if not isinstance(fields, dict):
        return None
    for shape, marks in _SHAPES.items():
        if not marks.isdisjoint(fields):
            return shape
    if "weight" in fields or ("trace_id" in fields and not fields.keys() & {"signal", "preferred"}):
        return PortkeyFeedback
    return None


def _beside(answer: FeedbackAnswer) -> Content:
    return {"llmpo": answer.content}


def _feedback_id(*named: str) -> str:
    """A name for the report, the same whenever it is sent."""
    return str(uuid5(NAMESPACE_URL, "\0".join(named)))


def _checked(value: Any) -> bool | float | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    raise _not_to_count("true, false or a finite number")


def _not_to_count(wanted: str) -> InvalidFeedbackError:
    return InvalidFeedbackError(
        f"A signal's value must be {wanted}; comments and categories cannot be compared.",
        reason="invalid_value",
        status=422,
        param="value",
    )
