"""Compares what users and operators of a round were told with what the store and all replicas say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.proof.recorded import read_log
from gateway.proof.verification import UndecidedError, verify
from policy_store.events import ByHand, LoggedEvent
from policy_store.log_records import Comparison, LoggedPlan, LogRecord
from policy_store.moves import MOVES, Installs, Move, recorded_move
from tests.chaos.record import COUNTED, Answer, Outage, RoundRecord
from tests.chaos.rounds import Fault
from tests.pace import impatient

FOLLOWED_WITHIN: Final = impatient(1.0)
RECOVERED_WITHIN: Final = 5.0
UNSENT_WITHIN: Final = impatient(2.0)
"""Guardrails' counts are sent once a second; the rest is for the answer itself and for a busy machine."""
_KILLED: Final = frozenset({Fault.GATEWAY_KILLED, Fault.PLANNER_KILLED})
_REPLACED: Final = frozenset({Fault.PRIMARY_KILLED, Fault.PRIMARY_FROZEN, Fault.FAILOVER})
_POLICIES: Final = ("I am plain.", "I am warm.")


@dataclass
class Findings:
    """What a round came to.

    Attributes:
        lost: Acknowledged reports that the store does not have.
        held: Whether replicas noticed that the store went back, even if nothing acknowledged is lost.
        followed_seconds: How long replicas went on with the policy before a move: the longest.
        followed_late_seconds: The same for replicas that a fault had cut off, from its end.
        guarded: Pairs of answers that users got, each of which the guardrail should count.
        unguarded: Those of them that it did not count.
        wrong: Sentences on everything that must not be.
    """

    reports: int = 0
    acknowledged: int = 0
    answers: int = 0
    decisions: int = 0
    by_hand: int = 0
    lost: int = 0
    held: int = 0
    doubled: int = 0
    followed_seconds: float = 0.0
    followed_late_seconds: float = 0.0
    recovery_seconds: float = 0.0
    guarded: int = 0
    unguarded: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class StoreReading:
    """What the store and all replicas say after a round, before and after reports were sent again.

    Attributes:
        counted: Comparisons before that.
        counted_later: Comparisons after it.
        log: The log afterwards.
        exported: The exported log, as `llmpo verify` reads it.
        pairs: How many pairs the guardrail has counted.
        standing: State and incumbent by the store and by each replica.
    """

    counted: int
    counted_later: int
    log: list[LogRecord]
    exported: list[bytes]
    standing: dict[str, tuple[str, str]]
    pairs: int


def check(record: RoundRecord, reading: StoreReading) -> Findings:
    """What the round came to."""
    found = Findings(
        reports=len(record.reports),
        acknowledged=sum(report.status in COUNTED for report in record.reports),
        answers=len(record.answers),
        held=record.holds,
        recovery_seconds=record.recovery_seconds,
    )
    found.wrong += [f"no answer: {text}" for text in record.unanswered]
    _check_reports(record, reading, found)
    moves = [event for event in reading.log if isinstance(event, LoggedEvent) and recorded_move(event.kind)]
    found.wrong += _faults_of_moves(moves)
    found.wrong += _faults_of_wishes(record, moves)
    found.wrong += _faults_of_fences(reading.log)
    found.wrong += _faults_of_proof(reading.exported)
    found.decisions = sum(not isinstance(event.told, ByHand) for event in moves)
    found.by_hand = len(moves) - found.decisions
    if len(set(reading.standing.values())) != 1:
        found.wrong.append(f"replicas and store differ: {reading.standing}")
    _check_following(record, moves, found)
    _check_guardrail(record, reading, found)
    if found.recovery_seconds > RECOVERED_WITHIN:
        found.wrong.append(f"recovered only after {found.recovery_seconds:.1f} s")
    return found


def _check_reports(record: RoundRecord, reading: StoreReading, found: Findings) -> None:
    """Each acknowledged report is counted, once, and each refused one at most once."""
    for report in record.reports:
        if report.status in COUNTED and report.status_later != "duplicate":
            found.lost += 1
            noticed = "" if record.holds else ", and no replica noticed"
            found.wrong.append(f"acknowledged as {report.status}, then {report.status_later}{noticed}")
    unknown = [report for report in record.reports if report.status_later is None]
    if unknown:
        found.wrong.append(f"{len(unknown)} reports got no answer when they were sent again")
    known = [report for report in record.reports if report.status_later in COUNTED]
    there = sum(report.status_later == "duplicate" for report in known)
    doubtful = sum(report.is_uncertain and report.status not in COUNTED for report in known)
    found.doubled = max(0, reading.counted - there, reading.counted_later - len(known))
    if not there - doubtful <= reading.counted <= there:
        found.wrong.append(f"{reading.counted} comparisons counted, but {there} reports are known")
    if reading.counted_later != len(known):
        found.wrong.append(f"{len(known)} reports are known in the end, {reading.counted_later} comparisons")
    numbers = [entry.number for entry in reading.log if isinstance(entry, Comparison)]
    if numbers != list(range(1, reading.counted_later + 1)):
        found.wrong.append(f"the log has {len(numbers)} comparisons, the counts {reading.counted_later}")


def _faults_of_moves(moves: Iterable[LoggedEvent]) -> Iterator[str]:
    """Every move starts from where the one before it led to: nothing is decided twice."""
    state = None
    for event in moves:
        rule = MOVES[recorded_move(event.kind)]
        if state is not None and state not in rule.sources:
            yield f"{event.kind} from {state}"
        state = rule.target


def _faults_of_wishes(record: RoundRecord, moves: Iterable[LoggedEvent]) -> Iterator[str]:
    """A move that an operator was told of was made once, a refused one never, any other at most once."""
    made = [event.told.reason for event in moves if isinstance(event.told, ByHand)]
    for wish in record.wishes:
        times = made.count(wish.reason)
        least = int(wish.status == 200)
        most = int(wish.status in {200, 503, None})
        if not least <= times <= most:
            yield f"{wish.verb} ({wish.status}) was made {times} times"


def _faults_of_fences(log: Iterable[LogRecord]) -> Iterator[str]:
    """No planner writes anything after one with a higher number has."""
    highest = 0
    for entry in log:
        fence = entry.fence if isinstance(entry, LoggedPlan) else _fence_of(entry)
        if fence is not None and fence < highest:
            yield f"a planner with number {fence} wrote after one with {highest}"
        highest = max(highest, fence or 0)


def _fence_of(entry: LogRecord) -> int | None:
    return entry.detail.get("fence") if isinstance(entry, LoggedEvent) else None


def _faults_of_proof(exported: list[bytes]) -> Iterator[str]:
    """Whoever recomputes the decision from the log comes to the same."""
    try:
        for difference in verify(read_log(exported)).differences:
            yield f"verification: {difference}"
    except UndecidedError:
        return


def _check_following(record: RoundRecord, moves: list[LoggedEvent], found: Findings) -> None:
    """How long users of each replica still got the policies from before a move that changes who serves."""
    ends = (*(event.at for event in moves[1:]), float("inf"))
    serving, before = 0, 0
    for event, end in zip(moves, ends, strict=False):
        move = recorded_move(event.kind)
        serving, before = _serving_after(move, event.detail, serving, before)
        if MOVES[move].target.facts.draws_pairs:
            continue
        allowed = frozenset({_POLICIES[serving]})
        for answer in record.answers:
            if event.at < answer.began < end and answer.policies != allowed:
                _note_delay(record, answer.gateway, event.at, answer.began, found)


def _check_guardrail(record: RoundRecord, reading: StoreReading, found: Findings) -> None:
    """The guardrail counted every pair of answers once, except what a killed gateway had not sent yet."""
    least, most = pairs_expected(record)
    found.guarded = most - record.unheard
    found.unguarded = max(0, found.guarded - reading.pairs)
    if not least <= reading.pairs <= most:
        found.wrong.append(f"guardrails: {reading.pairs} pairs counted, which should be {least} to {most}")


def pairs_expected(record: RoundRecord) -> tuple[int, int]:
    """The fewest and the most pairs that the guardrail may have counted."""
    got = [answer for answer in record.answers if len(answer.policies) > 1]
    most = len(got) + record.unheard
    if any(outage.fault in _REPLACED for outage in record.outages):
        return 0, most
    kills = [outage for outage in record.outages if outage.fault in _KILLED]
    return sum(not any(_is_unsent(answer, kill, record) for kill in kills) for answer in got), most


def _is_unsent(answer: Answer, kill: Outage, record: RoundRecord) -> bool:
    """Whether a killed gateway may not have sent what it counted of an answer: counts wait for the store."""
    if answer.gateway != kill.gateway or answer.began > kill.began:
        return False
    away = [
        outage.began
        for outage in record.outages
        if outage.gateway in {None, kill.gateway}
        and outage.fault not in _KILLED
        and outage.began < kill.began < outage.ended + UNSENT_WITHIN
    ]
    return answer.began >= min([kill.began, *away]) - UNSENT_WITHIN


def _serving_after(move: Move, detail: dict[str, Any], serving: int, before: int) -> tuple[int, int]:
    installs = MOVES[move].installs
    if installs is Installs.CHAMPION:
        now = detail.get("incumbent", detail.get("champion"))
        return int(now), serving
    return (before, before) if installs is Installs.PREVIOUS else (serving, before)


def _note_delay(record: RoundRecord, gateway: int, moved: float, began: float, found: Findings) -> None:
    cut_off = [outage.ended for outage in record.outages if _concerns(outage, gateway, moved, began)]
    if not cut_off:
        found.followed_seconds = max(found.followed_seconds, began - moved)
        if began - moved > FOLLOWED_WITHIN:
            found.wrong.append(f"gateway {gateway} followed a move only after {began - moved:.2f} s")
        return
    late = began - max(cut_off)
    found.followed_late_seconds = max(found.followed_late_seconds, late)
    if late > RECOVERED_WITHIN:
        found.wrong.append(f"gateway {gateway} followed a move only {late:.2f} s after a fault")


def _concerns(outage: Outage, gateway: int, moved: float, began: float) -> bool:
    return outage.gateway in {None, gateway} and outage.began < began and outage.ended > moved - 1.0
