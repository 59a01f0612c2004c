"""Rules between distant parts of a configuration: references to names, and keys that exclude each other.

These rules read the plain data of the file and skip everything of the wrong shape, so they work even if
another part of the file is wrong. The models (`gateway_file.py`) report wrong shapes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from gateway.config.grid import expanded
from gateway.config.values import ENVIRONMENT_PREFIX

Path = tuple[str | int, ...]
MIN_POLICIES: Final = 2
MAX_POLICIES: Final = 128
MIN_COMPARISONS: Final = 50  # by default
_LISTED: Final = 32


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule: where, what is wrong, and what would be right."""

    path: Path
    problem: str
    remedy: str


def suggest(word: str, known: Iterable[str], kind: str) -> str:
    """A remedy for an unknown word: the most similar known one, and the list to choose from."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}? " if near else ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{hint}{kind}: {', '.join(names[:_LISTED]) or 'none'}{more}."


def reference_faults(data: Any) -> list[Fault]:
    """Faults of a configuration's plain data against the rules between parts."""
    experiments = _mapping(_mapping(data).get("experiments"))
    names = _model_names(data)
    models = {model for _, model in names}
    faults: list[Fault] = []
    seen: set[str] = set()
    for index, name in names:
        if name in seen:
            path = ("model_list", index, "model_name")
            faults.append(Fault(path, f"{name!r} is listed twice.", "Give every entry a name of its own."))
        seen.add(name)
    for name in (name for name in experiments if name in models):
        problem = f"{name!r} is also the name of a model."
        faults.append(Fault(("experiments", name), problem, "Rename one: clients send this name as `model`."))
    faults += Fallbacks(data).faults()
    faults += _webhook_faults(_mapping(data).get("webhooks"), experiments)
    for name, section in experiments.items():
        faults += PlainExperiment(("experiments", name), _mapping(section), models).faults()
    return faults


def _webhook_faults(webhooks: Any, experiments: dict[str, Any]) -> Iterator[Fault]:
    """Webhooks for experiments that do not exist, and two of one name, or of one address and no name."""
    seen: list[Any] = []
    for index, webhook in enumerate(webhooks if isinstance(webhooks, list | tuple) else ()):
        path: Path = ("webhooks", index)
        name, listed = _mapping(webhook).get("name"), _mapping(webhook).get("experiments")
        called = (name, None if name else _mapping(webhook).get("url"))
        if called in seen:
            problem = f"{name!r} is listed twice." if name else "This address is listed twice, without names."
            yield Fault((*path, "name"), problem, "Give every webhook its own name.")
        seen.append(called)
        for place, each in enumerate(listed if isinstance(listed, list | tuple) else ()):
            if isinstance(each, str) and each not in experiments:
                remedy = suggest(each, experiments, "Experiments")
                yield Fault((*path, "experiments", place), f"There is no experiment {each!r}.", remedy)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _model_names(data: Any) -> list[tuple[int, str]]:
    entries = _mapping(data).get("model_list")
    if not isinstance(entries, list | tuple):
        return []
    names = ((index, _mapping(entry).get("model_name")) for index, entry in enumerate(entries))
    return [(index, name) for index, name in names if isinstance(name, str)]


def providers_named(data: Any) -> list[tuple[Path, str]]:
    """The provider of every model that writes it out, and where in the file it stands."""
    entries = _mapping(data).get("model_list") or []
    written = (
        (("model_list", index, "litellm_params", "model"), _mapping(entries[index]).get("litellm_params"))
        for index, _ in _model_names(data)
    )
    models = ((path, _mapping(params).get("model")) for path, params in written)
    return [
        (path, model.partition("/")[0])
        for path, model in models
        if isinstance(model, str) and "/" in model and not model.startswith(ENVIRONMENT_PREFIX)
    ]


def provider_faults(named: Iterable[tuple[Path, str]], known: Iterable[str]) -> Iterator[Fault]:
    """A fault for every unknown provider."""
    providers = set(known)
    for path, provider in named:
        if provider not in providers:
            yield Fault(
                path, f"There is no provider {provider!r}.", suggest(provider, providers, "Providers")
            )


class Fallbacks:
    """The models' fallbacks, in the plain data of a configuration."""

    def __init__(self, data: Any) -> None:
        entries = _mapping(data).get("model_list") or []
        self._of: dict[str, tuple[int, list[str]]] = {}
        for index, name in _model_names(data):
            others = _mapping(entries[index]).get("fallbacks")
            listed = others if isinstance(others, list | tuple) else []
            self._of[name] = (index, [one for one in listed if isinstance(one, str)])

    def faults(self) -> Iterator[Fault]:
        """Fallbacks to models that do not exist, and fallbacks that lead back to their own model."""
        for name, (index, others) in self._of.items():
            for place, other in enumerate(others):
                path: Path = ("model_list", index, "fallbacks", place)
                if other not in self._of:
                    yield Fault(
                        path,
                        f"There is no model {other!r}.",
                        suggest(other, self._of, "Models in model_list"),
                    )
                elif (loop := self.way(other, name)) is not None:
                    shown = " -> ".join((name, *loop))
                    yield Fault(path, f"Fallbacks go in a circle: {shown}.", "Leave one of them out.")

    def way(self, start: str, goal: str) -> tuple[str, ...] | None:
        """The shortest chain of fallbacks from one model to another, both included; None if there is none."""
        ways: list[tuple[str, ...]] = [(start,)]
        seen = {start}
        for way in ways:
            if way[-1] == goal:
                return way
            _, others = self._of.get(way[-1], (0, []))
            ways += [(*way, other) for other in others if other not in seen]
            seen.update(others)
        return None


@dataclass(frozen=True, slots=True)
class PlainExperiment:
    """An experiment's section as plain data, before validation.

    Attributes:
        path: Where the section is in the file.
        section: The plain data.
        models: Names of the configured models.
    """

    path: Path
    section: dict[str, Any]
    models: set[str]

    def faults(self) -> Iterator[Fault]:
        """The rules between parts that the section breaks."""
        listed = self.section.get("policies")
        if self.section.get("grid") is None:
            yield from _count_fault((*self.path, "policies"), {} if listed is None else listed)
        else:
            listed = listed or expanded(self.section["grid"])
            yield from _count_fault((*self.path, "grid"), listed)
        policies = _mapping(listed)
        incumbent = self.section.get("incumbent")
        if isinstance(incumbent, str) and policies and incumbent not in policies:
            remedy = suggest(incumbent, policies, "Policies of this experiment")
            yield Fault((*self.path, "incumbent"), f"{incumbent!r} is not a policy.", remedy)
        for name, policy in policies.items():
            yield from self.policy_faults((*self.path, "policies", name), _mapping(policy))
        yield from self.judge_faults()
        yield from self.budget_faults()

    def policy_faults(self, path: Path, policy: dict[str, Any]) -> Iterator[Fault]:
        """The rules that one policy of the experiment breaks."""
        model = policy.get("model")
        if isinstance(model, str) and model not in self.models:
            remedy = suggest(model, self.models, "Models in model_list")
            yield Fault((*path, "model"), f"There is no model {model!r}.", remedy)
        if policy.get("system") is not None and policy.get("template") is not None:
            problem = "There is a system prompt as well."
            yield Fault((*path, "template"), problem, "Keep `system` or `template`, not both.")
        params = _mapping(policy.get("params"))
        if params.get("max_tokens") is not None and params.get("max_completion_tokens") is not None:
            problem = "This and max_completion_tokens mean the same limit."
            yield Fault((*path, "params", "max_tokens"), problem, "Keep one of them.")

    def judge_faults(self) -> Iterator[Fault]:
        """A fault if the judge's model does not exist."""
        model = _mapping(self.section.get("judge")).get("model")
        if isinstance(model, str) and model not in self.models:
            remedy = suggest(model, self.models, "Models in model_list")
            yield Fault((*self.path, "judge", "model"), f"There is no model {model!r}.", remedy)

    def budget_faults(self) -> Iterator[Fault]:
        """A fault if the budget is too small for any decision."""
        most = self.section.get("max_comparisons")
        least = _mapping(self.section.get("promotion")).get("min_comparisons", MIN_COMPARISONS)
        if isinstance(most, int) and isinstance(least, int) and 0 < most < least:
            yield Fault(
                (*self.path, "max_comparisons"),
                f"{most} is less than promotion.min_comparisons ({least}), so nothing could ever be decided.",
                "Raise max_comparisons or lower promotion.min_comparisons.",
            )


def _count_fault(path: Path, policies: Any) -> Iterator[Fault]:
    if not isinstance(policies, dict):
        return
    if len(policies) < MIN_POLICIES:
        remedy = f"List at least {MIN_POLICIES}: the incumbent and what it competes with."
        yield Fault(path, f"Only {len(policies)} given.", remedy)
    if len(policies) > MAX_POLICIES:
        yield Fault(path, f"{len(policies)} given.", f"At most {MAX_POLICIES} can compete in one experiment.")
