"""Estimates, before anything runs, what each source of comparisons is worth.

Comparisons that are evidence are simulated as if they came from one source alone, and together. A source that
only informs forecasts is simulated beside all the evidence, as a judge that agrees with people about a
declared share of the pairs. How many comparisons it has grows while the experiment runs; it is simulated with
those that it has after half the time that the evidence alone takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any, Final

from gateway.experiments.collecting import WAYS, Takes
from gateway.llm_po.lab.judges import SimulatedJudge
from gateway.simulation.estimate import EffectEstimate
from gateway.simulation.prospect import Prospect
from gateway.simulation.runner import Job, run_jobs

EFFECT: Final = "medium"
EVERYTHING: Final = "all together"
_UNSEEN: Final = next(way for way in WAYS.values() if way.takes is Takes.VERDICT)
_HALF: Final = 0.5  # of the time that the evidence alone takes


@dataclass(frozen=True, slots=True)
class ExpectedSource:
    """A source of comparisons, as it is expected.

    Attributes:
        name: A role (`policy_store.roles`), or `run`.
        is_evidence: Whether its comparisons are evidence; otherwise they inform forecasts.
        per_day: Comparisons a day.
        beforehand: Comparisons that it has before the experiment.
        rate: Of evidence, the share of the units that report it; 1 for a judge's.
        usd_per_day: What its comparisons cost a day beside the answers that users get.
        is_judge: Whether a judge compares answers that no user is shown.
    """

    name: str
    is_evidence: bool
    per_day: float = 0.0
    beforehand: int = 0
    rate: float = 1.0
    usd_per_day: float = 0.0
    is_judge: bool = False

    def alone_in(self, prospect: Prospect) -> Prospect:
        """An experiment in which this source of several is all the evidence."""
        heard = replace(prospect, feedback_rate=self.rate, judged_per_day=0.0)
        if not self.is_judge:
            return heard
        units = self.per_day / prospect.share
        return replace(heard, way=_UNSEEN, units_per_day=units, prices=None, caps=None)

    def as_judge(self, days: float, pairs: int, agreement: float) -> SimulatedJudge:
        """What it says within so many days, every pair as often as any other."""
        said = self.beforehand + self.per_day * days
        return SimulatedJudge(agreement, per_pair=max(1, round(said / pairs)))


@dataclass(frozen=True, slots=True)
class Scenario:
    """An experiment with some of its sources.

    Attributes:
        name: The source that it is about, or several in words.
        sources: One source that is evidence, all of them, or all of them and what informs.
        prospect: The experiment with these sources.
        known: Its estimate, if that was made before.
    """

    name: str
    sources: tuple[ExpectedSource, ...]
    prospect: Prospect
    known: EffectEstimate | None = None

    @property
    def about(self) -> ExpectedSource | None:
        """The one source that it is about; None if it is about several."""
        return next((source for source in self.sources if source.name == self.name), None)

    def informed_by(self, added: tuple[ExpectedSource, ...], days: float, agreement: float) -> Scenario:
        """The scenario beside sources that only inform, with what they say within so many days."""
        judges = tuple(source.as_judge(days, comb(self.prospect.policies, 2), agreement) for source in added)
        # rules other than the e-process decide without forecasts
        informed = replace(self.prospect, informed_by=judges if self.prospect.stopping == "e-process" else ())
        return Scenario(EVERYTHING if added[1:] else added[0].name, (*self.sources, *added), informed)

    def job(self, runs: int | None, seed: int) -> Job:
        """The runs to simulate."""
        job = self.prospect.job(EFFECT, runs, seed, caps=self.prospect.caps)
        return replace(job, name=f"{EFFECT}, {self.name}")


@dataclass(frozen=True, slots=True)
class SourceEstimate:
    """What an experiment takes in a scenario, if one policy is better by a medium effect."""

    scenario: Scenario
    forecast: EffectEstimate

    @property
    def judge_usd(self) -> float | None:
        """US dollars that a judge spends until the median decision; None if that is beyond the horizon."""
        days = self.forecast.days["median"]
        return None if days is None else days * sum(source.usd_per_day for source in self.scenario.sources)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        about, forecast = self.scenario.about, self.forecast
        counts_as = None if about is None else "evidence" if about.is_evidence else "informs"
        return {
            "source": self.scenario.name,
            "counts_as": counts_as,
            "comparisons_per_day": None if about is None else about.per_day,
            "comparisons_beforehand": None if about is None else about.beforehand,
            "effect": forecast.effect,
            "comparisons": forecast.comparisons,
            "days": forecast.days,
            "cost": forecast.money,
            "judge_usd": self.judge_usd,
        }


def scenarios(
    prospect: Prospect, sources: Sequence[ExpectedSource], together: EffectEstimate, agreement: float
) -> list[Scenario]:
    """Each source that is evidence alone, all of them, and all of them with each source that informs.

    Args:
        prospect: The experiment, with all of its evidence.
        sources: Where its comparisons come from.
        together: The estimate for all of its evidence.
        agreement: About which share of the pairs a source that informs agrees with people.
    """
    evidence = tuple(source for source in sources if source.is_evidence)
    alone = [
        Scenario(source.name, (source,), source.alone_in(prospect))
        for source in evidence
        if evidence[1:] and source.per_day
    ]
    name = " and ".join(source.name for source in evidence)
    whole = Scenario(name, evidence, prospect, known=together)
    informing = tuple(source for source in sources if not source.is_evidence)
    beside = [(source,) for source in informing] + [informing] * bool(informing[1:])
    days = _HALF * (together.days["median"] or together.horizon_days)
    return [*alone, whole, *(whole.informed_by(added, days, agreement) for added in beside)]


def estimate_by_source(
    wanted: Sequence[Scenario],
    runs: int | None = None,
    seed: int = 0,
    processes: int | None = None,
    on_batch: Callable[[Job, int], None] = lambda _job, _runs: None,
) -> list[SourceEstimate]:
    """The estimate for each scenario; those that are known already are not simulated again.

    Args:
        wanted: The scenarios, by unique names.
        runs: Simulated runs for each, or None for as many as take seconds.
        seed: Fixes every run.
        processes: How many run at once, or None for one per core.
        on_batch: Called for every finished batch with its job and its number of runs.
    """
    jobs = {each.name: each.job(runs, seed) for each in wanted if each.known is None}
    summaries = run_jobs(list(jobs.values()), processes, on_batch=on_batch)
    return [
        SourceEstimate(
            each, each.known or EffectEstimate(EFFECT, summaries[jobs[each.name].name], each.prospect)
        )
        for each in wanted
    ]
