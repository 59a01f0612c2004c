"""The cases in which the promise is put to the test: at most a share delta of experiments promotes wrongly.

Each is hard in a way of its own: hardly better policies, equals, preferences no model fits, circles, drift,
feedback that comes late or in batches, and each source of comparisons. `benchmarks/calibration.py` runs each
10,000 times; those whose outcomes come slowly or from changing policies take longer and are run less often.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gateway.llm_po.lab import worlds
from gateway.llm_po.lab.judges import SimulatedJudge
from gateway.llm_po.lab.matching import Outcomes
from gateway.llm_po.lab.simulate import Trial
from gateway.llm_po.lab.voters import Voters
from gateway.llm_po.lab.world_files import load_world
from gateway.llm_po.lab.worlds import World

DELTA = 0.05
CYCLIC_WITH_CHAMPION = Path(__file__).parents[1] / "data" / "worlds" / "cyclic_4_synthetic.json"


def bt(*scores: float) -> World:
    """A Bradley-Terry world."""
    return worlds.bradley_terry("bt", list(scores))


def _drifting() -> World:
    """The champion's lead shrinks and grows, the others change places; the champion keeps beating all."""
    return worlds.drifting("drift", [0.8, 0.3, 0.0, -0.5], [0.8, -0.3, 0.5, 0.2], period=200)


def _one_ahead(policies: int, lead: float) -> World:
    """One policy preferred to every other with the probability given; the others are equals."""
    preferences = np.full((policies, policies), 0.5)
    preferences[0, 1:], preferences[1:, 0] = lead, 1 - lead
    return worlds.named("one ahead", preferences)


TRIALS = {
    "clear": Trial(bt(0.8, 0.2, 0.0, -0.4)),
    "near tie at the top": Trial(bt(0.15, 0.0, -0.6)),
    "not Bradley-Terry": Trial(worlds.misfit("misfit", np.linspace(0.5, -1, 5), 0.5, 0.3, seed=5)),
    "champion above a cycle": Trial(load_world(CYCLIC_WITH_CHAMPION)),
    "two equals, with a margin": Trial(worlds.named("a/a", np.full((2, 2), 0.5)), epsilon=0.1),
    "three equals, with a margin": Trial(worlds.named("a/a/a", np.full((3, 3), 0.5)), epsilon=0.1),
    "clear, with a margin": Trial(bt(0.8, 0.2, 0.0, -0.4), epsilon=0.05),
    "three equals, no worse than the best": Trial(
        worlds.named("a/a/a", np.full((3, 3), 0.5)), epsilon=0.1, promise="no_worse_than_best"
    ),
    "one ahead by just more than the margin, no worse than the best": Trial(
        _one_ahead(3, 0.61), epsilon=0.1, promise="no_worse_than_best"
    ),
    "cycle, no worse than the best": Trial(
        worlds.cycle("circle", 3, 0.7), epsilon=0.05, promise="no_worse_than_best"
    ),
    "cycle, with a margin": Trial(worlds.cycle("circle", 3, 0.7), epsilon=0.05),
    "beaten by just more than the margin": Trial(bt(0.25, 0.0), epsilon=0.06),
    "drifting preferences": Trial(_drifting()),
    "drifting preferences, with a margin": Trial(_drifting(), epsilon=0.05),
    "200 outcomes in flight": Trial(bt(0.8, 0.2, 0.0, -0.4), in_flight=200, refresh_every=50),
    "outcomes in batches of 100": Trial(bt(0.8, 0.2, 0.0, -0.4), refresh_every=100),
    "clear, wrong judge": Trial(bt(0.8, 0.2, 0.0, -0.4), judges=(SimulatedJudge(0.0),)),
    "beaten by just more than the margin, wrong judge": Trial(
        bt(0.25, 0.0), epsilon=0.06, judges=(SimulatedJudge(0.0),)
    ),
    "likelihood-ratio rule": Trial(bt(0.8, 0.2, 0.0, -0.4), stopping="glr"),
    "likelihood-ratio rule, near tie": Trial(bt(0.15, 0.0, -0.6), "round-robin", "glr"),
}

_BEST: dict[str, Any] = {"promise": "no_worse_than_best"}
# The cases of the promise that assumes a best policy: those above, and more that take the suite too long.
BEST_TRIALS = {
    **{name: trial for name, trial in TRIALS.items() if trial.promise == "no_worse_than_best"},
    "one of five ahead by just more than the margin, no worse than the best": Trial(
        _one_ahead(5, 0.61), epsilon=0.1, **_BEST
    ),
    "clear, no worse than the best": Trial(bt(0.8, 0.2, 0.0, -0.4), epsilon=0.05, **_BEST),
    "not Bradley-Terry, no worse than the best": Trial(
        worlds.misfit("misfit", np.linspace(0.5, -1, 5), 0.5, 0.3, seed=5), epsilon=0.05, **_BEST
    ),
    "drifting preferences, no worse than the best": Trial(_drifting(), epsilon=0.05, **_BEST),
    "200 outcomes in flight, no worse than the best": Trial(
        bt(0.8, 0.2, 0.0, -0.4), epsilon=0.05, in_flight=200, refresh_every=50, **_BEST
    ),
}

_RISING = Outcomes((0.63, 0.60), (0.83, 0.80), drift_units=40_000, reported=(0.15, 0.05), wait=5_000)
_LATE = Outcomes((0.33, 0.30), delays=(200, 0), hold=200, wait=5_000)


def _matched(name: str, outcomes: Outcomes) -> Trial:
    return Trial(worlds.matched(name, outcomes), epsilon=0.02)


# Outcomes that are reported, wait and are matched as the gateway has them; a run takes a second.
MATCHED_TRIALS = {
    "reported unequally while quality rises": _matched("rising", _RISING),
    "failures known late, counted at a fixed age": _matched("late", _LATE),
    "failures known late, rising, reported unequally": _matched(
        "late and rising", replace(_RISING, delays=(200, 0), hold=200)
    ),
}
# The promise does not cover outcomes whose order depends on what they are, and this is what it comes to.
BROKEN_TRIALS = {
    "failures known late, counted as they come": _matched("late, no hold", replace(_LATE, hold=None))
}


NEAR = 0.562  # how often the better of two policies is preferred, hardly beyond the margin
# Verdicts every ten comparisons, as where many come between two refreshes; it saves two thirds of the time.
_NEAR: dict[str, Any] = {"epsilon": 0.06, "refresh_every": 10}


def _near(preferred: float = NEAR, **options: Any) -> Trial:
    """Two policies, one of which is preferred hardly more clearly than the margin allows."""
    return Trial(_two(preferred), **_NEAR, **options)


def _two(preferred: float) -> World:
    return worlds.named("near", [[0.5, preferred], [1 - preferred, 0.5]])


def decided(
    preferred: float, votes: int, cap: int | None, policies: int = 2, *, cap_in_all: int | None = None
) -> World:
    """Voters who always vote alike: this share for policy 0 against any other, the rest for the others."""
    for_first, against = np.full((policies, policies), 0.5), np.full((policies, policies), 0.5)
    for_first[0, 1:], for_first[1:, 0] = 1.0, 0.0
    against[0, 1:], against[1:, 0] = 0.0, 1.0
    kinds = (for_first, against)
    return worlds.voted("decided", Voters((preferred, 1 - preferred), kinds, votes, cap, cap_in_all))


def _asking_again(first: tuple[float, float], second: tuple[float, float]) -> float:
    """How often the first policy wins among users who ask again and continue (docs/concepts.md).

    Of each policy: how many users ask again after its answer, and how many of them keep it.
    """
    (asked, kept), (asked_other, kept_other) = first, second
    return (asked * kept + asked_other * (1 - kept_other)) / (asked + asked_other)


def _three(**options: Any) -> Trial:
    """Three policies, one of which is preferred to both others hardly more clearly than the margin allows."""
    return Trial(_one_ahead(3, NEAR), **_NEAR, **options)


_BEATEN = "beaten by just more than the margin"
_WRONG_RUN = SimulatedJudge(0.0, per_pair=20)  # an offline run
_THUMBS = Outcomes((0.7, 0.6452), reported=(0.1, 0.2), reported_failures=(0.3, 0.6))
CLOSE = 0.53  # how often the winner is preferred where there is no margin
_WINNER: dict[str, Any] = {"epsilon": 0.0, "refresh_every": 100}
# Each source of comparisons, in cases in which what the promise assumes is so.
SOURCE_TRIALS = {
    _BEATEN: TRIALS[_BEATEN],
    "votes": _near(),
    "votes, a wrong judge informs": _near(judges=(SimulatedJudge(0.0),)),
    "votes, a judge right about 70 % of the pairs informs": _near(judges=(SimulatedJudge(0.7),)),
    "votes and signals, at first more of these": Trial(
        worlds.drifting("signals and votes", [0.45, 0.0], [0.25, 0.0], period=150), **_NEAR
    ),
    "a judge decides and finds ties in 40 %": Trial(replace(_two(NEAR), ties=np.full((2, 2), 0.4)), **_NEAR),
    "users ask again and mostly take the newer answer": _near(_asking_again((0.10, 0.2), (0.13, 0.16))),
    "thumbs, more often if down, half as often of the better": Trial(
        worlds.matched("thumbs", _THUMBS), **_NEAR
    ),
    "voters vote 5 times alike, and once counts": Trial(decided(NEAR, votes=5, cap=1), **_NEAR),
    "votes, of which 2 % are rigged and the lead allows for it": _near(0.98 * 0.5735),
    "votes, one of three ahead, no worse than the best": Trial(_one_ahead(3, NEAR), **_NEAR, **_BEST),
    "votes, 52.05 % at a margin of 2 points": Trial(_two(0.5205), epsilon=0.02, refresh_every=50),
    "votes, an offline run that is wrong informs": _near(judges=(_WRONG_RUN,)),
    "votes, a wrong judge and a wrong offline run inform": _near(judges=(SimulatedJudge(0.0), _WRONG_RUN)),
    "votes, one of three ahead": _three(),
    "votes, one of three ahead, a wrong judge informs": _three(judges=(SimulatedJudge(0.0),)),
    "votes, one of three ahead, an offline run that is wrong informs": _three(judges=(_WRONG_RUN,)),
    "a judge decides and finds ties in 40 %, one of three ahead": Trial(
        replace(_one_ahead(3, NEAR), ties=np.full((3, 3), 0.4)), **_NEAR
    ),
    "votes, 53 %, epsilon 0": Trial(_two(CLOSE), **_WINNER),
    "votes, 53 %, epsilon 0, a wrong judge informs": Trial(
        _two(CLOSE), judges=(SimulatedJudge(0.0),), **_WINNER
    ),
    "votes, 53 %, epsilon 0, an offline run that is wrong informs": Trial(
        _two(CLOSE), judges=(_WRONG_RUN,), **_WINNER
    ),
    "votes and signals, 53 % to 51 % and back, epsilon 0": Trial(
        worlds.drifting("signals and votes", [0.12, 0.0], [0.04, 0.0], period=1000), **_WINNER
    ),
    "voters vote 5 times alike, and once counts, 55 %, epsilon 0": Trial(
        decided(0.55, votes=5, cap=1), **_WINNER
    ),
}


def most_by_chance(runs: int) -> int:
    """Wrong promotions that a rate of exactly delta exceeds in fewer than one in a thousand samples."""
    return math.ceil(runs * DELTA + 3.1 * math.sqrt(runs * DELTA * (1 - DELTA)))
