"""What happens to an experiment besides comparisons: the closed set of event kinds, each with its detail.

An event is stored as its kind and a JSON object, in the log of its generation and in the experiment's list of
events, and leaves the gateway in that form. `LoggedEvent.told` is the object as a typed record.

A newer version may write kinds that are not in `EventKind`, and more fields than a record here has. An event
of an unknown kind is kept, shown and exported as it is stored; it has no typed detail, and no state follows
from it. Fields that a record does not have are kept as well, outside the typed detail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, Final


class EventKind(StrEnum):
    """What happened."""

    STARTED = "started"  # a new generation became the current one
    REACTIVATED = "reactivated"  # an earlier generation became the current one again
    INHERITED = "inherited"  # the new generation went on from the one before
    INCUMBENT_CHANGED = "incumbent_changed"  # another policy serves, as the file now says
    RESUMED = "resumed"  # an offline run went on after an interruption
    ELIMINATED = "eliminated"  # a policy's evidence reached the line
    PROMOTED = "promoted"
    SETTLED = "settled"
    NO_WINNER = "no_winner"
    INCONCLUSIVE = "inconclusive"
    CERTIFIED = "certified"  # a candidate awaits a person's approval
    WITHDRAWN = "withdrawn"  # what awaited approval does not hold any more
    PAUSED = "paused"
    UNPAUSED = "unpaused"  # "resumed" is of offline runs
    STOPPED = "stopped"
    APPROVED = "approved"
    REJECTED = "rejected"
    PROMOTED_BY_HAND = "promoted_by_hand"
    ROLLED_BACK = "rolled_back"
    WATCH_STARTED = "watch_started"  # the promoted policy is compared with the one before it
    CONFIRMED = "confirmed"  # a watch ended, and the promotion stands


@dataclass(frozen=True, slots=True)
class Begun:
    """A generation became the current one. An offline run, which has one generation only, leaves it out."""

    generation: int | None = None


@dataclass(frozen=True, slots=True)
class WentOn:
    """A generation went on from another one with so many of its comparisons."""

    comparisons: int
    from_generation: int
    generation: int


@dataclass(frozen=True, slots=True)
class IncumbentChanged:
    """The policy with that index serves in the generation from now on, without a decision.

    Gateways tell its name instead.
    """

    policy: int | str
    generation: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """An offline run went on after an interruption, with so many comparisons counted."""

    comparisons: int


@dataclass(frozen=True, slots=True)
class Eliminated:
    """The comparison with that number brought the evidence against a policy to the line.

    `policy` is its index; gateways tell its name instead.
    """

    comparison: int
    generation: int
    policy: int | str


@dataclass(frozen=True, slots=True)
class Decided:
    """The planner decided on a generation.

    Attributes:
        champion: Index of the certified policy, or None; an offline run writes its name, gateways tell it.
        fence: The deciding planner's fencing number. An offline run has none, and one generation only.
        generation: The generation decided on.
    """

    champion: int | str | None
    fence: int | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class ByHand:
    """A person moved the experiment.

    Attributes:
        actor: Name of the person's API key; `open` where none is needed. `configuration` where a pause went
            on in another generation.
        reason: The person's words.
        before: State of the experiment before.
        after: State after.
        incumbent_before: Index of the policy that answered ordinary traffic before; gateways tell its name.
        incumbent: Index of the policy that does now; gateways tell its name.
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
class TakenBack(ByHand):
    """A person or a watch took a promotion back.

    Attributes:
        fence: The fencing number of the planner that saw it, if a watch did; then `actor` is `gateway`, and
            the reason is the watch's.
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


Detail = WatchStarted | Begun | WentOn | IncumbentChanged | Resumed | Eliminated | Decided | ByHand

DETAILS: Final[Mapping[str, type[Detail]]] = {
    EventKind.STARTED: Begun,
    EventKind.REACTIVATED: Begun,
    EventKind.INHERITED: WentOn,
    EventKind.INCUMBENT_CHANGED: IncumbentChanged,
    EventKind.RESUMED: Resumed,
    EventKind.ELIMINATED: Eliminated,
    EventKind.PROMOTED: Decided,
    EventKind.SETTLED: Decided,
    EventKind.NO_WINNER: Decided,
    EventKind.INCONCLUSIVE: Decided,
    EventKind.CERTIFIED: Decided,
    EventKind.WITHDRAWN: Decided,
    EventKind.PAUSED: ByHand,
    EventKind.UNPAUSED: ByHand,
    EventKind.STOPPED: ByHand,
    EventKind.APPROVED: ByHand,
    EventKind.REJECTED: ByHand,
    EventKind.PROMOTED_BY_HAND: ByHand,
    EventKind.ROLLED_BACK: TakenBack,
    EventKind.WATCH_STARTED: WatchStarted,
    EventKind.CONFIRMED: Decided,
}


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event as it is stored; `at` is Unix seconds."""

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
        """The typed detail; None where a newer version wrote a kind or a form this one does not know."""
        return decoded(self.kind, self.detail)


@dataclass(frozen=True, slots=True)
class PlacedEvent:
    """An event with its place among all of its experiment.

    Attributes:
        id: No other event has it; with later events it grows, as `entry` does.
        entry: Where it stands in the stream, as the server names it.
        event: What happened.
    """

    id: str
    entry: str
    event: LoggedEvent


def encoded(detail: Detail) -> dict[str, Any]:
    """The JSON object of a detail. Optional fields without a value are left out."""
    values = ((field, getattr(detail, field.name)) for field in fields(detail))
    return {field.name: value for field, value in values if value is not None or field.default is MISSING}


def decoded(kind: str, detail: Mapping[str, Any]) -> Detail | None:
    """Inverse of `encoded`; None for what this version does not know."""
    form = DETAILS.get(kind)
    if form is None:
        return None
    known = {field.name: detail[field.name] for field in fields(form) if field.name in detail}
    try:
        return form(**known)
    except TypeError:  # a field is missing
        return None
