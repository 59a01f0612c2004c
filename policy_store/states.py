"""The table of an experiment's states.

This is the one place that says what a state means. The Lua scripts get this table and the one of moves
(`moves.py`) in front of them (`scripting.py`); routing, planning, verification, metrics, the console, the
demo and the command line ask here. docs/concepts.md prints both tables, and a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal


class ExperimentState(StrEnum):
    """The state of a generation of an experiment."""

    RUNNING = "running"
    PAUSED = "paused"
    AWAITING_APPROVAL = "awaiting_approval"
    STAGED = "staged"
    PROMOTED = "promoted"
    WATCHING = "watching"
    ROLLED_BACK = "rolled_back"
    REJECTED = "rejected"
    SETTLED = "settled"
    NO_WINNER = "no_winner"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"
    UNFIT = "unfit"

    @property
    def facts(self) -> StateFacts:
        """What is true of an experiment in this state."""
        return STATES[self]


class Tone(StrEnum):
    """What kind of news a state is, for pages that colour it."""

    UNDER_WAY = "under_way"
    PROVEN = "proven"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class StateFacts:
    """What is true of an experiment in one state.

    Attributes:
        meaning: What the state means, in a clause for the documentation.
        draws_pairs: Requests take part: the router draws pairs from the plan, or from that of the watch.
        counts_outcomes: Outcomes of units that have not reported before are counted in the generation. While
            a promotion is watched, those of the watch's own run are, and none in the generation.
        is_planned: A planner may publish plans for the generation.
        may_be_continued: A new generation may continue from the evidence.
        is_kept: The next generation begins in this state too, instead of the usual one.
        has_certificate: A certificate says how the state was reached, or what a person has to approve.
        is_staged: The certified policy answers the share of ordinary traffic that a step says.
        is_watched: The champion and the policy before it are compared, in the run of a watch.
        keeps_sessions: Conversations go on with the policy that began them; otherwise the incumbent answers
            them too.
        serves: The policy that answers ordinary traffic: the incumbent so far, or the champion.
        label: The state's name for people, in a word or two.
        tone: What kind of news it is.
        sentence: What pages say once the state is reached. `{incumbent}` is the policy that serves,
            `{counted}` the number of comparisons counted. Empty if pages show what comes next instead.
        sentence_if_named: What they say if the file has named the certified policy since; empty where that
            begins a new generation, or changes nothing about the sentence.
    """

    meaning: str
    draws_pairs: bool
    counts_outcomes: bool
    is_planned: bool
    may_be_continued: bool
    has_certificate: bool
    serves: Literal["incumbent", "champion"]
    label: str
    tone: Tone
    sentence: str
    sentence_if_named: str = ""
    is_kept: bool = False
    is_staged: bool = False
    is_watched: bool = False
    keeps_sessions: bool = True

    @property
    def counts_reports(self) -> bool:
        """Whether outcomes of units drawn now are counted, in the generation or in the run of a watch."""
        return self.counts_outcomes or self.is_watched


STATES: Final[Mapping[ExperimentState, StateFacts]] = {
    ExperimentState.RUNNING: StateFacts(
        meaning="evidence is gathered",
        draws_pairs=True,
        counts_outcomes=True,
        is_planned=True,
        may_be_continued=True,
        has_certificate=False,
        serves="incumbent",
        label="running",
        tone=Tone.UNDER_WAY,
        sentence="",
    ),
    ExperimentState.PAUSED: StateFacts(
        meaning="a person paused it: the incumbent answers everything, and outcomes of earlier answers "
        "still count",
        draws_pairs=False,
        counts_outcomes=True,
        is_planned=False,
        may_be_continued=True,
        is_kept=True,
        has_certificate=False,
        keeps_sessions=False,
        serves="incumbent",
        label="paused",
        tone=Tone.UNPROVEN,
        sentence="Paused after {counted}. {incumbent} answers all traffic until it is resumed.",
    ),
    ExperimentState.AWAITING_APPROVAL: StateFacts(
        meaning="a candidate was certified and awaits a person; evidence is gathered meanwhile",
        draws_pairs=True,
        counts_outcomes=True,
        is_planned=True,
        may_be_continued=True,
        has_certificate=True,
        serves="incumbent",
        label="awaiting approval",
        tone=Tone.PROVEN,
        sentence=(
            "{champion} was certified after {counted} and awaits approval. Until then {incumbent} answers "
            "ordinary traffic."
        ),
    ),
    ExperimentState.STAGED: StateFacts(
        meaning="a certified candidate answers a growing share of ordinary traffic, step by step",
        draws_pairs=True,
        counts_outcomes=True,
        is_planned=True,
        may_be_continued=True,
        is_staged=True,
        has_certificate=True,
        serves="incumbent",
        label="staged",
        tone=Tone.PROVEN,
        sentence=(
            "{champion} was certified after {counted} and is promoted step by step. {incumbent} answers the "
            "rest of ordinary traffic."
        ),
    ),
    ExperimentState.PROMOTED: StateFacts(
        meaning="a candidate was certified, or chosen by a person, and became the incumbent",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        has_certificate=True,
        serves="champion",
        label="promoted",
        tone=Tone.PROVEN,
        sentence="{incumbent} was promoted after {counted}. It answers all traffic now.",
    ),
    ExperimentState.WATCHING: StateFacts(
        meaning="the promoted policy serves, and a share of the traffic compares it with the one before",
        draws_pairs=True,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        is_watched=True,
        has_certificate=True,
        serves="champion",
        label="watching",
        tone=Tone.PROVEN,
        sentence=(
            "{incumbent} was promoted after {counted}. It answers ordinary traffic; a share of the traffic "
            "compares it with the policy before it."
        ),
    ),
    ExperimentState.ROLLED_BACK: StateFacts(
        meaning="a promotion was taken back, by a person or a watch: the incumbent before it serves again",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,  # otherwise the old evidence would promote the policy again
        has_certificate=True,
        keeps_sessions=False,
        serves="incumbent",
        label="rolled back",
        tone=Tone.UNPROVEN,
        sentence="The promotion of {champion} was taken back. {incumbent} answers all traffic again.",
        sentence_if_named="The promotion of {champion} was taken back. The file has named it since, so it "
        "answers all traffic.",
    ),
    ExperimentState.REJECTED: StateFacts(
        meaning="a person rejected the certified candidate: nothing changes",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,  # a person decided against the evidence
        has_certificate=True,
        serves="incumbent",
        label="rejected",
        tone=Tone.UNPROVEN,
        sentence="{champion} was certified after {counted} and rejected. {incumbent} stays.",
        sentence_if_named="{champion} was certified after {counted} and rejected. The file has named it "
        "since, so it answers all traffic.",
    ),
    ExperimentState.SETTLED: StateFacts(
        meaning="the incumbent itself was certified, or a watched promotion stands: nothing changes",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        has_certificate=True,
        serves="champion",
        label="settled",
        tone=Tone.PROVEN,
        sentence="{incumbent} stays: after {counted} no other policy is known to be better. It answers all "
        "traffic.",
    ),
    ExperimentState.NO_WINNER: StateFacts(
        meaning="every policy is beaten by another one: preferences run in a circle",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=False,
        has_certificate=True,
        serves="incumbent",
        label="no winner",
        tone=Tone.UNPROVEN,
        sentence=(
            "Every policy is beaten by another one ({counted}). Nothing was promoted; {incumbent} stays."
        ),
    ),
    ExperimentState.INCONCLUSIVE: StateFacts(
        meaning="the budget of comparisons was spent without proof",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=True,  # there was no verdict on the evidence, so a larger budget continues from it
        has_certificate=True,
        serves="incumbent",
        label="inconclusive",
        tone=Tone.UNPROVEN,
        sentence="The budget of {counted} is spent without proof. Nothing was promoted; {incumbent} stays.",
    ),
    ExperimentState.UNFIT: StateFacts(
        meaning="a candidate failed on most of the requests it was asked: nothing can be compared with it",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=True,  # there was no verdict on the evidence; without that candidate it goes on
        has_certificate=False,
        serves="incumbent",
        label="candidate unfit",
        tone=Tone.UNPROVEN,
        sentence="A candidate failed on most of the requests it was asked. Nothing was promoted after "
        "{counted}; {incumbent} stays.",
    ),
    ExperimentState.STOPPED: StateFacts(
        meaning="a person ended it without a verdict",
        draws_pairs=False,
        counts_outcomes=False,
        is_planned=False,
        may_be_continued=True,  # there was no verdict on the evidence
        has_certificate=False,
        keeps_sessions=False,
        serves="incumbent",
        label="stopped",
        tone=Tone.UNPROVEN,
        sentence="Stopped after {counted}, without a verdict. {incumbent} answers all traffic.",
    ),
}

INITIAL: Final = ExperimentState.RUNNING
"""The state in which a new generation starts."""
