"""Works out what happens when another configuration replaces the one in force.

For each experiment it says which evidence continues to count and why, and which callers get other answers.
`llmpo config diff` shows this beforehand; a reload reports it afterwards. The rules are those of
`register.lua` ([0001](../../docs/decisions/0001-generations.md)).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from gateway.experiments.description import Description, ExperimentDescription, Words
from gateway.experiments.standing import ExperimentStanding
from policy_store.experiment import Experiment
from policy_store.generations import KeptGeneration
from policy_store.states import INITIAL

_PARTS: Final = ("model", "system", "template", "params")

Evidence = Literal["kept", "inherited", "resumed", "anew", "begins", "unused"]
ChangedThing = Literal["experiment", "model", "key", "webhook", "setting"]

# The file's names for changed fields of the record.
_IN_THE_FILE: Final[Mapping[str, str]] = {
    "collect": "traffic.collect",
    "outcome_rules": "what feedback counts as",
    "policies": "fewer than two policies are the same",
    "stopping": "the stopping rule decides by the counts alone, or is another one",
}


@dataclass(frozen=True, slots=True)
class Change:
    """One changed part of the file.

    Attributes:
        kind: What it is.
        name: Its name in the file.
        what: The differences, a clause each.
        evidence: For an experiment, what happens to its evidence.
        lost: The callers that get no answers any more, a sentence each.
    """

    kind: ChangedThing
    name: str
    what: tuple[str, ...]
    evidence: Evidence | None = None
    lost: tuple[str, ...] = ()

    @property
    def loses_evidence(self) -> bool:
        """Whether evidence that counts now would no longer count."""
        return self.evidence in ("anew", "unused")


def changes_between(
    old: Description, new: Description, standings: Mapping[str, ExperimentStanding] | None = None
) -> tuple[Change, ...]:
    """Every difference.

    Args:
        old: The file in force.
        new: The file that would replace it.
        standings: The present states of experiments, as far as they are known.
    """
    both = _Replacement(old, new)
    return (
        *both.experiments(standings or {}),
        *both.models(),
        *both.keys(),
        *both.webhooks(),
        *both.settings(),
    )


def changes_document(changes: Sequence[Change]) -> dict[str, Any]:
    """Changes in plain values."""
    return {
        "changes": [asdict(change) for change in changes],
        "loses_evidence": any(change.loses_evidence for change in changes),
        "loses_traffic": any(change.lost for change in changes),
    }


@dataclass(frozen=True, slots=True)
class _Replacement:
    """A file and the one that replaces it.

    Attributes:
        old: The file in force.
        new: The other file.
    """

    old: Description
    new: Description

    def experiments(self, standings: Mapping[str, ExperimentStanding]) -> Iterator[Change]:
        """The changed experiments; `standings` has their present states, as far as they are known."""
        old, new = self.old.experiments, self.new.experiments
        for name, before in old.items():
            if name not in new:
                is_model = name in self.new.models
                instead = "the model of that name answers" if is_model else "requests get a 404"
                yield Change("experiment", name, ("removed",), "unused", (f"Callers of {name}: {instead}.",))
                continue
            found = _Succession(before, new[name], standings.get(name)).change(name)
            if found is not None:
                yield found
        for name, added in new.items():
            if name not in old:
                serves = added.experiment.policies[added.experiment.incumbent]
                yield Change("experiment", name, (f"added, {serves} serves",), "begins")

    def models(self) -> Iterator[Change]:
        """The changed models."""
        for name, before in self.old.models.items():
            if name not in self.new.models:
                is_lost = name not in self.new.experiments
                lost = (f"Callers of the model {name} get a 404.",) if is_lost else ()
                yield Change("model", name, ("removed",), lost=lost)
            elif self.new.models[name] != before:
                yield Change("model", name, tuple(_words_changed(before, self.new.models[name])))
        for name in self.new.models.keys() - self.old.models.keys():
            yield Change("model", name, ("added",))

    def keys(self) -> Iterator[Change]:
        """The changed keys."""
        for name, before in self.old.keys.items():
            after = self.new.keys.get(name)
            if after is None:
                yield Change("key", name, ("removed",), lost=(f"Callers with the key {name} are refused.",))
            elif after != before:
                is_other = after["hash"] != before["hash"]
                lost = (f"Callers with the former key {name} are refused.",) if is_other else ()
                yield Change("key", name, tuple(_words_changed(before, after)), lost=lost)
        for name in self.new.keys.keys() - self.old.keys.keys():
            yield Change("key", name, ("added",))

    def webhooks(self) -> Iterator[Change]:
        """The changed webhooks."""
        for name in sorted(self.old.webhooks.keys() | self.new.webhooks.keys()):
            before, after = self.old.webhooks.get(name), self.new.webhooks.get(name)
            if before is None:
                yield Change("webhook", name, ("added",))
            elif after is None:
                yield Change("webhook", name, ("removed",), lost=(f"The webhook {name} is told no more.",))
            elif before != after:
                yield Change("webhook", name, tuple(_words_changed(before, after)))

    def settings(self) -> Iterator[Change]:
        """The changed settings."""
        old, new = self.old.words, self.new.words
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) == new.get(name):
                continue
            is_about_origins = name == "cors_origins" and "*" not in new[name]
            gone = [origin for origin in old[name] if origin not in new[name]] if is_about_origins else []
            lost = tuple(f"Pages of {origin} may not call any more." for origin in gone)
            yield Change("setting", name, (f"{_said(old, name)} -> {_said(new, name)}",), lost=lost)


class _Succession:
    """One experiment before and after.

    Args:
        before: The experiment in the file in force.
        after: The experiment in the other file.
        standing: Its present state; None if that is not known.
    """

    def __init__(
        self, before: ExperimentDescription, after: ExperimentDescription, standing: ExperimentStanding | None
    ) -> None:
        self._before, self._after = before, after
        self._old, self._new = before.experiment, after.experiment
        self._standing = standing

    def change(self, name: str) -> Change | None:
        """The change; None if nothing is different."""
        if self._before == self._after:
            return None
        evidence, why = self._evidence()
        before, after = self._serves(), self._will_serve()
        moved = () if before == after else (f"{after} serves instead of {before}",)
        what = (
            *why,
            *_policies_changed(self._before, self._after),
            *moved,
            *_words_changed(self._before.words, self._after.words),
        )
        gone = [policy for policy in self._old.policies if policy not in self._new.policies]
        lost = [f"{policy} answers no more." for policy in gone]
        if before not in (after, *gone):
            lost.append(f"{before} serves no more.")
        return Change("experiment", name, what, evidence, tuple(lost))

    def _evidence(self) -> tuple[Evidence, tuple[str, ...]]:
        known = self._known()
        if known is not None:
            if self._new.fingerprint() == self._old.fingerprint():
                return "kept", ()
            return "resumed", (f"generation {known.number} goes on with its evidence",)
        standing = self._standing
        if self._new.fingerprint() == self._old.fingerprint():
            return "anew", ("it was decided for another policy than the one that is to serve",)
        if standing is not None and (ended := standing.ended) is not None:
            return "anew", (f"generation {standing.generation} {ended}, so nothing goes on from it",)
        broken = self._new.breaks_with(self._old)
        if broken:
            named = (_IN_THE_FILE.get(field, f"another {field}") for field in broken)
            return "anew", tuple(f"evidence means something else: {each}" for each in named)
        same = ", ".join(_same_policies(self._old, self._new))
        return "inherited", (f"a new generation goes on with what was counted between {same}",)

    def _known(self) -> KeptGeneration | None:
        """The generation that the store would make current, as far as that is known."""
        fingerprint = self._new.fingerprint()
        if self._standing is not None:
            known = self._standing.generations.get(fingerprint)
            if known is None or known.state.facts.serves != "champion":
                return known
            return known if known.serves == self._will_serve() else None
        if fingerprint == self._old.fingerprint():
            return KeptGeneration(0, INITIAL, self._serves())
        return None

    def _serves(self) -> str:
        return self._standing.incumbent if self._standing else self._old.policies[self._old.incumbent]

    def _will_serve(self) -> str:
        """The file's incumbent if it names another one; otherwise the present one, if it stays unchanged."""
        named, serving = self._new.policies[self._new.incumbent], self._serves()
        if named != self._old.policies[self._old.incumbent]:
            return named
        return serving if serving in _same_policies(self._old, self._new) else named


def _same_policies(old: Experiment, new: Experiment) -> list[str]:
    there = set(zip(old.policies, old.policy_fingerprints, strict=True))
    here = zip(new.policies, new.policy_fingerprints, strict=True)
    return [name for name, fingerprint in here if (name, fingerprint) in there]


def _policies_changed(before: ExperimentDescription, after: ExperimentDescription) -> Iterator[str]:
    old, new = before.experiment, after.experiment
    prints = dict(zip(old.policies, old.policy_fingerprints, strict=True))
    for name, fingerprint in zip(new.policies, new.policy_fingerprints, strict=True):
        if name not in prints:
            yield f"policy {name} joins"
        elif prints[name] != fingerprint:
            was, now = before.contents.get(name), after.contents.get(name)
            parts = [part for part in _PARTS if now[part] != was[part]] if was and now else []
            yield f"policy {name} is another one" + (f" ({', '.join(parts)})" if parts else "")
    yield from (f"policy {name} leaves" for name in old.policies if name not in new.policies)


def _words_changed(before: Words, after: Words) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name) and not (name.startswith("policies.") and name not in before):
            yield f"{name}: {_said(before, name)} -> {_said(after, name)}"


def _said(words: Words, name: str) -> str:
    value = words.get(name)
    return (
        "-"
        if value is None
        else ", ".join(map(str, value)) or "none"
        if isinstance(value, list)
        else str(value)
    )
