"""Wire model of what informs an experiment's forecasts, in `/v1/experiments/{name}`."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import BaseModel, Field

from gateway.experiments.source_standing import SourceStanding


class SourceShown(BaseModel):
    """A source whose comparisons inform forecasts and are no evidence."""

    name: str = Field(
        description="`explicit`, `implicit` or `judge`: comparisons in that role; `run`: an offline run; "
        "`earlier`: the generation before, about policies that were changed."
    )
    comparisons: int = Field(description="Its decisive comparisons.")
    used: float | None = Field(
        description="Probability that the forecasts in force use it, from how well it predicted people so "
        "far; null before the first plan that knows of it."
    )
    pairs: int = Field(description="Pairs in which both it and people prefer one of the policies.")
    agreed: int = Field(description="In how many of these both prefer the same policy.")
    low: float = Field(description="Lower end of a 95 % interval of that share.")
    high: float = Field(description="Upper end of it.")

    @classmethod
    def of(cls, standing: SourceStanding) -> SourceShown:
        """One source."""
        return cls(**asdict(standing))
