"""The part of a configuration file about sampling: fields that a policy or a judge fixes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema, field_validator

from gateway.config.section import Section


class PolicyParams(Section):
    """Sampling fields that a policy fixes, within OpenAI's bounds; they override the caller's."""

    temperature: float | None = Field(default=None, ge=0, le=2, description="Randomness of sampling.")
    top_p: float | None = Field(default=None, ge=0, le=1, description="Probability mass sampled from.")
    max_tokens: int | None = Field(
        default=None, ge=1, description="Longest answer; also replaces `max_completion_tokens`."
    )
    max_completion_tokens: int | None = Field(
        default=None, ge=1, description="Longest answer, reasoning included; also replaces `max_tokens`."
    )
    presence_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Pushes towards new topics."
    )
    frequency_penalty: float | None = Field(
        default=None, ge=-2, le=2, description="Pushes against repetition."
    )
    seed: int | None = Field(
        default=None, ge=-(2**63), le=2**63 - 1, description="Seed, for providers that honour one."
    )
    stop: (
        Annotated[
            list[Annotated[str, Field(min_length=1)]],
            Field(min_length=1, max_length=4),
            WithJsonSchema(
                {
                    "type": ["string", "array"],
                    "items": {"type": "string", "minLength": 1},
                    "minItems": 1,
                    "maxItems": 4,
                }
            ),
        ]
        | None
    ) = Field(default=None, description="One to four texts that end the answer.")
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        default=None, description="Bias per token id."
    )
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = Field(
        default=None, description="How long a reasoning model thinks."
    )
    verbosity: Literal["low", "medium", "high"] | None = Field(
        default=None, description="How long the answer is."
    )
    top_k: int | None = Field(
        default=None,
        ge=-1,
        description="How many of the most likely tokens are sampled from (servers that extend OpenAI's "
        "format).",
    )
    min_p: float | None = Field(
        default=None, ge=0, le=1, description="Smallest relative probability sampled (same servers)."
    )
    repetition_penalty: float | None = Field(
        default=None, gt=0, le=10, description="Penalty on tokens seen before (same servers)."
    )

    @field_validator("stop", mode="before")
    @classmethod
    def _list_of_one(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    def request_fields(self) -> dict[str, Any]:
        """The fields that were set, as they go into a request body."""
        return self.model_dump(exclude_none=True)
