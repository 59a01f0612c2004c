"""The part of a configuration file about a judge: a model that compares answers beside live traffic."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from pydantic import Field, field_validator

from gateway.config.params import PolicyParams
from gateway.config.section import Section
from gateway.config.values import Duration, ModelName, TemplateFile, fault

DEFAULT_QUESTION: Final = "Which answer serves the user better?"
_LONGEST_VERDICT: Final = 1000  # tokens


class LiveJudgeSpec(Section):
    """A model that says which of two policies' answers to a request is better, in both orders."""

    model: ModelName = Field(
        description="A `model_name` of `model_list`; it may be no candidate's model, under whatever name."
    )
    rubric: TemplateFile | None = Field(
        default=None,
        description="Jinja file that says what the judge is to decide by; like a policy's template it reads "
        f"`messages`, `metadata` and `user_message`. Without it: {DEFAULT_QUESTION}",
    )
    params: PolicyParams = Field(
        default_factory=lambda: PolicyParams(temperature=0.0, max_tokens=_LONGEST_VERDICT),
        description="Sampling fields of the judge. By default a temperature of 0 and at most "
        f"{_LONGEST_VERDICT} tokens.",
    )
    share: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share of the requests taking part in no comparison for which the judge compares two "
        "policies; 0.05 unless given. With `collect: shadow` leave it out: `traffic.share` says it.",
    )
    spend_per_day: float = Field(
        gt=0,
        description="Most US dollars a day (UTC) for the answers made for the judge and for its verdicts, "
        "over all replicas. The prices of the models must be known.",
    )
    concurrency: int = Field(
        default=4, ge=1, le=256, description="Pairs of answers that a process compares at once."
    )
    queue: int = Field(
        default=100, ge=0, le=10_000, description="Requests that may wait for the judge in a process."
    )
    queue_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=64 * 1024,
        le=4 * 1024**3,
        description="Most memory of the requests and answers that wait in a process or are compared.",
    )
    timeout: Duration = Field(
        default="60s",
        validate_default=True,
        description="Longest time for each answer and each verdict; there is no second attempt.",
    )

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, timeout: Any) -> Any:
        if not timedelta() < timeout <= timedelta(hours=1):
            raise fault("A judge needs some time, and no more than an hour.", "Use a duration such as 60s.")
        return timeout
