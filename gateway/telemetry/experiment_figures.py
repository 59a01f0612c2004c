"""Experiment progress as Prometheus series, derived at scrape time from each experiment's last reading."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, permutations
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.experiments.promises import promised_by
from gateway.experiments.stages import end_of
from gateway.learning.progress import ExperimentProgress
from gateway.telemetry.signal_figures import signal_figures
from policy_store.states import ExperimentState

Families = Iterator[Metric]


class ExperimentCollector(Collector):
    """Shows the last reading of every experiment.

    Args:
        progress: The last reading of each experiment.
    """

    def __init__(self, progress: Callable[[], Mapping[str, ExperimentProgress]]) -> None:
        self._progress = progress

    def collect(self) -> Iterable[Metric]:
        """Every series, from the readings at the moment of the call; they are built as they are taken."""
        readings = list(self._progress().values())
        return chain.from_iterable(family(readings) for family in _FAMILIES)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"llmpo_{name}", text, labels=["experiment", *labels])


def _states(readings: list[ExperimentProgress]) -> Families:
    state = _gauge("experiment_state", "1 for the state the experiment is in.", "state")
    generation = _gauge("experiment_generation", "The current generation of the experiment.")
    incumbent = _gauge("experiment_incumbent", "1 for the policy serving ordinary traffic.", "policy")
    decided = _gauge("experiment_seconds_to_decision", "Time from the start to the decision.")
    champion = _gauge("experiment_champion", "1 for the policy that was certified.", "policy")
    promise = _gauge(
        "experiment_promise", "Always 1; the label has the promise about a promoted policy.", "promise"
    )
    promotions = CounterMetricFamily(
        "llmpo_experiment_promotions", "Times the incumbent was replaced.", labels=["experiment"]
    )
    for reading in readings:
        view, name = reading.view, reading.view.experiment.name
        for known in ExperimentState:
            state.add_metric([name, known.value], float(known is view.state))
        generation.add_metric([name], view.generation)
        promise.add_metric([name, promised_by(view.experiment)], 1.0)
        for index, policy in enumerate(view.experiment.policies):
            incumbent.add_metric([name, policy], float(index == view.incumbent))
        promotions.add_metric([name], reading.promotions)
        if view.certificate is not None:
            decided.add_metric([name], reading.elapsed_seconds)
        if reading.champion is not None:
            for index, policy in enumerate(view.experiment.policies):
                champion.add_metric([name, policy], float(index == reading.champion))
    yield from (state, generation, promise, incumbent, champion, promotions, decided)


def _comparisons(readings: list[ExperimentProgress]) -> Families:
    total = _gauge("experiment_comparisons", "Comparisons counted in this generation.")
    logged = _gauge("experiment_log_entries", "Entries of this generation's log in the store.")
    lag = _gauge("archive_lag_seconds", "How long the oldest entry of the log has waited for the archive.")
    held = _gauge("experiment_reports_held", "Reports that count once feedback.hold is over.")
    pairs = _gauge(
        "experiment_pair_comparisons",
        "Comparisons of a pair by result, seen from `first`.",
        "first",
        "second",
        "result",
    )
    sources = _gauge("experiment_source_comparisons", "Comparisons by their source.", "source")
    rates = _gauge("experiment_win_rate", "Share of decisive comparisons won.", "policy", "rival")
    for reading in readings:
        name, policies = reading.view.experiment.name, reading.view.experiment.policies
        total.add_metric([name], reading.counts.comparisons)
        logged.add_metric([name], reading.log_entries)
        if reading.archive_lag_seconds is not None:
            lag.add_metric([name], reading.archive_lag_seconds)
        held.add_metric([name], reading.counts.reports_held)
        for source, comparisons in sorted(reading.counts.by_source.items()):
            sources.add_metric([name, source], comparisons)
        if reading.counts.inherited:
            sources.add_metric([name, "inherited"], reading.counts.inherited)
        for i, j in permutations(range(len(policies)), 2):
            if i < j:
                pair = [name, policies[i], policies[j]]
                pairs.add_metric([*pair, "win"], reading.counts.wins[i][j])
                pairs.add_metric([*pair, "loss"], reading.counts.wins[j][i])
                pairs.add_metric([*pair, "tie"], reading.counts.ties[i][j])
            if (rate := reading.win_rate(i, j)) is not None:
                rates.add_metric([name, policies[i], policies[j]], rate)
    yield from (total, logged, lag, held, pairs, sources, rates)


def _evidence(readings: list[ExperimentProgress]) -> Families:
    reached = _gauge("experiment_evidence_nats", "Evidence gathered, towards the needed line.", "policy")
    needed = _gauge("experiment_evidence_needed_nats", "The line evidence must reach.", "policy")
    for reading in readings:
        plan, experiment = reading.view.plan, reading.view.experiment
        if plan is None:
            continue
        for policy, nats, line in zip(
            experiment.policies, plan.proposal.evidence_nats, plan.proposal.needed_nats, strict=True
        ):
            reached.add_metric([experiment.name, policy], nats)
            needed.add_metric([experiment.name, policy], line)
    yield from (reached, needed)


def _balances(readings: list[ExperimentProgress]) -> Families:
    evidence = _gauge(
        "experiment_imbalance_nats", "Evidence that reports come more often for one policy of a pair."
    )
    needed = _gauge("experiment_imbalance_needed_nats", "The evidence at which decisions are held.")
    for reading in readings:
        if (balance := reading.balance) is not None:
            evidence.add_metric([reading.view.experiment.name], balance.nats)
            needed.add_metric([reading.view.experiment.name], balance.needed)
    yield from (evidence, needed)


def _reporting(readings: list[ExperimentProgress]) -> Families:
    units = _gauge(
        "experiment_reported_units", "Units that a policy answered and that were reported.", "policy"
    )
    ratio = _gauge(
        "experiment_reporting_ratio",
        "How many times as often a policy's answers are reported as those it is compared with, by bound.",
        *("policy", "bound"),
    )
    for reading in readings:
        name, policies = reading.view.experiment.name, reading.view.experiment.policies
        for each in reading.reporting:
            labels = [name, policies[each.policy]]
            units.add_metric(labels, each.reported)
            for bound, value in (("low", each.low), ("estimate", each.times), ("high", each.high)):
                ratio.add_metric([*labels, bound], value)
    yield from (units, ratio)


def _builds(readings: list[ExperimentProgress]) -> Families:
    different = _gauge("experiment_builds", "Builds of its model that served a policy.", "policy")
    changes = _gauge(
        "experiment_served_changes", "Times another build of its model began to serve a policy.", "policy"
    )
    for reading in readings:
        for index, policy in enumerate(reading.view.experiment.policies):
            served, labels = reading.counts.builds.get(index), [reading.view.experiment.name, policy]
            different.add_metric(labels, 0 if served is None else served.different)
            changes.add_metric(labels, 0 if served is None else served.changes)
    yield from (different, changes)


def _plans(readings: list[ExperimentProgress]) -> Families:
    age = _gauge("plan_age_seconds", "Age of the plan in force.")
    version = _gauge("plan_version", "Version of the plan in force.")
    duration = _gauge("plan_duration_seconds", "How long computing the plan in force took.")
    leader = _gauge("experiment_leader", "1 for the policy ahead in the data.", "policy")
    allocation = _gauge("experiment_allocation", "Probability of drawing a pair.", "first", "second")
    remaining = _gauge(
        "experiment_expected_remaining_comparisons", "Comparisons expected until the decision."
    )
    seconds = _gauge("experiment_expected_remaining_seconds", "Time to the decision at the rate so far.")
    fit = _gauge("experiment_fit_p_value", "How well the assumed structure fits the counts.")
    misfit = _gauge("experiment_misfit", "1 while the assumed structure does not fit the counts.")
    for reading in readings:
        plan, experiment = reading.view.plan, reading.view.experiment
        if plan is None:
            continue
        name, policies, proposal = experiment.name, experiment.policies, plan.proposal
        age.add_metric([name], reading.plan_age_seconds or 0.0)
        version.add_metric([name], plan.version)
        duration.add_metric([name], proposal.duration_seconds)
        for index, policy in enumerate(policies):
            leader.add_metric([name, policy], float(index == proposal.leader))
        for pair in proposal.pairs:
            allocation.add_metric([name, policies[pair.first], policies[pair.second]], pair.probability)
        if (outlook := reading.outlook) is not None:
            remaining.add_metric([name], outlook.comparisons)
            if outlook.seconds is not None:
                seconds.add_metric([name], outlook.seconds)
        if proposal.fit_p_value is not None:
            fit.add_metric([name], proposal.fit_p_value)
            misfit.add_metric([name], float(proposal.is_misfit))
    yield from (age, version, duration, leader, allocation, remaining, seconds, fit, misfit)


def _gains(readings: list[ExperimentProgress]) -> Families:
    costs = _gauge(
        "experiment_cost_per_answer",
        "Cost of an answer of a policy; in USD if measured.",
        "policy",
        "source",
    )
    preference = _gauge(
        "experiment_gain", "Preference of the policy ahead over the incumbent, by bound.", "policy", "bound"
    )
    for reading in readings:
        experiment = reading.view.experiment
        for policy, cost in zip(experiment.policies, reading.costs.per_answer, strict=True):
            if cost is not None and (cost or reading.costs.source == "measured"):
                costs.add_metric([experiment.name, policy, reading.costs.source], cost)
        if (gain := reading.gain) is not None:
            for bound, value in (("low", gain.low), ("estimate", gain.preference), ("high", gain.high)):
                if value is not None:
                    preference.add_metric([experiment.name, gain.policy, bound], value)
    yield from (costs, preference)


def _stages(readings: list[ExperimentProgress]) -> Families:
    share = _gauge(
        "experiment_staged_share",
        "Share of ordinary traffic that a policy answers which is promoted step by step.",
        "policy",
        "waits_for",
    )
    for reading in readings:
        stage, certificate = reading.view.stage, reading.view.certificate or {}
        if stage is not None:
            labels = [reading.view.experiment.name, certificate["champion_name"], end_of(stage.present)]
            share.add_metric(labels, stage.present.share)
    yield share


def _guardrails(readings: list[ExperimentProgress]) -> Families:
    each = ("guardrail", "policy")
    nats = _gauge("guardrail_evidence_nats", "Evidence that a policy is worse than the incumbent.", *each)
    needed = _gauge("guardrail_evidence_needed_nats", "The evidence at which it is found worse.", *each)
    pairs = _gauge("guardrail_pairs", "Pairs of answers that a guardrail compared.", *each)
    tripped = _gauge(
        "guardrail_tripped", "1 while a policy counts as worse, until it is admitted again.", *each, "did"
    )
    for reading in readings:
        name, policies = reading.view.experiment.name, reading.view.experiment.policies
        for found in reading.guard_readings:
            labels = [name, found.guardrail.name, policies[found.policy]]
            nats.add_metric(labels, found.nats)
            needed.add_metric(labels, found.needed)
            pairs.add_metric(labels, found.counted)
        prints = dict(zip(reading.view.experiment.policy_fingerprints, policies, strict=True))
        for trip in reading.view.guards.trips:
            if trip.policy in prints:
                tripped.add_metric([name, trip.guardrail, prints[trip.policy], trip.did.value], 1.0)
    yield from (nats, needed, pairs, tripped)


def _watches(readings: list[ExperimentProgress]) -> Families:
    evidence = _gauge("watch_evidence_nats", "Evidence that the promoted policy is worse, while watched.")
    needed = _gauge("watch_evidence_needed_nats", "The evidence at which the promotion is rolled back.")
    results = _gauge(
        "watch_comparisons", "Comparisons of the watch, seen from the promoted policy.", "result"
    )
    left = _gauge("watch_remaining_seconds", "What is left of the watch's time.")
    for reading in readings:
        found = reading.watched
        if found is None or not found.is_open:
            continue
        name, figures = reading.view.experiment.name, found.figures
        evidence.add_metric([name], figures["evidence_nats"])
        needed.add_metric([name], figures["needed_nats"])
        ties = figures["comparisons"] - figures["wins"] - figures["losses"]
        for result, number in (("win", figures["wins"]), ("loss", figures["losses"]), ("tie", ties)):
            results.add_metric([name, result], number)
        if found.seconds_left is not None:
            left.add_metric([name], found.seconds_left)
    yield from (evidence, needed, results, left)


def _informing(readings: list[ExperimentProgress]) -> Families:
    total = _gauge(
        "experiment_informing_comparisons", "Comparisons that inform and are no evidence.", "source"
    )
    used = _gauge("experiment_informing_used", "Probability that the forecasts use a source.", "source")
    gained = _gauge(
        "experiment_informing_gained_nats",
        "How much better people's comparisons were predicted with a source than without it.",
        "source",
    )
    agreement = _gauge(
        "experiment_informing_agreement",
        "Share of the pairs in which a source and people prefer the same policy, by bound.",
        "source",
        "bound",
    )
    for reading in readings:
        name = reading.view.experiment.name
        for each in reading.sources:
            total.add_metric([name, each.name], each.comparisons)
            if each.used is not None:
                used.add_metric([name, each.name], each.used)
            if each.gained_nats is not None:
                gained.add_metric([name, each.name], each.gained_nats)
            if each.pairs:
                shares = ("low", each.low), ("estimate", each.agreed / each.pairs), ("high", each.high)
                for bound, share in shares:
                    agreement.add_metric([name, each.name, bound], share)
    yield from (total, used, gained, agreement)


_FAMILIES: Final[tuple[Callable[[list[ExperimentProgress]], Families], ...]] = (
    *(_states, _comparisons, _evidence, _balances, _reporting, _builds, _plans, _gains, _stages, _watches),
    *(_guardrails, _informing),
    signal_figures,
)
