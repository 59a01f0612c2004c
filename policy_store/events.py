"""The closed set of events of an experiment (other than comparisons), each with its detail.

An event is stored and exported as its kind and a JSON object. `LoggedEvent.told` is the object as a record.

A newer version may write other kinds, and more fields than a record here has. An event of an unknown kind is
kept, shown and exported unchanged, without a typed detail; no state follows from it. Such fields are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from policy_store.guard_events import GuardrailTripped, Readmitted
from policy_store.report_events import Corrected, ServedChanged


class EventKind(StrEnum):
    """The kind of an event."""

    STARTED = "started"  # a new generation became the current one
    REACTIVATED = "reactivated"  # an earlier generation became the current one again
    INHERITED = "inherited"  # the new generation continued from the one before
    INCUMBENT_CHANGED = "incumbent_changed"  # another policy serves, because the file names it
    RESUMED = "resumed"  # an offline run continued after an interruption
    LOOK_COMMITTED = "look_committed"  # the number of the last look is fixed from now on
    LOOK_REVEALED = "look_revealed"  # the budget is spent, and the number known
    ELIMINATED = "eliminated"  # a policy's evidence reached the line
    CORRECTED = "corrected"  # a later word took the place of an earlier one; in the log only
    PROMOTED = "promoted"
    SETTLED = "settled"
    NO_WINNER = "no_winner"
    INCONCLUSIVE = "inconclusive"
    GAVE_UP = "gave_up"  # a candidate failed on most of the requests it was asked
    CERTIFIED = "certified"  # a candidate waits for approval
    STAGED = "staged"  # a certified candidate begins to answer a share of ordinary traffic
    ADVANCED = "advanced"  # it answers a larger share
    STEP_APPROVED = "step_approved"  # it answers a larger share, because a person approved
    WITHDRAWN = "withdrawn"  # the certificate that waited for approval no longer holds
    PAUSED = "paused"
    UNPAUSED = "unpaused"  # "resumed" is used for offline runs
    STOPPED = "stopped"
    APPROVED = "approved"
    REJECTED = "rejected"
    PROMOTED_BY_HAND = "promoted_by_hand"
    ROLLED_BACK = "rolled_back"
    WATCH_STARTED = "watch_started"  # the promoted policy is compared with the one before it
    CONFIRMED = "confirmed"  # a watch ended, and the promotion stands
    RESTORED = "restored"  # the experiment is as a backup had it
    GUARDRAIL_TRIPPED = "guardrail_tripped"  # a guardrail found a policy worse than the incumbent
    READMITTED = "readmitted"  # a person admits such a policy again
    SERVED_CHANGED = "served_changed"  # another build of its model serves a policy


LOG_ONLY: Final = frozenset({EventKind.CORRECTED, EventKind.RESUMED})
"""Events that only a log has: gateways neither list nor deliver them."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A generation became the current one. An offline run has only one generation and leaves it out."""

    generation: int | None = None


@dataclass(frozen=True, slots=True)
class WentOn:
    """A generation continued from another one and inherited this many comparisons."""

    comparisons: int
    from_generation: int
    generation: int


@dataclass(frozen=True, slots=True)
class IncumbentChanged:
    """The policy with this index serves in the generation from now on, without a decision.

    Gateways show its name instead.
    """

    policy: int | str
    generation: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """An offline run continued after an interruption, with this many comparisons counted."""

    comparisons: int


@dataclass(frozen=True, slots=True)
class LookCommitted:
    """The number of the generation's last look is fixed: that of the secret whose SHA-256 this is, in hex."""

    commitment: str
    generation: int


@dataclass(frozen=True, slots=True)
class LookRevealed:
    """The budget was spent without a decision after this many comparisons, and nothing more is counted.

    Attributes:
        comparisons: How many were counted.
        secret: The secret of the last look in hex; empty if the store lost it, and then there is no look.
        fence: The fencing number of the planner that revealed it.
        generation: The generation.
    """

    comparisons: int
    secret: str
    fence: int
    generation: int


@dataclass(frozen=True, slots=True)
class Eliminated:
    """The comparison with this number brought the evidence against a policy to the line.

    `policy` is its index; gateways show its name instead.
    """

    comparison: int
    generation: int
    policy: int | str


@dataclass(frozen=True, slots=True)
class Decided:
    """The planner decided on a generation.

    Attributes:
        champion: Index of the certified policy, or None; offline runs write its name, and gateways show it.
        fence: The deciding planner's fencing number; offline runs have none.
        generation: The generation decided on; offline runs have only one.
    """

    champion: int | str | None
    fence: int | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class GaveUp(Decided):
    """The planner ended an experiment because a candidate fails.

    Attributes:
        policy: Index of the candidate; gateways show its name.
        asked: How many requests it was asked.
        failed: On how many of them it failed.
    """

    policy: int | str | None = None
    asked: int | None = None
    failed: int | None = None


@dataclass(frozen=True, slots=True)
class ByHand:
    """A person moved the experiment.

    Attributes:
        actor: Name of the person's API key; `open` if none is needed. `configuration` if a pause was carried
            over to another generation.
        reason: The person's words.
        before: State of the experiment before.
        after: State after.
        incumbent_before: Index of the policy that answered ordinary traffic before; gateways show its name.
        incumbent: Index of the policy that answers it now; gateways show its name.
        generation: The generation that was moved.
    """

    actor: str
    reason: str
    before: str
    after: str
    incumbent_before: int | str
    incumbent: int | str
    generation: int


@dataclass(frozen=True, slots=True)
class Stepped(Decided):
    """The planner let a certified policy answer a share of ordinary traffic.

    Attributes:
        step: Which step of the staged promotion that is, from 1.
        share: The share.
    """

    step: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class StepApproved(ByHand):
    """A person let a certified policy answer a larger share of ordinary traffic.

    Attributes:
        step: Which step of the staged promotion that is, from 1.
        share: The share.
    """

    step: int | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class TakenBack(ByHand):
    """A person, a watch or a guardrail gave all traffic back to the incumbent.

    Attributes:
        fence: The planner's number if a watch (`actor`: `gateway`) or a guardrail (`guardrail`) did it.
    """

    fence: int | None = None


@dataclass(frozen=True, slots=True)
class AnsweredByHand(ByHand):
    """A person or the confirm hook answered for a certified policy.

    Attributes:
        fence: The fencing number of the planner that asked, if the hook answered (`actor`: `confirm hook`).
    """

    fence: int | None = None


@dataclass(frozen=True, slots=True)
class WatchStarted:
    """A promotion is watched from now on.

    Attributes:
        champion: Index of the policy promoted; gateways tell its name.
        previous: Index of the policy it replaced; gateways tell its name.
        run: Number under which comparisons of the two are counted.
        share: Share of the units for which they are compared.
        level: Largest probability of taking the promotion back although the champion is no worse.
        margin: How much less often than one half the champion may be preferred.
        seconds: How long the watch lasts at most, or None.
        comparisons: After how many comparisons it ends, or None.
        fence: The fencing number of the planner that began it.
        generation: The generation whose promotion is watched.
    """

    champion: int | str
    previous: int | str
    run: int
    share: float
    level: float
    margin: float
    seconds: float | None
    comparisons: int | None
    fence: int
    generation: int


@dataclass(frozen=True, slots=True)
class Restored:
    """A person put the experiment back to what a backup has; what was counted since is no longer there.

    Attributes:
        actor: Name of the person's account on the machine where the command ran.
        reason: The person's words.
        made_at: When the backup was made, in Unix seconds by the clock of the store it was made of.
        comparisons: Comparisons of the current generation, in the backup.
        comparisons_before: Comparisons of the generation that was current in the store; None if the store did
            not have the experiment.
        generation: The generation that is current now.
    """

    actor: str
    reason: str
    made_at: float
    comparisons: int
    generation: int
    comparisons_before: int | None = None


Detail = (
    GuardrailTripped
    | Readmitted
    | ServedChanged
    | WatchStarted
    | Restored
    | Begun
    | Corrected
    | WentOn
    | IncumbentChanged
    | Resumed
    | LookCommitted
    | LookRevealed
    | Eliminated
    | Decided
    | ByHand
)

DETAILS: Final[Mapping[str, type[Detail]]] = {
    EventKind.STARTED: Begun,
    EventKind.REACTIVATED: Begun,
    EventKind.INHERITED: WentOn,
    EventKind.INCUMBENT_CHANGED: IncumbentChanged,
    EventKind.RESUMED: Resumed,
    EventKind.LOOK_COMMITTED: LookCommitted,
    EventKind.LOOK_REVEALED: LookRevealed,
    EventKind.ELIMINATED: Eliminated,
    EventKind.CORRECTED: Corrected,
    EventKind.PROMOTED: Decided,
    EventKind.SETTLED: Decided,
    EventKind.NO_WINNER: Decided,
    EventKind.INCONCLUSIVE: Decided,
    EventKind.GAVE_UP: GaveUp,
    EventKind.CERTIFIED: Decided,
    EventKind.STAGED: Stepped,
    EventKind.ADVANCED: Stepped,
    EventKind.STEP_APPROVED: StepApproved,
    EventKind.WITHDRAWN: Decided,
    EventKind.PAUSED: TakenBack,
    EventKind.UNPAUSED: ByHand,
    EventKind.STOPPED: ByHand,
    EventKind.APPROVED: AnsweredByHand,
    EventKind.REJECTED: AnsweredByHand,
    EventKind.PROMOTED_BY_HAND: ByHand,
    EventKind.ROLLED_BACK: TakenBack,
    EventKind.WATCH_STARTED: WatchStarted,
    EventKind.CONFIRMED: Decided,
    EventKind.RESTORED: Restored,
    EventKind.GUARDRAIL_TRIPPED: GuardrailTripped,
    EventKind.READMITTED: Readmitted,
    EventKind.SERVED_CHANGED: ServedChanged,
}


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """A stored event; `at` is in Unix seconds."""

    at: float
    kind: str
    detail: dict[str, Any]

    @classmethod
    def of(cls, at: float, kind: EventKind, detail: Detail) -> LoggedEvent:
        """An event to write.

        Raises:
            TypeError: The detail belongs to another kind.
        """
        if not isinstance(detail, DETAILS[kind]):
            raise TypeError(f"{kind} has a detail of {DETAILS[kind].__name__}, not {type(detail).__name__}.")
        return cls(at, kind.value, encoded(detail))

    @property
    def told(self) -> Detail | None:
        """The typed detail; None if a newer version wrote a kind or form that this one does not know."""
        return decoded(self.kind, self.detail)


@dataclass(frozen=True, slots=True)
class PlacedEvent:
    """An event with its place among all events of its experiment.

    Attributes:
        id: A unique id, which grows with later events like `entry`.
        entry: The server's id of the entry in the stream.
        event: The event.
    """

    id: str
    entry: str
    event: LoggedEvent


def encoded(detail: Detail) -> dict[str, Any]:
    """The JSON object of a detail. Optional fields without a value are left out."""
    values = ((field, getattr(detail, field.name)) for field in fields(detail))
    return {field.name: value for field, value in values if value is not None or field.default is MISSING}


def decoded(kind: str, detail: Mapping[str, Any]) -> Detail | None:
    """The detail in a JSON object, the inverse of `encoded`; None if this version does not know it."""
    form = DETAILS.get(kind)
    if form is None:
        return None
    known = {field.name: detail[field.name] for field in fields(form) if field.name in detail}
    try:
        return form(**known)
    except TypeError:  # a field is missing
        return None
