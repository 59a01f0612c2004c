"""Recomputes a watch over a promotion from its log: the counts, the verdict, and the move that followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gateway.experiments.watches import GATEWAY_ACTOR, WORSE, holdback_of, is_over, verdict_on
from gateway.llm_po.errors import LlmPoError
from gateway.llm_po.holdback import Watched, replay_watch
from gateway.proof.ancestry import LoggedGeneration
from gateway.proof.forecasts import misapplied_forecasts
from gateway.proof.moves import LoggedMove, logged_moves
from policy_store.events import TakenBack, WatchStarted
from policy_store.log_records import LogRecord
from policy_store.moves import Move
from policy_store.watch_records import Watch, WatchTerms


@dataclass(frozen=True, slots=True)
class RecordedWatch:
    """A watch as the store has it, and the log of its run."""

    watch: Watch
    log: LoggedGeneration

    @property
    def counted(self) -> Watched:
        """The counts from its log, up to its verdict.

        Raises:
            ReplayError, ForecastError: If the log cannot be replayed.
        """
        verdict = self.watch.verdict
        last = None if verdict is None else int(verdict["comparisons"])
        return replay_watch(islice(self.log.counted(), last), holdback_of(self.watch))

    def differences(self, end: LoggedMove | None) -> Iterator[str]:
        """Differences between the log, the verdict and the move that was made.

        Args:
            end: The next move of the experiment after the watch began.
        """
        yield from misapplied_forecasts(self.log)
        verdict, watched, name = self.watch.verdict, self.counted, f"watch {self.watch.run}"
        ended_it = end is not None and is_of_watch(end)
        if (verdict is not None) is not ended_it:
            yield f"{name}: its verdict is {verdict}, and a watch {'did' if ended_it else 'did not'} end it"
        if verdict is None or end is None:
            return
        found = verdict_on(self.watch, watched, self.log.experiment.policies)
        if found != verdict:
            yield f"{name}: its verdict is {verdict}, the log gives {found}"
        was_worse = found["outcome"] == WORSE
        if was_worse is not (end.move is Move.ROLL_BACK):
            yield f"{name}: the log finds {found['outcome']}, and {end.move} followed"
        if not was_worse and not is_over(self.watch, watched, end.event.at):
            yield f"{name}: it was ended before its time"


def is_of_watch(move: LoggedMove) -> bool:
    """Whether a watch, not a person, made a move."""
    told = move.event.told
    if isinstance(told, TakenBack):
        return told.fence is not None and told.actor == GATEWAY_ACTOR
    return move.rule.ends_watch


def miswatched(records: Iterable[LogRecord], watches: Sequence[RecordedWatch]) -> Iterator[str]:
    """Differences between the watches of a generation, its log, and their own logs."""
    moves = logged_moves(records)
    begun = {
        number: told for number, move in enumerate(moves) if isinstance(told := move.event.told, WatchStarted)
    }
    said = [_as_begun(told) for told in begun.values()]
    found = [(each.watch.run, each.watch.champion, each.watch.previous, each.watch.terms) for each in watches]
    if said != found:
        yield f"watches: the log tells of {said}, recorded are {found}"
        return
    for number, each in zip(begun, watches, strict=True):
        try:
            yield from each.differences(next(iter(moves[number + 1 :]), None))
        except (LlmPoError, KeyError, TypeError, ValueError) as error:
            yield f"watch {each.watch.run}: it cannot be recomputed: {error!r}"
    ended = sum(each.watch.verdict is not None for each in watches)
    if ended != sum(is_of_watch(move) for move in moves):
        yield f"watches: {ended} came to a verdict, and the log records another number of moves by watches"


def _as_begun(told: WatchStarted) -> tuple[Any, ...]:
    """The run, the policies and the terms of a watch, as the log tells of them."""
    terms = WatchTerms(told.share, told.level, told.margin, told.seconds, told.comparisons)
    return told.run, told.champion, told.previous, terms


def summary(watches: Sequence[RecordedWatch]) -> dict[str, Any] | None:
    """The counts of the latest watch, in plain values; None without a watch."""
    if not watches:
        return None
    latest = watches[-1]
    return verdict_on(latest.watch, latest.counted, latest.log.experiment.policies)
