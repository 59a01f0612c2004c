"""A reference for the store's transitions: what the tables of states and moves say, as plain Python.

`Reference` makes the same steps as the scripts on values in memory, one after the other, and says what each
has to answer. It knows no Redis, no Lua and no text; moves it takes from `MOVES` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from policy_store.errors import (
    ContradictingOutcomeError,
    DecisionConflictError,
    ExperimentFinishedError,
    StaleFenceError,
    StoreError,
    UnknownExperimentError,
)
from policy_store.experiment import Experiment
from policy_store.moves import MOVES, Installs, Move, MoveRule
from policy_store.report_records import Receipt
from policy_store.states import INITIAL, ExperimentState

_CHAMPION: Final = "champion"
Told = dict[str, Any] | None


@dataclass
class Run:
    """What is counted under one number: a generation, or the watch over a promotion.

    Attributes:
        previous: Who served before the champion; None before there was one.
        watch_of: The generation whose promotion it watches; None for a generation.
        pair: Champion and previous policy of a watch.
    """

    state: ExperimentState = INITIAL
    incumbent: int = 0
    previous: int | None = None
    certificate: Told = None
    step: int = 0
    watch: int | None = None
    verdict: Told = None
    by_hand: object = None
    comparisons: int = 0
    plans: int = 0
    plan: tuple[int, int] | None = None
    watch_of: int | None = None
    pair: tuple[int, int] | None = None
    definition: Experiment | None = None
    reported: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a reader of the current generation gets; `step` only while it is staged."""

    generation: int
    revision: int
    state: ExperimentState
    incumbent: int
    certificate: Told
    step: int | None
    watch: tuple[int, tuple[int, int], Told] | None


@dataclass
class Reference:
    """One experiment. Each method is one script; it returns or raises what the script has to."""

    runs: dict[int, Run] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    generation: int = 0
    revision: int = 0
    fence: int = 0
    holder: str | None = None
    named: str = ""
    events: list[str] = field(default_factory=list)

    @property
    def standing(self) -> Standing:
        """The current generation."""
        run = self.runs[self.generation]
        watch = None
        if run.watch is not None:
            own = self.runs[run.watch]
            watch = run.watch, own.pair, own.verdict
        step = run.step if run.state.facts.is_staged else None
        return Standing(
            self.generation, self.revision, run.state, run.incumbent, run.certificate, step, watch
        )

    # The right to plan.

    def acquire_lease(self, holder: str) -> int | None:
        """A fencing number, higher after every change of holder and every lapse."""
        if self.holder not in {None, holder}:
            return None
        self.fence += self.holder is None
        self.holder = holder
        return self.fence

    def lapse(self) -> None:
        """The lease was not renewed in time."""
        self.holder = None

    def release_lease(self, holder: str) -> None:
        """The holder gives it back."""
        if self.holder == holder:
            self.holder = None

    # Moves.

    def decide(
        self, generation: int, fence: int, move: Move, champion: int | None, certificate: Told, verdict: Told
    ) -> Standing:
        """A planner's move."""
        rule, run = MOVES[move], self.runs[generation]
        if rule.certifies and (run.state, run.certificate) == (rule.target, certificate):
            return self.standing
        self._check_planner(generation, fence, rule)
        self._make(run, rule, champion, certificate, verdict)
        if rule.target.facts.is_staged:
            run.step, run.previous = 0, run.incumbent
        return self.standing

    def move_by_hand(
        self,
        generation: int,
        move: Move,
        champion: int | None,
        certificate: Told,
        seen: Told,
        reason: str,
        fence: int | None,
        verdict: Told,
    ) -> Standing:
        """A move for a reason: a person's, or that of a watch with its planner's number."""
        rule, run = MOVES[move], self.runs[generation]
        signature = (move, champion, reason, fence)
        if run.state is rule.target and generation == self.generation and run.by_hand == signature:
            return self.standing
        if fence is not None:
            self._check_planner(generation, fence, rule)
        self._check_source(generation, rule)
        takes_nothing_back = run.state.facts.serves == _CHAMPION and run.previous == run.incumbent
        if (seen is not None and seen != run.certificate) or (
            rule.installs is Installs.PREVIOUS and takes_nothing_back
        ):
            raise DecisionConflictError
        self._make(run, rule, champion, certificate, verdict)
        run.by_hand = signature
        return self.standing

    def take_step(
        self, generation: int, move: Move, left: int, seen: Told, reason: str, fence: int | None
    ) -> Standing:
        """The next step of a staged promotion."""
        rule, run = MOVES[move], self.runs[generation]
        signature = (move, None, reason, None)
        is_current = generation == self.generation
        if fence is None and is_current and run.state is rule.target and run.by_hand == signature:
            return self.standing
        if fence is not None:
            self._check_planner(generation, fence, rule)
        self._check_source(generation, rule)
        if run.step != left or (seen is not None and seen != run.certificate):
            raise DecisionConflictError
        self._make(run, rule, None, None, None)
        run.step += 1
        if fence is None:
            run.by_hand = signature
        return self.standing

    def begin_watch(self, generation: int, fence: int) -> Standing:
        """The champion and the policy before it are compared in a run of their own."""
        rule, run = MOVES[Move.WATCH], self.runs[generation]
        self._check_planner(generation, fence, rule)
        number = max(self.runs) + 1
        pair = run.incumbent, run.previous
        self.runs[number] = Run(watch_of=generation, pair=pair, definition=run.definition)
        self._make(run, rule, None, None, None)
        run.watch = number
        return self.standing

    def _check_planner(self, generation: int, fence: int, rule: MoveRule) -> None:
        if fence != self.fence:
            raise StaleFenceError
        self._check_source(generation, rule)

    def _check_source(self, generation: int, rule: MoveRule) -> None:
        if generation != self.generation or self.runs[generation].state not in rule.sources:
            raise DecisionConflictError

    def _make(self, run: Run, rule: MoveRule, champion: int | None, certificate: Told, verdict: Told) -> None:
        before = run.incumbent
        if run.watch is not None and self.runs[run.watch].state is INITIAL:
            watched = self.runs[run.watch]
            watched.state, watched.verdict = rule.target, verdict
        if rule.installs is Installs.CHAMPION:
            run.incumbent, run.previous, run.watch = champion, before, None
        elif rule.installs is Installs.PREVIOUS:
            run.incumbent = run.previous
        run.state = rule.target
        if rule.certifies:
            run.certificate = certificate
        elif not rule.target.facts.has_certificate:
            run.certificate = None
        self.revision += 1
        self.events.append(rule.event.value)

    # Plans and reports.

    def publish_plan(self, number: int, fence: int, plan: int) -> int:
        """The version of a plan for the current generation, or for the watch over its promotion."""
        run = self.runs[number]
        if run.plan == (plan, fence):
            return run.plans
        if fence != self.fence:
            raise StaleFenceError
        is_current = number in {self.generation, self.runs[self.generation].watch}
        if not run.state.facts.is_planned or not is_current:
            raise ExperimentFinishedError
        run.plan = plan, fence
        run.plans += 1
        self.revision += 1
        return run.plans

    def prefer(self, number: int, unit: str, result: str) -> Receipt:
        """A report: counted once, and only where the state counts outcomes."""
        if number not in self.runs:
            raise UnknownExperimentError
        run = self.runs[number]
        if unit in run.reported:
            if run.reported[unit] != result:
                raise ContradictingOutcomeError("", reported=run.reported[unit])
            return Receipt.DUPLICATE
        if not run.state.facts.counts_outcomes:
            raise ExperimentFinishedError
        run.reported[unit] = result
        run.comparisons += 1
        return Receipt.COUNTED

    # Definitions.

    def register(self, experiment: Experiment) -> Standing:
        """The generation of a definition becomes the current one."""
        named = experiment.policies[experiment.incumbent]
        serving = experiment.incumbent
        if self.generation and named == self.named:
            serving = self.runs[self.generation].incumbent  # all definitions here have the same policies
        number, left = self._number_of(experiment, serving), self.generation
        inherits = number not in self.runs and self._hands_on(left)
        if number not in self.runs:
            counted = self.runs[left].comparisons if inherits else 0
            self.runs[number] = Run(incumbent=serving, definition=experiment, comparisons=counted)
            self.numbers[experiment.fingerprint()] = number
            self._install(number, "started")
        elif number != left:
            self._install(number, "reactivated")
        if self.runs[number].incumbent != serving:
            self.runs[number].incumbent = serving
            self.revision += 1
            self.events.append("incumbent_changed")
        if left not in {0, number}:
            self._keep(self.runs[left].state, self.runs[number])
        self.named = named
        if inherits and counted:
            self.events.append("inherited")
        return self.standing

    def _number_of(self, experiment: Experiment, serving: int) -> int:
        known = self.numbers.get(experiment.fingerprint())
        if known is not None:
            run = self.runs[known]
            if run.state.facts.serves != _CHAMPION or run.incumbent == serving:
                return known
        return max(self.runs, default=0) + 1

    def _hands_on(self, number: int) -> bool:
        return number in self.runs and self.runs[number].state.facts.may_be_continued

    def _install(self, number: int, event: str) -> None:
        self.generation = number
        self.revision += 1
        self.events.append(event)

    def _keep(self, state: ExperimentState, run: Run) -> None:
        for rule in MOVES.values():
            if state.facts.is_kept and rule.target is state and run.state in rule.sources:
                self._make(run, rule, None, None, None)


def outcome_of(error: StoreError) -> str:
    """What a refused step comes to, for comparison."""
    return type(error).__name__
