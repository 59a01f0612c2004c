"""A watched promotion: its test and its verdict, in plain values and in words.

WatchTerms (from the file)  ->  a run of the store  ->  verdict_on, which `proof/watched.py` recomputes
"""

from __future__ import annotations

from typing import Any, Final

from gateway.config.promotion import WatchSpec
from gateway.experiments.judge import in_whose_eyes
from gateway.llm_po.holdback import Holdback, Watched
from gateway.llm_po.lines import NANO
from policy_store.counts import Counts
from policy_store.experiment import Experiment
from policy_store.watch_records import Watch, WatchTerms

GATEWAY_ACTOR: Final = "gateway"
"""The actor in the log when a watch takes a promotion back."""

WORSE: Final = "worse"
NO_WORSE: Final = "no_worse"
_DIGITS: Final = 6


def terms_of(spec: WatchSpec, experiment: Experiment) -> WatchTerms:
    """The terms of a watch from an experiment's file."""
    return WatchTerms(
        share=spec.share,
        level=spec.level,
        margin=experiment.epsilon if spec.margin is None else spec.margin,
        seconds=spec.seconds,
        comparisons=spec.comparisons,
    )


def holdback_of(watch: Watch) -> Holdback:
    """The test of a watch."""
    return Holdback(watch.champion, watch.previous, watch.terms.level, watch.terms.margin)


def watched_so_far(watch: Watch, counts: Counts) -> Watched:
    """The counts of a watch's run."""
    champion, previous = watch.champion, watch.previous
    return Watched(
        comparisons=counts.comparisons,
        wins=counts.wins[champion][previous],
        losses=counts.wins[previous][champion],
        nano_nats=counts.evidence_nano_nats[champion][previous],
        turned_at=counts.eliminated_at[champion],
    )


def watch_seconds_left(watch: Watch, now: float) -> float | None:
    """Seconds left of a watch at a time of the store's clock; None if time does not end it."""
    if watch.terms.seconds is None:
        return None
    return max(0.0, watch.started_at + watch.terms.seconds - now)


def is_worse(watch: Watch, watched: Watched) -> bool:
    """Whether the champion was found worse before the watch's last comparison."""
    last = watch.terms.comparisons
    return watched.turned_at is not None and (last is None or watched.turned_at <= last)


def is_over(watch: Watch, watched: Watched, now: float) -> bool:
    """Whether a watch has reached its end."""
    last = watch.terms.comparisons
    return watch_seconds_left(watch, now) == 0 or (last is not None and watched.comparisons >= last)


def verdict_on(watch: Watch, watched: Watched, policies: tuple[str, ...]) -> dict[str, Any]:
    """The verdict of a watch on its counts, with everything from which it follows."""
    return {
        "outcome": WORSE if is_worse(watch, watched) else NO_WORSE,
        "champion": watch.champion,
        "champion_name": policies[watch.champion],
        "previous": watch.previous,
        "previous_name": policies[watch.previous],
        "level": watch.terms.level,
        "margin": watch.terms.margin,
        "comparisons": watched.comparisons,
        "wins": watched.wins,
        "losses": watched.losses,
        "evidence_nats": round(watched.nano_nats / NANO, _DIGITS),
        "needed_nats": round(holdback_of(watch).line_nano_nats / NANO, _DIGITS),
        "turned_at": watched.turned_at,
    }


def reason_for_rollback(verdict: dict[str, Any], experiment: Experiment) -> str:
    """Why a watch takes a promotion back, with the figures."""
    eyes = in_whose_eyes(experiment)
    whose = "" if eyes is None else f" {eyes}"
    within = f" by more than {100 * verdict['margin']:g} points in 100" if verdict["margin"] else ""
    decisive = verdict["wins"] + verdict["losses"]
    return (
        f"{verdict['previous_name']} turned out to be preferred to {verdict['champion_name']}{within}"
        f"{whose}: it "
        f"won {verdict['losses']} of {decisive} decisive comparisons of the watch, and at comparison "
        f"{verdict['turned_at']} the evidence reached {verdict['needed_nats']:.3f} nats "
        f"(level {verdict['level']:g})."
    )
