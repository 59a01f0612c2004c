"""Recomputes what guardrails found: from the logged pairs to the evidence, the line, and what was done."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.experiments.guardrails import GUARDRAIL_ACTOR
from gateway.llm_po.errors import LlmPoError
from gateway.llm_po.guardrails import Contrast, tripping_nats
from policy_store.events import ByHand, EventKind, LoggedEvent, TakenBack
from policy_store.guard_events import GuardrailTripped, Readmitted
from policy_store.guard_records import Deed
from policy_store.log_records import LogRecord
from policy_store.moves import MOVES, Move, recorded_move

_ROUNDED: Final = 2e-6  # events round to six digits
_MOVE_OF: Final = {Deed.PAUSED: Move.PAUSE, Deed.TAKEN_BACK: Move.ROLL_BACK}


def mistripped(records: Iterable[LogRecord]) -> Iterator[str]:
    """Differences between what guardrails found, the pairs it rests on, and the moves around it."""
    events = [record for record in records if isinstance(record, LoggedEvent)]
    for before, event in zip([None, *events], events, strict=False):
        found = None if before is None else before.told
        told = event.told
        if isinstance(told, TakenBack) and told.fence is not None and told.actor == GUARDRAIL_ACTOR:
            if not isinstance(found, GuardrailTripped):
                yield f"{event.kind}: a guardrail is said to have done it, and none had tripped"
        elif isinstance(found, GuardrailTripped) and found.did in _MOVE_OF:
            yield f"{_name(found)}: it says {found.did}, and the log goes on with {event.kind}"
    for event in events:
        if isinstance(event.told, GuardrailTripped):
            yield from _miscomputed(event.told)
    yield from _promoted_nevertheless(events)


def _miscomputed(told: GuardrailTripped) -> Iterator[str]:
    """Differences between a finding and the pairs that it rests on."""
    try:
        pairs = {(candidate, incumbent): times for candidate, incumbent, times in told.pairs}
        nats, needed = Contrast(*told.contrast).nats(pairs), tripping_nats(told.level, told.hour)
    except (LlmPoError, TypeError, ValueError) as error:
        yield f"{_name(told)}: it cannot be recomputed: {error}"
        return
    if len(pairs) != len(told.pairs):
        yield f"{_name(told)}: a pair of numbers is listed twice"
    said = (("nats", told.nats, nats), ("needed_nats", told.needed_nats, needed))
    for field, logged, found in said:
        if not math.isclose(logged, found, abs_tol=_ROUNDED):
            yield f"{_name(told)}: {field}: the log says {logged}, its pairs give {found:.6f}"
    if nats < needed - _ROUNDED:
        yield f"{_name(told)}: it tripped at {nats:.6f} nats, below the line of {needed:.6f}"


def _promoted_nevertheless(events: Iterable[LoggedEvent]) -> Iterator[str]:
    """Promotions of policies that guardrails had found worse, and that no person had admitted again."""
    held: dict[object, set[str]] = {}
    for event in events:
        told, move = event.told, recorded_move(event.kind)
        if isinstance(told, GuardrailTripped):
            held.setdefault(told.policy, set()).add(told.did)
        elif isinstance(told, Readmitted):
            held.pop(told.policy, None)
        elif event.kind == EventKind.UNPAUSED:  # a person answered what was asked
            held = {policy: left for policy, did in held.items() if (left := did - {Deed.ASKED.value})}
        elif move is not None and MOVES[move].is_promotion:
            champion = told.incumbent if isinstance(told, ByHand) else getattr(told, "champion", None)
            if champion in held:
                yield f"{event.kind}: policy {champion} was promoted although a guardrail had found it worse"


def _name(told: GuardrailTripped) -> str:
    return f"guardrail {told.guardrail} on policy {told.policy}"
