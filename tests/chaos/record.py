"""What users, operators and the driver of a round saw, for the checker."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.chaos.rounds import Fault

COUNTED = frozenset({"counted", "duplicate"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got: which policies answered, by which gateway, begun when (Unix seconds)."""

    gateway: int
    began: float
    policies: frozenset[str]


@dataclass(slots=True)
class UserReport:
    """One report of a user.

    Attributes:
        id: The answer's.
        preferred: The choice that the user prefers.
        status: What the gateway said: a word, or None if it was refused or did not answer.
        at: When it said so, in Unix seconds.
        status_later: What a gateway said when the same was sent again after the round.
        is_uncertain: Whether that took several attempts, the first of which may have been counted.
    """

    id: str
    preferred: int
    status: str | None
    at: float
    status_later: str | None = None
    is_uncertain: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asked for, and the HTTP status that it came to; None without an answer."""

    verb: str
    reason: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Outage:
    """A fault that had its effect from one moment to another (Unix seconds).

    Attributes:
        gateway: The one whose answers or store are concerned; None if it concerns all of them.
    """

    fault: Fault
    gateway: int | None
    began: float
    ended: float


@dataclass
class RoundRecord:
    """Everything that was seen in a round."""

    name: str
    answers: list[Answer] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    reports: list[UserReport] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    unheard: int = 0  # requests whose answers, if there were any, did not arrive
    holds: int = 0
    recovery_seconds: float = 0.0
