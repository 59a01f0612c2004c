"""Turns a configuration into a run that is ready: compiled policies, tasks, judge and prices."""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.errors import ConfigError, ConfigIssue
from gateway.experiments.definitions import Definition, define
from gateway.experiments.policies import compile_policies
from gateway.llm_po.lines import UNSTATED_PROMISE
from gateway.offline.answers import Answers, is_deterministic
from gateway.offline.calls import Prices
from gateway.offline.config import OptimizeConfig
from gateway.offline.course import Course
from gateway.offline.errors import TasksError
from gateway.offline.judges import Judge, RuleJudge, Score, rule_of
from gateway.offline.llm_judge import LlmJudge
from gateway.offline.prices import prices_of
from gateway.offline.tasks import Task, load_tasks, tasks_fingerprint
from gateway.upstream.base import ModelTarget
from gateway.upstream.targets import model_targets


@dataclass(frozen=True, slots=True)
class Assembly:
    """All parts of a run except its files and calls.

    Attributes:
        config: The file.
        name: Name of the run.
        definition: The policies in the order of their indices, and the experiment's record.
        tasks: The tasks.
        targets: How to reach each model.
        prices: The known prices of tokens.
        rule: Scores one answer; None for a judge that compares two.
        identity: Everything that distinguishes it from another run, by part.
    """

    config: OptimizeConfig
    name: str
    definition: Definition
    tasks: tuple[Task, ...]
    targets: dict[str, ModelTarget]
    prices: Prices
    rule: Score | None
    identity: dict[str, str]

    @property
    def source(self) -> str:
        """The source of verdicts, as the log writes it."""
        return f"offline:{self.config.judge.kind}"

    @property
    def is_repeatable(self) -> tuple[bool, ...]:
        """For each policy, whether it always gives the same answer to a task."""
        specs = self.definition.spec.policies
        return tuple(is_deterministic(specs[policy.name].params) for policy in self.definition.policies)

    def course(self) -> Course:
        """The course of the run, at its beginning."""
        config = self.config
        return Course(
            self.definition.experiment,
            len(self.tasks),
            self.is_repeatable,
            draw=config.draw,
            seed=config.seed,
            window=config.concurrency,
        )

    def judge(self, answers: Answers) -> Judge:
        """The judge. A model that judges keeps its verdicts among the answers."""
        if self.rule is not None:
            return RuleJudge(self.rule)
        spec = self.config.judge.llm
        if spec is None:
            raise ValueError("a judge without a rule is a model")
        return LlmJudge(spec, self.targets[spec.model], answers)


def assemble(config: OptimizeConfig, directory: Path, tasks_file: Path | None = None) -> Assembly:
    """Assemble a run.

    Args:
        config: The file.
        directory: The file's directory, to which paths in the file are relative.
        tasks_file: Tasks to use instead of those the file names.

    Raises:
        OfflineError: If the tasks or the judge cannot be used.
        ConfigError: If a budget in USD cannot be kept, or two policies always give the same answers.
    """
    if tasks_file is None:
        if config.tasks is None:
            raise TasksError("The file names no tasks. Add `tasks: FILE.jsonl`, or give --tasks FILE.jsonl.")
        tasks_file = directory / config.tasks
    tasks = load_tasks(tasks_file, config.judge.target)
    spec = config.experiment
    defined = define(config.name or "run", spec, compile_policies(config.gateway, spec))
    rules = config.judge.model_dump(mode="json", exclude_none=True)
    experiment = replace(
        defined.experiment,
        collect="offline",
        outcome_rules=json.dumps({"judge": rules, "draw": config.draw}, sort_keys=True),
    )
    definition = replace(defined, experiment=experiment)
    _check_that_policies_differ(definition)
    rule = rule_of(config.judge, directory)
    return Assembly(
        config=config,
        name=experiment.name,
        definition=definition,
        tasks=tasks,
        targets=model_targets(config.model_list),
        prices=prices_of(config),
        rule=rule,
        identity=_identity(config, definition, tasks),
    )


def _check_that_policies_differ(definition: Definition) -> None:
    """Refuse two policies that always give the same answers: they would tie on every task for ever."""
    seen: dict[str, str] = {}
    for policy in definition.policies:
        twin = seen.setdefault(policy.fingerprint, policy.name)
        if twin != policy.name and is_deterministic(definition.spec.policies[policy.name].params):
            problem = f"It equals {twin}: their model, prompt and parameters are equal, without randomness."
            raise ConfigError([ConfigIssue(f"policies.{policy.name}", problem, "Leave one of them out.")])


def _identity(config: OptimizeConfig, definition: Definition, tasks: tuple[Task, ...]) -> dict[str, str]:
    experiment, judge = definition.experiment, config.judge.llm
    code = ""
    if config.judge.python is not None:  # SHA-256 of the scoring module, which the judge has loaded
        module = importlib.import_module(config.judge.python.callable.partition(":")[0])
        file = getattr(module, "__file__", None)
        code = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
    model = None if judge is None else config.gateway.entry(judge.model).litellm_params
    parts = {
        "tasks": tasks_fingerprint(tasks),
        "judge": json.dumps(config.judge.model_dump(mode="json", exclude_none=True), sort_keys=True),
        "draw": config.draw,
        "judge's code": code,
        "judge's model": "" if model is None else json.dumps(model.identity(), sort_keys=True),
        "incumbent": experiment.policies[experiment.incumbent],
        "delta": repr(experiment.delta),
        "epsilon": repr(experiment.epsilon),
        "seed": str(config.seed),
        "space, guarantee or stopping": experiment.inference,
    }
    if experiment.promise != UNSTATED_PROMISE:  # as in runs from before there was a choice
        parts["promise"] = experiment.promise
    for policy, cost in zip(definition.policies, experiment.costs, strict=True):
        parts[f"policy {policy.name}"] = policy.fingerprint
        parts[f"cost of {policy.name}"] = repr(cost)
    return parts
