"""Wire models of what comparisons say by segment, in `/v1/experiments/{name}`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, Field

from gateway.experiments.segments import OURS
from gateway.experiments.source_standing import share_interval
from policy_store.counts import Results, SegmentCounts, Segments


class SegmentPairShown(BaseModel):
    """The comparisons of two policies in a segment."""

    policy: str = Field(description="The leader if it is one of the two.")
    rival: str
    wins: int = Field(description="How often `policy` was preferred.")
    losses: int = Field(description="How often `rival` was preferred.")
    ties: int
    win_rate: float | None = Field(description="Share of decisive comparisons won; null without any.")
    low: float = Field(description="Lower end of its 95 % interval (Wilson's), for one look at one segment.")
    high: float = Field(description="Upper end of it.")
    prefers: str | None = Field(
        description="The policy that the segment prefers, if one half is outside the interval."
    )

    @classmethod
    def of(cls, policy: str, rival: str, said: Results) -> SegmentPairShown:
        """A pair, seen from `policy`."""
        decisive = said.wins + said.losses
        low, high = share_interval(said.wins, decisive)
        return cls(
            policy=policy,
            rival=rival,
            **said._asdict(),
            win_rate=said.wins / decisive if decisive else None,
            low=low,
            high=high,
            prefers=policy if low > 1 / 2 else rival if high < 1 / 2 else None,
        )


class SegmentShown(BaseModel):
    """The comparisons of one segment; they decide nothing by themselves."""

    path: str = Field(description="A path of the experiment's `segments`.")
    value: str = Field(
        description="The value in the requests; `(none)` where there was none, `(other)` for values that are "
        "not counted by themselves, `(mixed)` where the two answers were given to different ones."
    )
    comparisons: int = Field(description="Without inherited ones.")
    pairs: list[SegmentPairShown] = Field(description="The pairs compared, the most compared ones first.")

    @classmethod
    def each(cls, segments: Segments, policies: Sequence[str], leader: int | None) -> list[SegmentShown]:
        """All segments in which comparisons were counted, by path, the largest first."""
        found = [
            cls(
                path=path,
                value=value,
                comparisons=sum(map(sum, pairs.values())),
                pairs=list(_pairs(pairs, policies, leader)),
            )
            for (path, value), pairs in segments.items()
        ]
        return sorted(found, key=lambda each: (each.path, each.value in OURS, -each.comparisons, each.value))


def _pairs(pairs: SegmentCounts, policies: Sequence[str], leader: int | None) -> Iterator[SegmentPairShown]:
    for (first, second), said in sorted(pairs.items(), key=lambda each: (-sum(each[1]), each[0])):
        if second == leader:
            yield SegmentPairShown.of(
                policies[second], policies[first], Results(said.losses, said.wins, said.ties)
            )
        else:
            yield SegmentPairShown.of(policies[first], policies[second], said)
