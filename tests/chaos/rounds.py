"""What goes wrong in a round: drawn from a seed, so that a round can be run again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

GATEWAYS: Final = 3
LASTS_SECONDS: Final = 2.5
"""How long users are at work in a round."""
_BEGINS_SECONDS: Final = (0.1, 1.6)
_MOST_FAULTS: Final = 3
_STEERED: Final = 0.4


class Fault(StrEnum):
    """What can go wrong."""

    GATEWAY_KILLED = "gateway killed"
    PLANNER_KILLED = "planner killed"
    PLANNER_FROZEN = "planner frozen past its lease"
    STORE_KILLED = "store killed"
    STORE_FROZEN = "store frozen"
    LINK_SLOW = "link slow"
    LINK_SILENT = "link silent"
    LINK_DEAF = "answers of the store lost"
    LINK_CUT = "link cut"
    PRIMARY_KILLED = "primary killed"
    PRIMARY_FROZEN = "primary frozen"
    FAILOVER = "failover asked for"


LASTS: Final[Mapping[Fault, tuple[float, float]]] = {
    Fault.GATEWAY_KILLED: (0.0, 0.5),
    Fault.PLANNER_KILLED: (0.0, 0.5),
    Fault.PLANNER_FROZEN: (1.2, 2.0),  # longer than a lease
    Fault.STORE_KILLED: (0.0, 0.8),
    Fault.STORE_FROZEN: (0.1, 1.2),
    Fault.LINK_SLOW: (0.3, 1.5),
    Fault.LINK_SILENT: (0.2, 1.5),
    Fault.LINK_DEAF: (0.1, 1.0),
    Fault.LINK_CUT: (0.1, 1.0),
    Fault.PRIMARY_KILLED: (4.0, 4.0),  # until its replica has taken over
    Fault.PRIMARY_FROZEN: (4.0, 4.0),
    Fault.FAILOVER: (0.0, 0.0),
}
"""How long each lasts, in seconds, from and to."""

_OF_GATEWAYS: Final = (Fault.GATEWAY_KILLED, Fault.PLANNER_KILLED, Fault.PLANNER_FROZEN)
FAULTS: Final[Mapping[str, tuple[Fault, ...]]] = {
    "redis": (
        *_OF_GATEWAYS,
        Fault.STORE_KILLED,
        Fault.STORE_FROZEN,
        Fault.LINK_SLOW,
        Fault.LINK_SILENT,
        Fault.LINK_DEAF,
        Fault.LINK_CUT,
    ),
    "sentinel": (*_OF_GATEWAYS, Fault.PRIMARY_KILLED, Fault.PRIMARY_FROZEN, Fault.FAILOVER),
}
"""What goes wrong with each kind of store."""

_CHANGES_THE_PRIMARY: Final = {Fault.PRIMARY_KILLED, Fault.PRIMARY_FROZEN, Fault.FAILOVER}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that goes wrong in a round.

    Attributes:
        fault: What it is.
        begins: Seconds after the round began.
        lasts: For how many seconds.
        gateway: Which gateway, or whose link, where the fault has one.
    """

    fault: Fault
    begins: float
    lasts: float
    gateway: int


@dataclass(frozen=True, slots=True)
class Round:
    """A round.

    Attributes:
        seed: It follows from the seed.
        events: What goes wrong, in the order of time.
        undecided_seconds: How long users prefer either policy, before all of them prefer the same one.
        is_steered: Whether operators pause, promote and roll back meanwhile.
    """

    seed: int
    events: tuple[Event, ...]
    undecided_seconds: float
    is_steered: bool


def round_of(seed: int, store: str) -> Round:
    """The round of a seed, for one of the kinds of store in `FAULTS`."""
    rng = random.Random(f"{store} {seed}")
    drawn = rng.sample(FAULTS[store], rng.randint(1, _MOST_FAULTS))
    primary = [fault for fault in drawn if fault in _CHANGES_THE_PRIMARY]
    kept = [fault for fault in drawn if fault not in primary[1:]]  # one failover in a round
    events = (
        Event(fault, rng.uniform(*_BEGINS_SECONDS), rng.uniform(*LASTS[fault]), rng.randrange(GATEWAYS))
        for fault in kept
    )
    return Round(
        seed,
        tuple(sorted(events, key=lambda event: event.begins)),
        undecided_seconds=rng.uniform(0.0, 0.6),
        is_steered=rng.random() < _STEERED,
    )
