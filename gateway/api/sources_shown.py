"""Wire models of what comparisons rest on, in `/v1/experiments/{name}`: sources that inform, and builds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import BaseModel, Field

from gateway.experiments.found_signals import SignalAgreement
from gateway.experiments.source_standing import SourceStanding
from policy_store.counts import Counts


class SourceShown(BaseModel):
    """A source whose comparisons inform forecasts and are no evidence."""

    name: str = Field(
        description="`explicit`, `implicit` or `judge`: comparisons in that role; `run`: an offline run; "
        "`earlier`: what the generation before counted as evidence, and is none any more."
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
    gained_nats: float | None = Field(
        description="How many nats better people's comparisons were predicted with it than without it; about "
        "as much of the evidence is due to it. Below 0 for one that misleads; null like `used`."
    )

    @classmethod
    def of(cls, standing: SourceStanding) -> SourceShown:
        """One source."""
        return cls(**asdict(standing))


class BuildsShown(BaseModel):
    """The builds of its model that served a policy, by what its provider named in the answers."""

    policy: str
    comparisons: int = Field(description="Comparisons of this generation whose answer named a build.")
    by_build: dict[str, int] = Field(
        description="How many, by a keyed digest of the model and the `system_fingerprint`; of 32 builds at "
        "most."
    )
    different: int = Field(description="How many builds there are.")
    changes: int = Field(
        description="How often one appeared after those before it had served 20 comparisons each on average."
    )
    changed_at: int | None = Field(description="The comparison at which one last did; null for never.")

    @classmethod
    def each(cls, counts: Counts, policies: Sequence[str]) -> list[BuildsShown]:
        """Those of every policy whose provider named any."""
        return [cls(policy=policies[policy], **asdict(served)) for policy, served in counts.builds.items()]


class SignalShown(BaseModel):
    """A signal that the gateway finds, beside users' ratings of the same answers."""

    signal: str = Field(description="`continued`, `reasked`, `corrected` or `abandoned`.")
    weight: float = Field(description="Its weight; above 0 it speaks for an answer, below 0 against it.")
    rated: int = Field(description="Answers of which it was found and that a user rated good or bad.")
    agreed: int = Field(description="How many of these ratings have the sign of the weight.")
    low: float = Field(description="Lower end of a 95 % interval of that share.")
    high: float = Field(description="Upper end of it.")
    chance: float | None = Field(
        description="The share of all rated answers with such a rating, which a signal that knows nothing "
        "agrees with; null without ratings."
    )
    below_chance: bool = Field(description="Whether the whole interval is below chance.")

    @classmethod
    def of(cls, agreement: SignalAgreement) -> SignalShown:
        """One signal."""
        return cls(**asdict(agreement), below_chance=agreement.is_below_chance)
