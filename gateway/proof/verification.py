"""Recomputes a decision from the experiment's log alone, without trusting the gateway or its store.

Five things must hold: the certificate's numbers follow from the comparisons; every comparison was counted
with the forecast of the plan in force, which was logged before it; what was inherited follows from the logs
of the generations before (`ancestry`); a watch over the promotion ended as its own comparisons say
(`watched`); and what the store did (state, incumbent) is what it records.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from gateway.errors import GatewayError
from gateway.experiments.conclusions import BY_HAND, certified_gain, logged_voting
from gateway.experiments.judge import judge_named
from gateway.experiments.policy_content import misdescribed
from gateway.experiments.structure import structure_of
from gateway.llm_po.certificate import recompute
from gateway.llm_po.errors import LlmPoError
from gateway.llm_po.lines import UNSTATED_PROMISE
from gateway.llm_po.scalars import is_whole
from gateway.proof.ancestry import Ancestry, retrace
from gateway.proof.forecasts import misapplied_forecasts
from gateway.proof.informed import misinformed
from gateway.proof.last_looks import misstated_look
from gateway.proof.moves import Walk, moves_by_hand
from gateway.proof.recorded import RecordedExperiment
from gateway.proof.tripped import mistripped
from gateway.proof.vouched import misvouched
from gateway.proof.watched import miswatched
from gateway.running.printable import on_one_line
from policy_store.events import Eliminated, LoggedEvent
from policy_store.log_records import LoggedPlan
from policy_store.states import STATES

_ROUNDED: Final = 2e-6  # certificates round to six digits


class UndecidedError(GatewayError):
    """The experiment has no certificate yet, so there is nothing to verify."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of recomputing a decision. `differences` is empty if everything is confirmed.

    `claim` is the promise about the champion in words; None if there is no champion. `by_hand` has the moves
    by hand, oldest first: move, person, reason, and the states before and after. `watch` has what the latest
    watch over the promotion counted; None without one, or if it cannot be read. `integrity` is what the
    certificate says of its votes; None for early ones. `last_look` is the certificate's, with its number and
    whether it decided; None without one. `policies` is how many there are.
    """

    name: str
    generation: int
    outcome: str
    champion: str | None
    comparisons: int
    statistic_nats: float | None
    threshold_nats: float | None
    differences: tuple[str, ...]
    inherited: int = 0
    gain: dict[str, Any] | None = None
    claim: str | None = None
    by_hand: tuple[dict[str, Any], ...] = ()
    watch: dict[str, Any] | None = None
    integrity: dict[str, Any] | None = None
    last_look: dict[str, Any] | None = None
    policies: int = 0

    @property
    def is_confirmed(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    @property
    def is_by_hand(self) -> bool:
        """Whether a person decided, so that the record claims nothing about the evidence."""
        return self.outcome == BY_HAND


def verify(recorded: RecordedExperiment) -> Verification:
    """Recompute the decision and compare.

    Raises:
        UndecidedError: If there is no certificate yet and the logged moves lead to the recorded state.
    """
    certificate, by_hand = recorded.certificate, tuple(moves_by_hand(recorded.own.records))
    if certificate is None:
        return _undecided(recorded, by_hand)
    try:
        return _compared(recorded, certificate, by_hand)
    except (ArithmeticError, AttributeError, LlmPoError, LookupError, TypeError, ValueError) as error:
        return _of_log(recorded, "unreadable", [f"The certificate cannot be read: {error!r}."], by_hand)


def _compared(
    recorded: RecordedExperiment, certificate: dict[str, Any], by_hand: tuple[dict[str, Any], ...]
) -> Verification:
    inherited, champion = recorded.own.inherited, certificate.get("champion_name")
    return Verification(
        name=recorded.name,
        generation=recorded.own.generation,
        outcome=str(certificate.get("outcome")),
        champion=None if champion is None else str(champion),
        comparisons=int(certificate.get("comparisons", 0)),
        statistic_nats=certificate.get("statistic_nats"),
        threshold_nats=certificate.get("threshold_nats"),
        differences=tuple(CertificateCheck(recorded, certificate).differences()),
        inherited=inherited.comparisons if inherited else 0,
        gain=certificate.get("gain"),
        claim=recorded.claim,
        by_hand=by_hand,
        watch=recorded.watch_summary,
        integrity=certificate.get("integrity"),
        last_look=certificate.get("last_look"),
        policies=len(recorded.own.experiment.policies),
    )


def _undecided(recorded: RecordedExperiment, by_hand: tuple[dict[str, Any], ...]) -> Verification:
    """The differences in the log of an experiment without a certificate; UndecidedError if there are none."""
    differences = [
        *misled(recorded, Walk(recorded.own.experiment)),
        *(each for generation in recorded.generations for each in misapplied_forecasts(generation)),
        *misinformed(recorded),
    ]
    if not differences:
        raise UndecidedError(
            f"The experiment {recorded.name!r} is {recorded.state}: it has no certificate to verify."
            + "".join(f"\n{hand_sentence(move)}" for move in by_hand)
        )
    return _of_log(recorded, "undecided", differences, by_hand)


def _of_log(
    recorded: RecordedExperiment,
    outcome: str,
    differences: Sequence[str],
    by_hand: tuple[dict[str, Any], ...],
) -> Verification:
    """What is found without anything that a certificate says."""
    return Verification(
        name=recorded.name,
        generation=recorded.own.generation,
        outcome=outcome,
        champion=None,
        comparisons=len(recorded.own.comparisons),
        statistic_nats=None,
        threshold_nats=None,
        differences=tuple(differences),
        by_hand=by_hand,
    )


def hand_sentence(move: dict[str, Any]) -> str:
    """A move by hand in one line."""
    return on_one_line(f"{move['actor']} moved it from {move['before']} to {move['after']}: {move['reason']}")


def misled(recorded: RecordedExperiment, walk: Walk) -> Iterator[str]:
    """Differences between the recorded state and the one that the logged steps lead to."""
    experiment = recorded.own.experiment
    for generation in recorded.generations:
        if generation.experiment.name != recorded.name:
            yield (
                f"name: the log is headed {recorded.name}, its generation {generation.generation} is of "
                f"{generation.experiment.name}"
            )
    if recorded.incumbent not in experiment.policies:
        yield f"incumbent: {recorded.incumbent} serves, which is none of {', '.join(experiment.policies)}"
    yield from walk.follow(recorded.own.records)
    if walk.state != recorded.state:
        yield f"state: the experiment is {recorded.state}, the steps in its log lead to {walk.state}"
    name = recorded.incumbent if walk.serves is None else experiment.policies[walk.serves]
    if name != recorded.incumbent:
        yield f"incumbent: {recorded.incumbent} serves, the steps in the log lead to {name}"
    yield from mistripped(recorded.own.records)


class CertificateCheck:
    """Compares a certificate with the log that it should follow from. Each check yields differences.

    Args:
        recorded: The log with its certificate.
        certificate: The certificate.
    """

    def __init__(self, recorded: RecordedExperiment, certificate: dict[str, Any]) -> None:
        self._recorded = recorded
        self._certificate = certificate

    def differences(self) -> Iterator[str]:
        """All differences."""
        yield from self.replayed()
        for generation in self._recorded.generations:
            yield from misapplied_forecasts(generation)
        yield from self.misreported()
        if not self._is_by_hand:
            yield from self.misstated_inference()
            yield from self.misstated_look()
        yield from self.misstated_voting()
        yield from self.misstated_integrity()
        yield from self.misdescribed_policies()
        yield from self.misstated_gain()
        yield from self.misnamed_judge()
        yield from self.untaken_steps()
        yield from miswatched(self._recorded.own.records, self._recorded.watches)
        yield from misinformed(self._recorded)

    @property
    def champion_name(self) -> str | None:
        """The name of the policy whose index the certificate gives; None if it gives none."""
        champion = self._certificate.get("champion")
        policies = self._recorded.own.experiment.policies
        return policies[champion] if is_whole(champion, 0) and champion < len(policies) else None

    @property
    def _is_by_hand(self) -> bool:
        """Whether a person decided, so that the record claims nothing about the evidence."""
        return self._certificate.get("outcome") == BY_HAND

    def replayed(self) -> Iterable[str]:
        """Numbers that do not follow from the comparisons."""
        recorded, certificate = self._recorded, self._certificate
        try:
            ancestry = retrace(recorded.generations)
            if self._is_by_hand:
                return [*ancestry.differences, *self._miscounted(ancestry)]
            found = recompute(recorded.own.counted(), certificate, ancestry.start)
            return ancestry.differences + found.differences
        except LlmPoError as error:
            return [str(error)]
        except (KeyError, TypeError, ValueError) as error:
            return [f"The certificate cannot be read: {error!r}."]

    def _miscounted(self, ancestry: Ancestry) -> Iterator[str]:
        """Numbers in a record by hand that differ from what had been counted by then."""
        certificate = self._certificate
        tally = self._recorded.own.standing(until=certificate["comparisons"], start=ancestry.start).tally
        for field, counted in (("wins", tally.wins.tolist()), ("ties", tally.ties.tolist())):
            if certificate[field] != counted:
                yield f"{field}: the certificate says {certificate[field]}, the log gives {counted}"

    def misreported(self) -> Iterable[str]:
        """Differences between the certificate's numbers and its words or the store's state."""
        recorded, certificate = self._recorded, self._certificate
        experiment, name = recorded.own.experiment, self.champion_name
        if (said := certificate.get("champion_name")) != name:
            champion = certificate.get("champion")
            yield f"champion_name: the certificate says {said}, policy {champion} is {name}"
        yield from self._misquoted()
        own = recorded.own.generation
        if certificate.get("generation") != own:
            yield f"generation: the certificate is of {certificate.get('generation')}, not {own}"
        champion_serves = {str(state) for state, facts in STATES.items() if facts.serves == "champion"}
        if name is not None and recorded.state in champion_serves and recorded.incumbent != name:
            yield f"incumbent: {recorded.incumbent} serves, the certificate names {name}"
        for field in ("delta", "epsilon", "max_comparisons", "min_comparisons"):
            if certificate.get(field) != getattr(experiment, field):
                yield (
                    f"{field}: the certificate says {certificate.get(field)}, the experiment "
                    f"{getattr(experiment, field)}"
                )

    def _misquoted(self) -> Iterator[str]:
        """What the certificate repeats of the experiment, the plan and who served, if the log says otherwise.

        Early certificates repeat no experiment.
        """
        own, certificate = self._recorded.own, self._certificate
        if "experiment" in certificate:
            said, known = certificate["experiment"], json.loads(own.experiment.to_json())
            for field in sorted(known.keys() | said.keys()):
                if (value := said.get(field)) != known.get(field):
                    yield f"experiment: the certificate says {field} {value}, the log {known.get(field)}"
        version = certificate.get("plan_version")
        versions = {record.version for record in own.records if isinstance(record, LoggedPlan)}
        if version not in versions and not (self._is_by_hand and version == 0):
            yield f"plan_version: the certificate says {version}, the log has no such plan"
        incumbent, policies = certificate["incumbent"], len(own.experiment.policies)
        if not is_whole(incumbent, 0) or incumbent >= policies:
            yield f"incumbent: the certificate says {incumbent}, which is no policy's index"
        yield from self._miseliminated()

    def _miseliminated(self) -> Iterator[str]:
        """Logged eliminations that the certificate, whose own are recomputed, does not have."""
        certificate = self._certificate
        found: dict[object, object] = dict(enumerate(certificate.get("eliminated_at", ())))
        for record in self._recorded.own.records:
            told = record.told if isinstance(record, LoggedEvent) else None
            if isinstance(told, Eliminated) and told.comparison <= certificate["comparisons"]:
                policy, names = told.policy, self._recorded.own.experiment.policies
                index = names.index(policy) if policy in names else policy
                if found and found.get(index) != told.comparison:
                    yield (
                        f"eliminated: the log says {policy} by comparison {told.comparison}, the certificate "
                        f"{found.get(index)}"
                    )

    def untaken_steps(self) -> Iterable[str]:
        """Differences between the logged steps and the recorded state or certificate."""
        recorded = self._recorded
        walk = Walk(recorded.own.experiment, self._certificate.get("incumbent"))
        yield from misled(recorded, walk)
        yield from walk.uncertified(self._certificate)

    def misstated_voting(self) -> Iterable[str]:
        """Differences in the voters between certificate and log; early certificates report no voters."""
        recorded, certificate = self._recorded, self._certificate
        told = certificate.get("voting")
        if told is None:
            return
        last = int(certificate.get("comparisons", 0))
        found = asdict(logged_voting(each for each in recorded.own.comparisons if each.number <= last))
        if told != found:
            yield f"voting: the certificate says {told}, the log {found}"

    def misstated_integrity(self) -> Iterable[str]:
        """Differences in what is said of the votes; earlier certificates say nothing."""
        told = self._certificate.get("integrity")
        if told is None:
            return []
        try:
            return misvouched(self._recorded.own, self._certificate, told)
        except (KeyError, TypeError, ValueError, LlmPoError) as error:
            return [f"integrity: it cannot be read: {error!r}"]

    def misdescribed_policies(self) -> Iterable[str]:
        """Differences between the shown and the compared policies; early certificates show none."""
        if "policies" not in self._certificate:
            return
        try:
            yield from misdescribed(self._recorded.own.experiment, self._certificate["policies"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            yield f"policies: what the certificate says of them cannot be read: {error!r}"

    def misstated_gain(self) -> Iterable[str]:
        """Differences between the gain and the counts; early certificates have no gain."""
        told = self._certificate.get("gain")
        if told is None:
            return
        try:
            found = certified_gain(self._certificate, self._recorded.own.experiment)
        except (LlmPoError, KeyError, TypeError, ValueError, IndexError) as error:
            yield f"gain: it cannot be recomputed: {error!r}"
            return
        if not _is_told(told, None if found is None else asdict(found)):
            yield f"gain: the certificate says {told}, the counts {found}"

    def misstated_look(self) -> Iterable[str]:
        """Differences between the certificate's last look and the log."""
        try:
            yield from misstated_look(self._recorded.own, self._certificate)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            yield f"last_look: what the certificate and the log say of it cannot be read: {error!r}"

    def misnamed_judge(self) -> Iterable[str]:
        """A difference between the judge that the certificate names and the one of the experiment."""
        found, told = judge_named(self._recorded.own.experiment), self._certificate.get("judge")
        if told != found:
            yield f"judge: the certificate says {told}, the experiment {found}"

    def misstated_inference(self) -> Iterable[str]:
        """Differences in rule, structure or promise between the certificate and the experiment."""
        experiment, certificate = self._recorded.own.experiment, self._certificate
        if (promise := certificate.get("promise", UNSTATED_PROMISE)) != experiment.promise:
            yield f"promise: the certificate says {promise}, the experiment {experiment.promise}"
        said = structure_of(experiment.inference, experiment.policies)
        rows = None if said.features is None else said.features.rows.tolist()
        found = {"stopping": said.stopping, "features": rows}
        for field, value in found.items():
            if certificate.get(field, "e-process" if field == "stopping" else None) != value:
                yield f"{field}: the certificate says {certificate.get(field)}, the experiment {value}"


def _is_told(told: Any, found: dict[str, Any] | None) -> bool:
    """Whether a gain equals the computed one, up to the last digits, which differ between machines."""
    if found is None or not isinstance(told, dict) or told.keys() != found.keys():
        return False
    return all(
        math.isclose(told[name], value, abs_tol=_ROUNDED)
        if isinstance(value, float) and isinstance(told[name], int | float)
        else told[name] == value
        for name, value in found.items()
    )
