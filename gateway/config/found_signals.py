"""The part of a configuration file about signals that the gateway finds in resent conversations."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from gateway.config.section import Section


class FoundSignal(StrEnum):
    """What the next request of a conversation shows of the answer before it."""

    CONTINUED = "continued"  # it goes on from the answer
    REASKED = "reasked"  # it asks the same again
    CORRECTED = "corrected"  # it goes on from an edited answer
    ABANDONED = "abandoned"  # there is none until the answer counts


class FoundSpec(Section):
    """What counts as the same question, and as an edited answer, for signals with `found: true`."""

    question_similarity: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="How much of a question must come again in the next one for `reasked`: the share of "
        "their words that are in both. A question of less than three different words never counts.",
    )
    answer_similarity: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="How much an edited answer must still share with the original for `corrected`: the share "
        "of their runs of three words that are in both. With less, nothing is known of the answer.",
    )
