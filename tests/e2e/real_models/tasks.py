"""The items users ask about, and the rule by which they mark an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).with_name("data")


@dataclass(frozen=True, slots=True)
class Item:
    """One question with the answers that are right."""

    text: str
    right: frozenset[str]


@dataclass(frozen=True, slots=True)
class Task:
    """A list of items and how to find the answer proper in what a model said.

    Attributes:
        items: All items, in the order of the file.
        answer_in: Gives the answer in a reply, or "" where there is none.
        choices: How many answers users ask for at once.
    """

    items: tuple[Item, ...]
    answer_in: Callable[[str], str]
    choices: int = 1

    def is_right(self, item: Item, reply: str) -> bool:
        """Whether `reply` answers `item` rightly."""
        return self.answer_in(reply) in item.right


def last_number(reply: str) -> str:
    """The last whole number in the reply: a worked sum ends in its result."""
    numbers: list[str] = re.findall(r"\d+", reply)
    return numbers[-1] if numbers else ""


def last_letter(reply: str) -> str:
    """The last word of the reply, in lower case, where that is a single letter."""
    words: list[str] = re.findall(r"\w+", reply)
    return words[-1].lower() if words and len(words[-1]) == 1 else ""


def _items(name: str) -> tuple[Item, ...]:
    records = map(json.loads, (DATA / f"{name}.jsonl").read_text().splitlines())
    return tuple(Item(record["input"], frozenset(record["outputs"])) for record in records)


# By experiment, and so by what clients send as `model`.
TASKS = {
    "add-two-numbers": Task(_items("sum"), last_number),
    "second-letter": Task(_items("second_word_letter"), last_letter, choices=2),
}
