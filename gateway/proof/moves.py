"""Follows the moves in a log through the table of moves, to the final state and the serving policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from gateway.experiments.conclusions import BY_HAND, move_for
from gateway.llm_po.failing import failing_line, failing_nats
from gateway.llm_po.stopping import KINDS
from policy_store.events import (
    ByHand,
    Decided,
    GaveUp,
    IncumbentChanged,
    LoggedEvent,
    StepApproved,
    Stepped,
    WatchStarted,
)
from policy_store.experiment import Experiment
from policy_store.log_records import LogRecord
from policy_store.moves import MOVES, Installs, Move, MoveRule, recorded_move
from policy_store.states import INITIAL, ExperimentState


@dataclass(frozen=True, slots=True)
class LoggedMove:
    """A move and what the log says about it."""

    move: Move
    event: LoggedEvent

    @property
    def rule(self) -> MoveRule:
        """The rule for the move."""
        return MOVES[self.move]

    @property
    def champion(self) -> object:
        """The policy that it names: by index, or by name in logs of offline runs."""
        told = self.event.told
        if isinstance(told, ByHand):
            return told.incumbent
        return told.champion if isinstance(told, Decided) else self.event.detail


def logged_moves(records: Iterable[LogRecord]) -> list[LoggedMove]:
    """The moves in a log, in their order."""
    events = (record for record in records if isinstance(record, LoggedEvent))
    return [LoggedMove(move, event) for event in events if (move := recorded_move(event.kind)) is not None]


def moves_by_hand(records: Iterable[LogRecord]) -> list[dict[str, Any]]:
    """The moves by hand, in plain values."""
    told = ((each.move, each.event) for each in logged_moves(records))
    return [
        {"move": move.value, "at": event.at, **asdict(event.told)}
        for move, event in told
        if isinstance(event.told, ByHand)
    ]


class Walk:
    """A way through the table of moves, following the log step by step.

    Args:
        experiment: Its policies are those of the log.
        incumbent: Index of the policy that served before the last certified step, as the certificate says;
            None where nothing says so.

    Attributes:
        state: The state reached so far.
        serves: Index of the policy that serves in this state; None as long as nothing says so.
    """

    def __init__(self, experiment: Experiment, incumbent: int | None = None) -> None:
        self.state: ExperimentState = INITIAL
        self.serves: int | None = None
        self._incumbent = incumbent
        self._policies = experiment.policies
        self._previous: int | None = None
        self._certified: LoggedMove | None = None
        self._stage = 0, 0.0

    def follow(self, records: Iterable[LogRecord]) -> Iterator[str]:
        """Follow every event of a log; yields a sentence for each event that does not fit those before."""
        records = tuple(records)
        proven = [step.event for step in logged_moves(records) if step.rule.certifies][-1:]
        for record in records:
            if not isinstance(record, LoggedEvent):
                continue
            told = record.told
            if isinstance(told, IncumbentChanged):
                self.serves = self._index(told.policy)
            elif (move := recorded_move(record.kind)) is not None:
                if any(record is each for each in proven) and self._incumbent is not None:
                    yield from self._replaced(self._incumbent)
                yield from self._take(LoggedMove(move, record))

    def _replaced(self, incumbent: int) -> Iterator[str]:
        """The certificate says who served before it, which holds where the log does not."""
        if self.serves not in (None, incumbent):
            yield f"incumbent: the certificate says {incumbent}, the moves before it {self.serves}"
        self.serves = incumbent

    def _take(self, step: LoggedMove) -> Iterator[str]:
        rule, told, before = step.rule, step.event.told, self.state
        if before not in rule.sources:
            yield f"The log records a step to {rule.target} of an experiment that was {before}."
        serves = self._serving_after(step)
        if isinstance(told, ByHand):
            said = (told.before, told.after, self._index(told.incumbent_before), self._index(told.incumbent))
            found = (
                before,
                rule.target,
                said[2] if self.serves is None else self.serves,
                said[3] if serves is None else serves,
            )
            if said != found:
                who = f"{step.move} by {told.actor}"
                yield f"{who}: the log says {_way(said)}, the moves before it {_way(found)}"
            serves = said[3]
        if isinstance(told, Stepped | StepApproved):
            yield from self._stepped(step.move, told.step, told.share)
        if isinstance(told, GaveUp):
            yield from self._gave_up(told)
        if isinstance(told, WatchStarted):
            yield from self._watched(self._index(told.champion), self._index(told.previous))
        if rule.installs is Installs.CHAMPION:
            self._previous = self._index(told.incumbent_before) if isinstance(told, ByHand) else self.serves
        if rule.certifies:
            self._certified = step
        self.state, self.serves = rule.target, serves

    def _stepped(self, move: Move, step: int | None, share: float | None) -> Iterator[str]:
        """A staged promotion begins with step 1, and each step is the next one, with a larger share."""
        before = (0, 0.0) if MOVES[move].certifies else self._stage
        if step != before[0] + 1 or not before[1] < (share or 0.0) < 1:
            yield f"{move}: the log says step {step} with share {share} after {before[0]} with {before[1]}"
        self._stage = step or 0, share or 0.0
        if MOVES[move].certifies:
            self._previous = self.serves

    def _gave_up(self, told: GaveUp) -> Iterator[str]:
        """An experiment is given up if a candidate's failures reach the line."""
        asked, failed, candidates = told.asked or 0, told.failed or 0, len(self._policies) - 1
        policy = self._index(told.policy)
        if policy is None or policy == self.serves:
            yield f"give_up: the log names {told.policy}, which is no candidate"
        if not 0 <= failed <= asked or failing_nats(asked, failed) < failing_line(candidates):
            yield f"give_up: the log says {failed} failures of {asked}, which is below the line"

    def _watched(self, champion: int | None, previous: int | None) -> Iterator[str]:
        """A watch is of the policy that serves and the one before it, as far as the log says which."""
        serves = champion if self.serves is None else self.serves
        before = previous if self._previous is None else self._previous
        if (champion, previous) != (serves, before):
            yield f"watch: the log says {champion} after {previous}, the moves before {serves} after {before}"
        self._previous = before

    def _serving_after(self, step: LoggedMove) -> int | None:
        """The policy that serves after a step, as far as the earlier steps say."""
        match step.rule.installs:
            case Installs.NOTHING:
                return self.serves
            case Installs.PREVIOUS:
                return self._previous
            case Installs.CHAMPION:
                proposed = step if step.rule.certifies else self._certified
                return None if proposed is None else self._index(proposed.champion)

    def _index(self, policy: object) -> int | None:
        if isinstance(policy, str):
            return self._policies.index(policy) if policy in self._policies else None
        return policy if isinstance(policy, int) else None

    def uncertified(self, certificate: Mapping[str, Any]) -> Iterator[str]:
        """Differences between the certificate and the last logged step that came with one."""
        outcome, step = str(certificate.get("outcome")), self._certified
        if step is None or step.move not in _moves_to(outcome):
            yield f"The log records no step for the outcome {outcome}."
            return
        champion, name = certificate.get("champion"), certificate.get("champion_name")
        if step.champion not in (champion, name):
            yield f"champion: the certificate says {champion}, the logged step {step.champion}"
        told = step.event.told
        if isinstance(told, ByHand):
            said = (certificate.get("decided_by"), certificate.get("reason"))
            if said != (told.actor, told.reason):
                yield f"by hand: the certificate says {said}, the logged step {(told.actor, told.reason)}"


def _moves_to(outcome: str) -> set[Move]:
    """The moves that come with a certificate of this outcome."""
    if outcome == BY_HAND:
        return {Move.PROMOTE_BY_HAND}
    return {
        move_for(kind, is_incumbent=is_incumbent, asks_first=asks, in_steps=steps)
        for kind, is_incumbent, asks, steps in product(KINDS, (True, False), (True, False), (True, False))
        if kind == outcome
    }


def _way(said: tuple[object, ...]) -> str:
    return f"from {said[0]} to {said[1]}, policy {said[2]} serving and then {said[3]}"
