"""The simulated part of the demo: the answers of models and the tastes of users.

A model's answer shows a trait (numbered steps, exact amounts, ...) with a probability that depends on the
model and its system prompt. A user sees only the text, finds traits in it, and prefers the answer with the
better rubric score, with human noise. Both sides are known exactly, so `preference_matrix` gives the true
preferences that the gateway has to discover.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Trait:
    """Something a reader can see in an answer.

    Attributes:
        name: Its name in the demo.
        asked_by: Pattern that asks for it in a system prompt.
        seen_in: Pattern that shows it in an answer.
        worth: Its contribution to an answer's rubric score, in logits of being preferred.
    """

    name: str
    asked_by: re.Pattern[str]
    seen_in: re.Pattern[str]
    worth: float


KIND: Final = Trait("kind", re.compile("warm", re.IGNORECASE), re.compile(r"\A(Thanks|Sorry|Happy)\b"), 0.5)
STEPS: Final = Trait("steps", re.compile("steps", re.IGNORECASE), re.compile(r"^1\. ", re.MULTILINE), 0.9)
EXACT: Final = Trait(
    "exact", re.compile("exact", re.IGNORECASE), re.compile(r"\d (ml|minutes|seconds|°C|bar)\b"), 0.9
)
CHECK: Final = Trait("check", re.compile("whether it worked", re.IGNORECASE), re.compile(r"\?\s*\Z"), 0.6)
EVASIVE: Final = Trait("evasive", re.compile("brief", re.IGNORECASE), re.compile(r"consult the manual"), -0.9)
TRAITS: Final = (KIND, STEPS, EXACT, CHECK, EVASIVE)

# How often each simulated model shows a trait without being asked, and how often it follows its prompt.
UNASKED: Final[Mapping[str, Mapping[str, float]]] = {
    "sim-small": {"kind": 0.25, "steps": 0.15, "exact": 0.20, "check": 0.10, "evasive": 0.35},
    "sim-large": {"kind": 0.35, "steps": 0.35, "exact": 0.50, "check": 0.20, "evasive": 0.10},
}
OBEDIENCE: Final[Mapping[str, float]] = {"sim-small": 0.85, "sim-large": 0.92}
MODELS: Final = tuple(UNASKED)

# Users call half of the pairs they find equally good a tie, and toss a coin for the others.
TIE_WHEN_EQUAL: Final = 0.5
EQUAL_WITHIN: Final = 0.05
# A single answer this good gets a thumb up half of the time.
THUMB_MIDPOINT: Final = 0.6


@dataclass(frozen=True, slots=True)
class Topic:
    """A kind of question, with the actions that answer it in vague and in exact words of equal length."""

    question: str
    vague: tuple[str, ...]
    exact: tuple[str, ...]

    def is_of(self, question: str) -> bool:
        """Whether a question is of this kind."""
        before, after = self.question.split("{machine}")
        return before in question and after in question


TOPICS: Final = (
    Topic(
        "How do I descale my {machine}?",
        ("Fill the tank with descaler", "Run it through the machine", "Rinse with clean water"),
        (
            "Fill the tank with 100 ml of descaler and 500 ml of water",
            "Run it through and let it stand for 20 minutes",
            "Rinse with two tanks of clean water",
        ),
    ),
    Topic(
        "My {machine} keeps dripping after it has brewed. What can I do?",
        ("Clean the outlet", "Check the seal", "Run a rinse"),
        (
            "Wipe the outlet and soak it in warm water for 10 minutes",
            "Press the seal in until it clicks",
            "Run a rinse of 200 ml and watch the outlet",
        ),
    ),
    Topic(
        "The coffee from my {machine} is not hot. Why?",
        ("Warm up the machine first", "Warm the cup", "Raise the temperature in the menu"),
        (
            "Let the machine warm up for 5 minutes",
            "Rinse the cup with hot water for 10 seconds",
            "Set the brewing temperature to 94 °C in the menu",
        ),
    ),
    Topic(
        "My {machine} says 'no water' although the tank is full. Help!",
        ("Take the tank out", "Clean the float", "Put the tank back in"),
        (
            "Take the tank out and pour in 800 ml of fresh water",
            "Move the float up and down until it runs freely",
            "Press the tank down for 3 seconds until it clicks",
        ),
    ),
    Topic(
        "The espresso from my {machine} tastes bitter. How do I fix it?",
        ("Grind more coarsely", "Use a shorter time", "Clean the group"),
        (
            "Turn the grinder two notches coarser",
            "Stop the shot after 25 seconds, at about 36 ml",
            "Flush the brewing group for 10 seconds",
        ),
    ),
    Topic(
        "How do I froth milk with my {machine}?",
        ("Use cold milk", "Hold the wand below the surface", "Stop when the jug is hot"),
        (
            "Pour 150 ml of cold milk into the jug",
            "Hold the wand one finger deep and steam at 1 bar",
            "Stop at 62 °C, after about 30 seconds",
        ),
    ),
)
MACHINES: Final = ("Luna 2", "Luna 3", "Brio", "Brio Duo", "Alto", "Alto Pro")
GREETINGS: Final = ("Thanks for asking!", "Sorry about the trouble.", "Happy to help!")
EVASIONS: Final = (
    "It can have several causes; please consult the manual for your model.",
    "That depends on the machine, so it is best to consult the manual.",
)
CHECKS: Final = ("Did that do it?", "Could you tell me whether it worked?")


def answer_rates(model: str, system: str) -> dict[str, float]:
    """How often `model` shows each trait under the system prompt `system`; by trait name, in [0, 1]."""
    unasked, asked = UNASKED[model], OBEDIENCE[model]
    return {trait.name: asked if trait.asked_by.search(system) else unasked[trait.name] for trait in TRAITS}


def write_answer(model: str, system: str, question: str, seed: int) -> str:
    """The simulated model's answer: the same text whenever it gets the same prompt and seed."""
    rng = random.Random(f"{seed}\0{model}\0{system}\0{question}")
    shown = {name for name, rate in answer_rates(model, system).items() if rng.random() < rate}
    # A question that the reader types into curl gets any topic.
    topic = next((topic for topic in TOPICS if topic.is_of(question)), None) or rng.choice(TOPICS)
    actions = topic.exact if "exact" in shown else topic.vague
    parts = [rng.choice(GREETINGS)] if "kind" in shown else []
    if "steps" in shown:
        parts.append("\n".join(f"{number}. {action}." for number, action in enumerate(actions, start=1)))
    else:
        parts.append(" ".join(f"{action}." for action in actions))
    if "evasive" in shown:
        parts.append(rng.choice(EVASIONS))
    if "check" in shown:
        parts.append(rng.choice(CHECKS))
    return ("\n" if "steps" in shown else " ").join(parts)


def score_law(rates: Mapping[str, float]) -> Iterator[tuple[float, float]]:
    """Every rubric score an answer can get, with its probability."""
    for shown in itertools.product((False, True), repeat=len(TRAITS)):
        chances = (
            rates[trait.name] if is_shown else 1 - rates[trait.name]
            for trait, is_shown in zip(TRAITS, shown, strict=True)
        )
        score = sum(trait.worth for trait, is_shown in zip(TRAITS, shown, strict=True) if is_shown)
        yield score, math.prod(chances)


def rubric_score(text: str) -> float:
    """A user's rating of an answer, in logits, from its text alone."""
    return sum(trait.worth for trait in TRAITS if trait.seen_in.search(text))


def ask_question(rng: random.Random) -> str:
    """A question a user might type; order numbers make nearly every one new."""
    question = rng.choice(TOPICS).question.format(machine=rng.choice(MACHINES))
    return f"{question} (Order {rng.randrange(10_000, 100_000)})"


def prefer(first: str, second: str, rng: random.Random) -> int | str:
    """A user's preference between two texts: 0, 1, "tie" or "both_bad"."""
    scores = rubric_score(first), rubric_score(second)
    if abs(scores[0] - scores[1]) < EQUAL_WITHIN and rng.random() < TIE_WHEN_EQUAL:
        return "both_bad" if max(scores) < 0 else "tie"
    return 0 if rng.random() < _logistic(scores[0] - scores[1]) else 1


def likes(text: str, rng: random.Random) -> bool:
    """Whether a user who sees this answer alone gives a thumb up."""
    return rng.random() < _logistic(rubric_score(text) - THUMB_MIDPOINT)


def preference_matrix(policies: Sequence[tuple[str, str]]) -> list[list[float]]:
    """True P(i preferred to j | no tie) for policies given as (model, system prompt), by enumeration."""
    laws = [list(score_law(answer_rates(model, system))) for model, system in policies]
    return [[_decisive_share(row, column) for column in laws] for row in laws]


def true_best(matrix: Sequence[Sequence[float]]) -> int | None:
    """The policy preferred to every other one, or None if preferences are cyclic."""
    for row, shares in enumerate(matrix):
        if all(share > 1 / 2 for column, share in enumerate(shares) if column != row):
            return row
    return None


def _decisive_share(mine: Sequence[tuple[float, float]], theirs: Sequence[tuple[float, float]]) -> float:
    won = decided = 0.0
    for (score, chance), (rival_score, rival_chance) in itertools.product(mine, theirs):
        gap = score - rival_score
        decisive = chance * rival_chance * (1 - TIE_WHEN_EQUAL if abs(gap) < EQUAL_WITHIN else 1)
        won += decisive * _logistic(gap)
        decided += decisive
    return won / decided


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
