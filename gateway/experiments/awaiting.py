"""Whom a certified policy waits for, where the file has a confirm hook: the hook, or a person after it."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config.promotion import PromotionSpec
from gateway.config.webhooks import ConfirmSpec
from gateway.experiments.happenings import generation_of
from policy_store.events import LoggedEvent
from policy_store.moves import MOVES, Move
from policy_store.view import ExperimentView


def is_awaited(view: ExperimentView, promotion: PromotionSpec) -> bool:
    """Whether an experiment stands where its hook is asked."""
    return promotion.confirm is not None and view.state is MOVES[Move.CERTIFY].target


def seconds_to_answer(
    view: ExperimentView, spec: ConfirmSpec, events: Iterable[LoggedEvent], now: float
) -> float:
    """Time until it is too late for the hook's answer; below 0 after that.

    Args:
        view: The experiment, with the certificate.
        spec: What the file says of the hook.
        events: Its latest events; the store's time of certification is among them.
        now: The store's clock, in Unix seconds: a gateway's may jump.
    """
    made = [
        event.at
        for event in events
        if event.kind == MOVES[Move.CERTIFY].event and generation_of(event) == view.generation
    ]
    certified_at = max(made) if made else float((view.certificate or {})["decided_at"])
    return certified_at + spec.deadline.total_seconds() - now


def whom_it_awaits(
    view: ExperimentView, promotion: PromotionSpec, events: Iterable[LoggedEvent], now: float
) -> str | None:
    """A sentence on whom the certified policy of an experiment with a confirm hook waits for; else None.

    The arguments are those of `seconds_to_answer`, with the promotion section of the file in force.
    """
    spec = promotion.confirm
    if spec is None or not is_awaited(view, promotion):
        return None
    champion, name = (view.certificate or {})["champion_name"], view.experiment.name
    by_hand = f"Approve or reject it: `llmpo experiments approve {name}`, or `reject`."
    left = seconds_to_answer(view, spec, events, now)
    if promotion.asks_a_person:
        may_veto = f"; the confirm hook may veto it for another {left:.0f} s" if left > 0 else ""
        return f"{champion} is certified and awaits a person's approval{may_veto}. {by_hand}"
    if left > 0:
        return (
            f"{champion} is certified and awaits the answer of the confirm hook for another {left:.0f} s; "
            f"without one, no_answer is {spec.no_answer}."
        )
    waited = f"The confirm hook gave no answer within {spec.deadline.total_seconds():g} s"
    if spec.no_answer == "wait":
        return f"{champion} is certified and awaits a person. {waited}. {by_hand}"
    return f"{champion} is certified. {waited}, and no_answer is {spec.no_answer}: that follows next."
