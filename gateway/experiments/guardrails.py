"""Guardrails as values: what each measures, which test it is, and what follows if a policy is worse.

GuardrailSpec (from the file)  ->  Guardrail  ->  counts of pairs in the store  ->  GuardReading  ->  a deed
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.config.guardrails import QUANTILE, GuardrailSpec, Then, range_of
from gateway.experiments.plan_values import Decision
from gateway.llm_po.guardrails import Contrast, Finding, Pairs, mean_numbers, tripping_nats
from policy_store.guard_records import CountedFor, Deed, GuardCounts, GuardStanding
from policy_store.moves import MOVES, Move
from policy_store.view import ExperimentView

GUARDRAIL_ACTOR: Final = "guardrail"
"""The actor in the log when a guardrail pauses an experiment or takes a promotion back."""

_ID_DIGITS: Final = 12


class Measure(Enum):
    """What is measured of an answer."""

    ERROR = "error_rate"
    REFUSAL = "refusal_rate"
    LATENCY = "latency"
    SLOWNESS = "latency_p"  # whether it took longer than the incumbent's answers mostly take
    COST = "cost"
    OUTPUT_TOKENS = "output_tokens"
    POSTED = "posted"  # the application says it

    @classmethod
    def named(cls, name: str) -> Measure:
        """What a guardrail of this name measures."""
        if QUANTILE.fullmatch(name):
            return cls.SLOWNESS
        return next((each for each in cls if each.value == name), cls.POSTED)


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One guardrail of an experiment.

    Attributes:
        name: Its name in the file.
        measure: What it measures.
        low: The smallest number of the metric.
        high: The largest.
        contrast: By how much a policy is worse, less the tolerance.
        level: Largest probability that it ever finds a policy worse that is not.
        then: What the file wants done.
        is_boolean: Whether a posted metric is true or false.
        id: Changes with everything that fixes the meaning of its counts.
        quantile: Of the incumbent's times, which one slowness is measured by.
        slack: By which factor another policy's times may be longer.
    """

    name: str
    measure: Measure
    low: float
    high: float
    contrast: Contrast
    level: float
    then: Then
    is_boolean: bool
    id: str
    quantile: float = 0.0
    slack: float = 1.0

    def scaled(self, number: float) -> float:
        """A number as a share of the range."""
        return min(max((number - self.low) / (self.high - self.low), 0.0), 1.0)

    def unscaled(self, share: float) -> float:
        """The number that is this share of the range."""
        return self.low + share * (self.high - self.low)


def guardrail_of(name: str, spec: GuardrailSpec) -> Guardrail:
    """The guardrail that a section of the file describes."""
    low, high = range_of(spec)
    is_tail = QUANTILE.fullmatch(name)
    about = {"name": name, **spec.model_dump(include={"worse_by", "up_to", "range", "better"})}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return Guardrail(
        name=name,
        measure=Measure.named(name),
        low=low,
        high=high,
        contrast=_contrast(spec, high - low, is_tail=bool(is_tail)),
        level=spec.level,
        then=spec.then,
        is_boolean=spec.range == "boolean",
        id=digest[:_ID_DIGITS],
        quantile=int(is_tail[1]) / 100 if is_tail else 0.0,
        slack=1.0 + (spec.relative or 0.0) if is_tail else 1.0,
    )


def _contrast(spec: GuardrailSpec, width: float, *, is_tail: bool) -> Contrast:
    """By how much a policy is worse, in shares of the range."""
    if is_tail:
        return Contrast(1.0, -1.0, 0.0)
    sign = 1.0 if spec.better == "lower" else -1.0
    if spec.relative is not None:
        return Contrast(sign, -sign * (1.0 + sign * spec.relative), 0.0)
    return Contrast(sign, -sign, -float(spec.worse_by) / width)


def counted_for(guardrail: Guardrail, policy: str, reference: str, standing: GuardStanding) -> CountedFor:
    """What pairs of two policies, given by fingerprint, are counted for now."""
    return CountedFor(guardrail.id, policy[:_ID_DIGITS], reference[:_ID_DIGITS], standing.count_of(policy))


@dataclass(frozen=True, slots=True)
class GuardReading:
    """What a guardrail says of a policy.

    Attributes:
        guardrail: The guardrail.
        policy: Index of the policy.
        reference: Index of the policy it is compared with.
        finding: What the evidence allows to say.
        pairs: The pairs of answers that the finding rests on.
        hour: Which hour of counting they are from; None for all of them.
        nats: Evidence that the policy is worse.
        needed: The evidence at which it is found worse.
        nats_not_worse: Evidence that it is not.
        numbers: The mean numbers of the policy and of the other one, in the metric's unit, or None.
        counted: The number of all pairs.
    """

    guardrail: Guardrail
    policy: int
    reference: int
    finding: Finding
    pairs: Pairs
    hour: int | None
    nats: float
    needed: float
    nats_not_worse: float
    numbers: tuple[float, float] | None
    counted: int

    def is_new_to(self, view: ExperimentView) -> bool:
        """Whether it was not acted on before; nothing more is found of a policy that is ejected."""
        policy, guards = view.experiment.policy_fingerprints[self.policy], view.guards
        return policy not in guards.ejected and not guards.has_tripped(self.guardrail.name, policy)


def reading_of(guardrail: Guardrail, policy: int, reference: int, counts: GuardCounts) -> GuardReading:
    """What a guardrail says on these counts: of all pairs and of each hour, what is nearest to its line."""
    contrast, level = guardrail.contrast, guardrail.level
    looks: list[tuple[int | None, Pairs]] = [(None, counts.pairs)]
    if counts.first_hour is not None:
        looks += [(hour - counts.first_hour + 1, pairs) for hour, pairs in counts.hours.items()]
    looks = [(hour, pairs) for hour, pairs in looks if hour is None or hour >= 1]
    found = [(contrast.nats(pairs), tripping_nats(level, hour), hour, pairs) for hour, pairs in looks]
    nats, needed, hour, pairs = max(found, key=lambda each: each[0] - each[1])
    not_worse = contrast.nats_not_worse(counts.pairs)
    finding = Finding.INCONCLUSIVE
    if nats >= needed:
        finding = Finding.WORSE
    elif not_worse >= tripping_nats(level):
        finding = Finding.NOT_WORSE
    means = mean_numbers(pairs)
    numbers = None if means is None else (guardrail.unscaled(means[0]), guardrail.unscaled(means[1]))
    return GuardReading(
        guardrail,
        policy,
        reference,
        finding,
        pairs,
        hour,
        nats,
        needed,
        not_worse,
        numbers,
        sum(counts.pairs.values()),
    )


def guarded_policies(view: ExperimentView) -> tuple[int, tuple[int, ...]]:
    """The policy that others are compared with, and those that are compared with it."""
    if view.watch is not None and view.state.facts.is_watched:
        return view.watch.previous, (view.watch.champion,)
    others = tuple(each for each in range(len(view.experiment.policies)) if each != view.incumbent)
    return view.incumbent, others


def counted_run(view: ExperimentView) -> int:
    """The run for which pairs are counted."""
    is_watched = view.watch is not None and view.state.facts.is_watched
    return view.watch.run if is_watched and view.watch is not None else view.generation


def readings(
    view: ExperimentView, guardrails: tuple[Guardrail, ...], counted: Mapping[CountedFor, GuardCounts]
) -> list[GuardReading]:
    """What every guardrail says of every policy."""
    prints = view.experiment.policy_fingerprints
    reference, policies = guarded_policies(view)
    return [
        reading_of(
            guardrail,
            policy,
            reference,
            counted.get(
                counted_for(guardrail, prints[policy], prints[reference], view.guards), GuardCounts()
            ),
        )
        for guardrail in guardrails
        for policy in policies
    ]


def deed_for(view: ExperimentView, then: Then, policy: int) -> tuple[Deed, Move | None]:
    """What follows if a policy is found worse, and the move of the experiment that this is, if any.

    While a promotion is watched, a guardrail takes it back, whatever it does otherwise: nothing else would
    keep the policy from users. Only a signal (`ask`) leaves that to a person.
    """
    facts, certificate = view.state.facts, view.certificate or {}
    is_champion = certificate.get("champion") == policy
    pause = Move.PAUSE if view.state in MOVES[Move.PAUSE].sources else None
    if then == "ask":
        return Deed.ASKED, pause
    if facts.is_watched or (facts.is_staged and is_champion and then == "rollback"):
        return Deed.TAKEN_BACK, Move.ROLL_BACK
    match then:
        case "pause":
            return Deed.PAUSED, pause
        case "rollback":
            return Deed.NOTED, None
        case "eject":
            withdraws = is_champion and view.state in MOVES[Move.WITHDRAW].sources
            return Deed.EJECTED, Move.WITHDRAW if withdraws else None


def reason_of(reading: GuardReading, policies: tuple[str, ...]) -> str:
    """Why a guardrail acts, with the figures."""
    found, usual = reading.numbers or (0.0, 0.0)
    when = "" if reading.hour is None else f" of one hour (hour {reading.hour})"
    pairs = sum(reading.pairs.values())
    return (
        f"{reading.guardrail.name}: {policies[reading.policy]} is worse than {policies[reading.reference]}: "
        f"{found:.4g} on average against {usual:.4g} in {pairs} pairs of answers{when}; the evidence is "
        f"{reading.nats:.3f} nats of {reading.needed:.3f} (level {reading.guardrail.level:g})."
    )


def ejected_policies(view: ExperimentView) -> frozenset[int]:
    """Indices of the policies that guardrails ejected. The one that serves by now is not."""
    prints, ejected = view.experiment.policy_fingerprints, view.guards.ejected
    return frozenset(index for index, each in enumerate(prints) if each in ejected) - {view.incumbent}


def why_not_promoted(view: ExperimentView, policy: int) -> str | None:
    """Why a policy is not promoted, if guardrails found it worse."""
    trips = view.guards.of(view.experiment.policy_fingerprints[policy])
    if not trips or policy == view.incumbent:
        return None
    name, found = view.experiment.policies[policy], ", ".join(trip.guardrail for trip in trips)
    return (
        f"The guardrail {found} found {name} worse, so it is not promoted. Change the policy, or admit it "
        f"again: llmpo experiments readmit {view.experiment.name} --policy {name} --reason ..."
    )


def held_back(view: ExperimentView, decision: Decision | None) -> str | None:
    """Why guardrails hold a decision back: it would promote a policy that they found worse."""
    champion = None if decision is None else decision.champion
    return None if champion is None else why_not_promoted(view, champion)


def held_by_guardrails(view: ExperimentView) -> list[str]:
    """What guardrails hold back, a sentence for each policy."""
    policies = range(len(view.experiment.policies))
    found = [why for policy in policies if (why := why_not_promoted(view, policy)) is not None]
    for policy in sorted(ejected_policies(view)):
        name = view.experiment.policies[policy]
        found.append(
            f"{name} is ejected and compared no more, so evidence about it stays as it is. Where a decision "
            "needs more of it, take the policy out of the file: the others keep their evidence."
        )
    return found
