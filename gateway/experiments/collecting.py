"""The ways of collecting comparisons: one record each, read by everything that depends on the way.

A way says which policies answer a request and what the application reports about it. The packages that act
on it (`serving` assigns, `learning` counts) branch on `Assigns` and `Takes`, which are closed sets, and
never on a way's name. `WAYS` is keyed by the names that the configuration knows, so a way without a record
is a type error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, assert_never

from gateway.config.experiments import Collect
from gateway.config.feedback import FeedbackSpec, Missing
from gateway.upstream.surfaces import CHAT, MESSAGES, RESPONSES, SurfaceName
from policy_store.roles import Role


class Assigns(Enum):
    """Which policies of the drawn pair answer a unit. A fair coin is tossed for each unit."""

    ONE = "one"  # the coin decides which
    BOTH = "both"  # the coin decides which is shown first
    IN_TURN = "in_turn"  # the coin decides which answers first; the other does if the same is asked again
    UNSEEN = "unseen"  # the incumbent answers; what the pair would answer no user sees


class Takes(Enum):
    """What the application reports about an answer, and how that is recorded."""

    SIGNAL = "signal"  # the outcome of one answer, to compare with an outcome of the pair's other policy
    PREFERENCE = "preference"  # which of the two answers shown is better: a comparison at once
    NOTHING = (
        "nothing"  # the conversation that is sent back shows which answer was kept: a comparison at once
    )
    VERDICT = "verdict"  # nothing: a judge says which answer is better, a comparison at once


@dataclass(frozen=True, slots=True)
class Way:
    """One way of collecting.

    Attributes:
        name: Its name in the configuration, the stored experiment and the log.
        number: Its number in sealed response ids, at most 126; it is never given to another way.
        assigns: Which policies answer.
        takes: What is reported and how it is recorded.
        surfaces: The kinds of request whose answers can take part.
        answers_per_unit: How many of the pair's answers one unit's user is given; 0 if only the judge reads
            them. An answer that a user asks for anyway is not included.
    """

    name: Collect
    number: int
    assigns: Assigns
    takes: Takes
    surfaces: frozenset[SurfaceName]
    answers_per_unit: int

    @property
    def rates_answers(self) -> bool:
        """Whether each answer has an outcome of its own, computed from the declared signals."""
        match self.takes:
            case Takes.SIGNAL:
                return True
            case Takes.PREFERENCE | Takes.NOTHING | Takes.VERDICT:
                return False
            case _:
                assert_never(self.takes)

    @property
    def units_per_comparison(self) -> int:
        """The number of units that report, or are asked again and continued, that make one comparison."""
        return 2 if self.rates_answers else 1

    def missing_rules(self, feedback: FeedbackSpec) -> dict[Missing, Literal["loss", "tie"]]:
        """What that which is missing of its answers comes to, where that counts.

        Of two answers that a user saw side by side only what the file says by itself counts: they were
        compared without such rules before there were any.
        """
        is_said = self.takes is Takes.PREFERENCE and "missing" in feedback.model_fields_set
        return feedback.missing_rules if self.rates_answers or is_said else {}

    def roles(self, feedback: FeedbackSpec) -> frozenset[Role]:
        """The roles in which its feedback comes."""
        missing = {Role.IMPLICIT} if self.missing_rules(feedback) else set()
        match self.takes:
            case Takes.SIGNAL:
                return frozenset(map(feedback.role_of, feedback.signals)) | missing
            case Takes.PREFERENCE:
                return frozenset({Role.EXPLICIT}) | missing
            case Takes.NOTHING:
                return frozenset({Role.IMPLICIT})
            case Takes.VERDICT:
                return frozenset({Role.JUDGE})
            case _:
                assert_never(self.takes)

    def outcome_rules(
        self, feedback: FeedbackSpec, promote_on: Collection[str] | None = None
    ) -> dict[str, object]:
        """What fixes the meaning of a comparison: parts of the feedback section, and which roles count."""
        rules: dict[str, object] = {} if feedback.voter_cap == 1 else {"voter_cap": feedback.voter_cap}
        if feedback.voter_cap_per_experiment is not None:
            rules["voter_cap_per_experiment"] = feedback.voter_cap_per_experiment
        if feedback.hold is not None:
            rules["hold_seconds"] = feedback.hold.total_seconds()
        if self.takes is Takes.VERDICT:
            return rules
        if self.takes is Takes.NOTHING:
            kept = feedback.regenerate.model_dump(include={"similarity", "neither", "identical"})
            return {**rules, "kept": kept}
        if feedback.changed_mind != "first":
            rules["changed_mind"] = feedback.changed_mind
        missing = self.missing_rules(feedback)
        if missing and (promote_on is None or Role.IMPLICIT in promote_on):
            rules["missing"] = missing
        if not self.rates_answers:
            return rules
        weights = {
            name: signal.meaning
            for name, signal in feedback.signals.items()
            if promote_on is None or feedback.role_of(name) in promote_on
        }
        if feedback.found_signals & weights.keys():
            rules["found"] = feedback.found.model_dump()
        return {"signals": weights, "tie_margin": feedback.tie_margin, **rules}

    def source(self, signal: str | None) -> str:
        """The source of a comparison, as the log writes it."""
        return self.name if signal is None else f"{self.name}:{signal}"


WAYS: Final[Mapping[Collect, Way]] = {
    "matched": Way(
        name="matched",
        number=0,
        assigns=Assigns.ONE,
        takes=Takes.SIGNAL,
        surfaces=frozenset({CHAT.name, RESPONSES.name, MESSAGES.name}),
        answers_per_unit=1,
    ),
    "side_by_side": Way(
        name="side_by_side",
        number=1,
        assigns=Assigns.BOTH,
        takes=Takes.PREFERENCE,
        surfaces=frozenset({CHAT.name}),
        answers_per_unit=2,
    ),
    "regenerate": Way(
        name="regenerate",
        number=2,
        assigns=Assigns.IN_TURN,
        takes=Takes.NOTHING,
        surfaces=frozenset({CHAT.name, RESPONSES.name, MESSAGES.name}),
        answers_per_unit=1,
    ),
    "shadow": Way(
        name="shadow",
        number=3,
        assigns=Assigns.UNSEEN,
        takes=Takes.VERDICT,
        surfaces=frozenset({CHAT.name, RESPONSES.name, MESSAGES.name}),
        answers_per_unit=0,
    ),
}
WAY_OF_NUMBER: Final[Mapping[int, Way]] = {way.number: way for way in WAYS.values()}
