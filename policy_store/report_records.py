"""The frozen records of reports, and the closed sets of what a report may be and come to."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from policy_store.roles import Role


class Receipt(StrEnum):
    """What the store did with a reported outcome."""

    COUNTED = "counted"
    PENDING = "pending"  # waits for the outcome of the other policy of its pair
    HELD = "held"  # counts once its unit has reached the age of `feedback.hold`
    REPLACED = "replaced"  # took the place of what its unit reported before, of which nothing was made yet
    DUPLICATE = "duplicate"


class Precedence(StrEnum):
    """How a report stands to another one of its unit."""

    FIRST = "first"  # the first one stands
    REPLACE = "replace"  # a later one takes the place of an earlier one, of which nothing was made yet
    FOUND = "found"  # the first one stands, and it takes the place of what counts only without a report
    MISSING = "missing"  # it counts only if the unit reports nothing


class MissingVerdict(StrEnum):
    """What a unit comes to that reported nothing, or whose policy gave no answer."""

    LOSS = "loss"  # worse than anything reported, and as bad as another loss
    TIE = "tie"  # as good as anything


class Report(NamedTuple):
    """A unit's report about a pair of policies, without the outcome itself.

    Attributes:
        experiment: Name of the experiment.
        generation: The generation in which the pair was drawn.
        unit: The unit that is counted once: a request or a session.
        first: Index of the pair's first policy, below `second`.
        second: Index of the other one.
        source: The source of the report, for the log.
        fingerprint: Equal for equal feedback, different for contradicting feedback.
        keep_seconds: How long the unit is remembered: at least as long as feedback is accepted.
        voter: Digest of the voter; empty if voters cannot be told apart.
        key: Digest of the API key; empty if there is only one.
        voter_cap: How many votes one voter may give on a pair; 0 for any number.
        voter_cap_per_experiment: How many votes one voter may give in the generation, and in those whose
            evidence it goes on with; 0 for any number.
        key_share: Largest share of the votes on a pair that one key may give, from its eleventh vote on; 1
            for no limit.
        due_at: When the report counts, in Unix seconds by the store's clock; None for at once.
        definition: Fingerprint of the definition under which the pair was drawn; empty if that is not known.
        standing: How it stands to another report of the unit.
        idempotency: Digest of what the sender calls this report; empty if it calls it nothing.
        drawn: How the coin fell that chose the unit's side: its kind and the side, such as `1:0`; reported
            units are counted by it. Empty if that is not known.
        informs: The role in which it only informs forecasts; None if it is evidence. Forecasts must not know
            anything of units whose outcome they count. So either the unit takes part in no comparison that
            is evidence, or `due_at` is when no such comparison of the unit can be counted any more. Each
            role has units, votes and waiting outcomes of its own.
        given_at: When the unit's answer was given, in Unix seconds; 0 if that is not known.
        position: Which policy's answer the user saw first: 0 for `first`, 1 for `second`; None if the user
            saw one answer only.
        served: Digests of the builds of their models that served the policies, as `Comparison.served` has
            them; of an outcome, the one that served its own policy. Empty if none is known.
        segments: The segments of its request, each a path and a value as `Comparison.segments` has them,
            without `;`, `|`, and `=` in a path. Empty if none is known.
    """

    experiment: str
    generation: int
    unit: str
    first: int
    second: int
    source: str
    fingerprint: str
    keep_seconds: int
    voter: str = ""
    key: str = ""
    voter_cap: int = 0
    key_share: float = 1.0
    due_at: float | None = None
    definition: str = ""
    standing: Precedence = Precedence.FIRST
    idempotency: str = ""
    drawn: str = ""
    informs: Role | None = None
    given_at: int = 0
    position: int | None = None
    served: tuple[str, ...] = ()
    voter_cap_per_experiment: int = 0
    segments: tuple[tuple[str, str], ...] = ()

    @property
    def caps(self) -> str:
        """Both caps on the votes of its voter, as scripts and held reports have them."""
        in_all = self.voter_cap_per_experiment
        return f"{self.voter_cap}/{in_all}" if in_all else str(self.voter_cap)


class Recorded(NamedTuple):
    """What the store did with a reported outcome.

    Attributes:
        receipt: What it did.
        comparison: The number of the comparison that the outcome completed; None if it completed none.
    """

    receipt: Receipt
    comparison: int | None = None
