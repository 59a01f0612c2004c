"""The frozen records of guardrails: what was counted, and which policies they found worse.

Policies are known by the fingerprint of their content, so a finding follows a policy from one generation to
the next, and a changed policy starts without any.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Self


class Deed(StrEnum):
    """What was done when a guardrail found a policy worse."""

    EJECTED = "ejected"  # it is drawn no more
    PAUSED = "paused"  # the experiment waits for a person
    ASKED = "asked"  # a person is asked, and the experiment waits where it can
    TAKEN_BACK = "taken_back"  # its promotion was taken back
    NOTED = "noted"  # nothing yet: it only may not be promoted


@dataclass(frozen=True, slots=True)
class Trip:
    """A guardrail that found a policy worse.

    Attributes:
        guardrail: The name of the guardrail.
        policy: Fingerprint of the policy.
        did: What was done.
        count: Which count of the policy the finding is from, as `GuardStanding.counts` has it.
    """

    guardrail: str
    policy: str
    did: Deed
    count: int


@dataclass(frozen=True, slots=True)
class GuardStanding:
    """Which policies guardrails found worse, until a person decides otherwise.

    Attributes:
        trips: The findings in force, oldest first.
        counts: How often counting began anew for a policy, by fingerprint; 0 for all others.
    """

    trips: tuple[Trip, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)

    def count_of(self, policy: str) -> int:
        """The number of the present count of a policy."""
        return self.counts.get(policy, 0)

    @property
    def ejected(self) -> frozenset[str]:
        """Fingerprints of policies that are drawn no more."""
        return frozenset(trip.policy for trip in self.trips if trip.did is Deed.EJECTED)

    def of(self, policy: str) -> tuple[Trip, ...]:
        """The findings against a policy. While there are any, it is not promoted."""
        return tuple(trip for trip in self.trips if trip.policy == policy)

    def has_tripped(self, guardrail: str, policy: str) -> bool:
        """Whether a guardrail found a policy worse in its present count."""
        now = self.count_of(policy)
        return any(trip.guardrail == guardrail and trip.count == now for trip in self.of(policy))

    def with_trip(self, trip: Trip) -> Self:
        """With one more finding, instead of an earlier one of the same guardrail."""
        others = (
            each for each in self.trips if (each.guardrail, each.policy) != (trip.guardrail, trip.policy)
        )
        return replace(self, trips=(*others, trip))

    def without(self, policy: str) -> Self:
        """With no finding against a policy; counting begins anew for it."""
        return self._anew([policy], [trip for trip in self.trips if trip.policy != policy])

    def resumed(self) -> Self:
        """After a person resumed the experiment.

        Counting begins anew for the policies on whose account it waited. What was asked is answered; a
        policy that paused the experiment stays without promotion.
        """
        waited = [trip.policy for trip in self.trips if trip.did in (Deed.PAUSED, Deed.ASKED)]
        return self._anew(waited, [trip for trip in self.trips if trip.did is not Deed.ASKED])

    def _anew(self, policies: Iterable[str], trips: Iterable[Trip]) -> Self:
        begun = {policy: self.count_of(policy) + 1 for policy in policies}
        return replace(self, trips=tuple(trips), counts={**self.counts, **begun})

    def to_text(self) -> str:
        """Canonical JSON; empty if nothing was ever found."""
        if self == GuardStanding():
            return ""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str | None) -> Self:
        """Inverse of `to_text`."""
        if not text:
            return cls()
        said = json.loads(text)
        trips = tuple(Trip(**{**each, "did": Deed(each["did"])}) for each in said["trips"])
        return cls(trips, said["counts"])


@dataclass(frozen=True, slots=True)
class CountedFor:
    """What a count of pairs belongs to.

    Attributes:
        guardrail: Identifies the guardrail and what fixes the meaning of its numbers.
        policy: Beginning of the fingerprint of the policy.
        reference: Beginning of the fingerprint of the policy that it is compared with.
        count: Which count of the policy, as `GuardStanding.counts` has it.
    """

    guardrail: str
    policy: str
    reference: str
    count: int

    @property
    def label(self) -> str:
        """The beginning of its fields."""
        return f"{self.guardrail}:{self.policy}:{self.reference}:{self.count}"


PairCounts = dict[tuple[int, int], int]
"""How often two numbers made a pair: the policy's, and that of the one it is compared with."""


@dataclass(frozen=True, slots=True)
class GuardCounts:
    """The pairs counted for one policy and guardrail.

    Attributes:
        pairs: All of them.
        hours: Those of single hours since the Unix epoch, by the store's clock; only the latest are kept.
        first_hour: The hour in which counting began; None before.
    """

    pairs: PairCounts = field(default_factory=dict)
    hours: dict[int, PairCounts] = field(default_factory=dict)
    first_hour: int | None = None
