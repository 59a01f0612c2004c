"""What a backup holds, and which keys belong into it.

An experiment's keys are of two sorts. Those that decide (definition, counts, plan, log, what waits) are read
at one moment. Marks (what a unit reported, where a session began ...) are read after that moment, so a mark
may be newer than the counts: then a report counted in between is lost with the rest of what came after the
backup, and is not counted by a repetition. None is ever counted twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from policy_store.names import ExperimentKeys, GenerationKeys
from policy_store.roles import Role

DECIDES: Final = re.compile(
    rf"control|events|usage|contents|archived|judging|\d+:(({'|'.join(Role)}):)?"
    r"(counts|forecasts|log|guards|segments|votes|waiting|held|replaceable|queue:\d+:\d+:[01])"
)
"""Ends of the keys that decide."""
LEFT_OUT: Final = re.compile(r"lease|restore:.*|\d+:look")
"""Ends of keys that mean nothing after a restore, or that no file may hold: the secret of a last look."""
SHARED: Final = re.compile(
    r"token_key|answer:.*|\{api-keys\}:.*|\{webhook:[^}]*\}:(control|messages|due|dead)"
)
"""Keys that belong to no experiment, without the root."""
_POLICIES: Final = re.compile(r"(\d+):policies")


@dataclass(frozen=True, slots=True)
class KeyPart:
    """A key, or a part of a large one; later parts of the same key continue it.

    Attributes:
        of: Name of the experiment; None for a key that belongs to none.
        name: The rest of the key: what follows an experiment's hash tag, or the root.
        kind: The server's word for its data type.
        expires_at_ms: When it expires, in Unix milliseconds; None for never.
        items: A text; fields and values of a hash; elements of a list; members and scores of a sorted set; of
            each entry of a stream its id, the number of words that follow, and these.
    """

    of: str | None
    name: str
    kind: str
    expires_at_ms: int | None
    items: tuple[str, ...]

    @property
    def decides(self) -> bool:
        """Whether it takes effect together with the others of its experiment."""
        return self.of is not None and (
            self.expires_at_ms is None or DECIDES.fullmatch(self.name) is not None
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """The moment at which an experiment was read.

    Attributes:
        name: The experiment.
        at: Unix seconds by the store's clock.
        generation: Number of its current generation.
        revision: Its revision.
        comparisons: How many comparisons that generation had counted.
    """

    name: str
    at: float
    generation: int
    revision: int
    comparisons: int


def deciding_keys(keys: ExperimentKeys, control: Mapping[str, str]) -> list[str]:
    """The keys that decide, of every generation and watch; control is the first."""
    found = [keys.control, keys.events, keys.usage, keys.contents, keys.archived, keys.judging]
    for own, policies in ledgers(keys, control):
        found += [own.counts, own.forecasts, own.log, own.guards, own.segments]
        found += [own.waiting, own.held, own.replaceable]
        for pair in combinations(range(policies), 2):
            found += own.queues(*pair)
    return found


def ledgers(keys: ExperimentKeys, control: Mapping[str, str]) -> Iterator[tuple[GenerationKeys, int]]:
    """The keys of each generation, each watch and what only informs them, with the number of policies."""
    for field, policies in control.items():
        if (match := _POLICIES.fullmatch(field)) is not None:
            for informs in (None, *Role):
                yield keys.generation(int(match[1]), informs), int(policies)
