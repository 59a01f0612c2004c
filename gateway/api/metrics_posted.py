"""`POST /v1/experiments/{name}/metrics`: numbers about answers, which guardrails compare."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Request
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

from gateway.access.callers import Caller
from gateway.api.described_body import body_of
from gateway.api.errors import error_reply
from gateway.api.feedback_models import AnswerNameText, explained, invalid
from gateway.errors import InvalidFeedbackError
from gateway.experiments.snapshot import SnapshotHolder
from gateway.learning.acknowledging import NotCounted
from gateway.learning.posted_metrics import PostedMetric, PostedMetrics

MOST_METRICS: Final = 100
"""How many numbers one request may hold."""

_MUST_BE: Final = {
    "id": "the `id` of a response, as a string",
    "metric": "the name of a guardrail's metric, as a string",
    "value": "true, false or a finite number",
    "choice": "0 or 1",
}
_COUNTED: Final = "It is compared with numbers of the incumbent's answers."
_DETAILS: Final = {
    NotCounted.UNASSIGNED: "This response was not part of a comparison, so it is not measured.",
    NotCounted.EXPIRED: "The metric came too late: feedback.window is over.",
    NotCounted.FINISHED: "The response was given before the experiment was decided or changed.",
}


class MetricBody(BaseModel):
    """One number about an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: Annotated[AnswerNameText, Field(description="The `id` of the response.")]
    metric: Annotated[
        StrictStr,
        Field(min_length=1, max_length=64, description="A guardrail of the experiment that has a `range`."),
    ]
    value: Annotated[
        StrictBool | StrictInt | StrictFloat,
        Field(description="A number within the declared range, or true or false."),
    ]
    choice: Annotated[
        StrictInt | None,
        Field(ge=0, le=1, description="Which of two answers shown together; only with `side_by_side`."),
    ] = None


class MetricAnswer(BaseModel):
    """What became of a number."""

    status: Literal["counted", "duplicate", "not_counted"]
    reason: NotCounted | None = Field(default=None, description="Why it is not counted.")
    detail: str


class MetricResults(BaseModel):
    """What became of each of several numbers: as it would alone, or `error` as its error would be."""

    results: list[dict[str, Any]]


def metric_routes(
    metrics: PostedMetrics,
    snapshots: SnapshotHolder,
    admit: Callable[[Request], Awaitable[Caller]],
    read_body: Callable[[Request], Awaitable[dict[str, Any]]],
) -> APIRouter:
    """The route that takes numbers; `admit` gives the caller within the limits of its key."""
    router = APIRouter(prefix="/v1/experiments", tags=["feedback"])

    @router.post("/{name}/metrics", openapi_extra=_described(), response_model_exclude_none=True)
    async def post_metric(name: str, request: Request) -> MetricAnswer | MetricResults:
        """Post a number about a response, for guardrails. It is counted once, however often it is sent."""
        caller = await admit(request)
        snapshots.current.experiment(name)
        fields = await read_body(request)
        if fields.keys() != {"metrics"}:
            return await _taken(metrics, name, fields, caller)
        several = fields["metrics"]
        if not isinstance(several, list) or not 1 <= len(several) <= MOST_METRICS:
            raise invalid(f'"metrics" must be a list of 1 to {MOST_METRICS} objects.', param="metrics")
        results: list[dict[str, Any]] = []
        for number, each in enumerate(several):
            if number:
                await admit(request)
            try:
                results.append((await _taken(metrics, name, each, caller)).model_dump(exclude_none=True))
            except InvalidFeedbackError as error:
                results.append(orjson.loads(error_reply(error).body))
        return MetricResults(results=results)

    return router


async def _taken(metrics: PostedMetrics, name: str, fields: Any, caller: Caller) -> MetricAnswer:
    """What became of one number."""
    if not isinstance(fields, dict):
        raise invalid("Each of the metrics must be an object.")
    try:
        parsed = MetricBody.model_validate(fields)
    except ValidationError as error:
        raise explained(error, _MUST_BE) from error
    posted = PostedMetric(parsed.id, parsed.metric, parsed.value, parsed.choice)
    became = await metrics.take(name, posted, caller.key, is_admin=caller.is_admin)
    if isinstance(became, NotCounted):
        return MetricAnswer(status="not_counted", reason=became, detail=_DETAILS[became])
    if became:
        return MetricAnswer(status="counted", detail=_COUNTED)
    return MetricAnswer(status="duplicate", detail="Already received; nothing was counted again.")


@cache
def _described() -> dict[str, Any]:
    """The body: one number, or several."""
    one = MetricBody.model_json_schema()
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_METRICS}
    batch = {"type": "object", "properties": {"metrics": several}, "required": ["metrics"]}
    return body_of({"anyOf": [one, {**batch, "additionalProperties": False}]})
