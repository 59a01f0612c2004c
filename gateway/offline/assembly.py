"""From a configuration to a run that can begin: policies compiled, tasks read, judge and prices at hand."""

from __future__ import annotations

import hashlib
import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.errors import ConfigError, ConfigIssue
from gateway.experiments.definitions import Definition, define
from gateway.experiments.policies import compile_policies
from gateway.offline.answers import Answers, is_deterministic
from gateway.offline.calls import Prices
from gateway.offline.config import OptimizeConfig
from gateway.offline.errors import TasksError
from gateway.offline.judges import Judge, RuleJudge, Score, exact_match, python, regex
from gateway.offline.llm_judge import LlmJudge
from gateway.offline.prices import prices_of
from gateway.offline.tasks import Task, load_tasks, tasks_fingerprint
from gateway.upstream.base import ModelTarget
from gateway.upstream.targets import model_targets


@dataclass(frozen=True, slots=True)
class Assembly:
    """Everything a run consists of but its files and its calls.

    Attributes:
        config: The file.
        name: What the run is called.
        definition: The policies in the order of their indices, and the experiment's record.
        tasks: What is asked.
        targets: How to reach each model.
        prices: What tokens cost, as far as known.
        rule: Scores an answer, for judges that do.
        identity: What makes it this run and no other, by part.
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
        """What the log calls the origin of verdicts."""
        return f"offline:{self.config.judge.kind}"

    @property
    def is_repeatable(self) -> tuple[bool, ...]:
        """Per policy, whether it would answer a task the same way again."""
        specs = self.definition.spec.policies
        return tuple(is_deterministic(specs[policy.name].params) for policy in self.definition.policies)

    def judge(self, answers: Answers) -> Judge:
        """The judge; one that is a model keeps its verdicts among the answers."""
        if self.rule is not None:
            return RuleJudge(self.rule)
        spec = self.config.judge.llm
        if spec is None:
            raise ValueError("a judge without a rule is a model")
        return LlmJudge(spec, self.targets[spec.model], answers)


def assemble(config: OptimizeConfig, directory: Path, tasks_file: Path | None = None) -> Assembly:
    """Make a run ready.

    Args:
        config: The file.
        directory: Where it stands: its paths are relative to that.
        tasks_file: Tasks to use instead of those the file names.

    Raises:
        OfflineError: If the tasks or the judge cannot be used.
        ConfigError: If a budget in USD cannot be kept, or two policies cannot differ.
    """
    tasks = load_tasks(_tasks_path(config, directory, tasks_file), _target(config))
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
    rule = _rule(config, directory)
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
    """Two that always answer the same would tie on every task, and the run would never end on evidence."""
    seen: dict[str, str] = {}
    for policy in definition.policies:
        twin = seen.setdefault(policy.fingerprint, policy.name)
        if twin != policy.name and is_deterministic(definition.spec.policies[policy.name].params):
            problem = f"It is the same as {twin}: same model, prompt and parameters, and no randomness."
            raise ConfigError([ConfigIssue(f"policies.{policy.name}", problem, "Leave one of them out.")])


def _tasks_path(config: OptimizeConfig, directory: Path, given: Path | None) -> Path:
    if given is not None:
        return given
    if config.tasks is None:
        raise TasksError("The file names no tasks. Add `tasks: FILE.jsonl`, or give --tasks FILE.jsonl.")
    return directory / config.tasks


def _target(config: OptimizeConfig) -> str | None:
    judge = config.judge
    spec = judge.exact_match or judge.regex or judge.llm
    return None if spec is None else spec.target


def _rule(config: OptimizeConfig, directory: Path) -> Score | None:
    judge = config.judge
    if judge.exact_match is not None:
        return exact_match(judge.exact_match)
    if judge.regex is not None:
        return regex(judge.regex)
    return None if judge.python is None else python(judge.python, directory)


def _identity(config: OptimizeConfig, definition: Definition, tasks: tuple[Task, ...]) -> dict[str, str]:
    experiment = definition.experiment
    parts = {
        "tasks": tasks_fingerprint(tasks),
        "judge": json.dumps(config.judge.model_dump(mode="json", exclude_none=True), sort_keys=True),
        "draw": config.draw,
        "judge's code": _code(config),
        "judge's model": _judge_model(config),
        "incumbent": experiment.policies[experiment.incumbent],
        "delta": repr(experiment.delta),
        "epsilon": repr(experiment.epsilon),
        "seed": str(config.seed),
        "space, guarantee or stopping": experiment.inference,
    }
    for policy, cost in zip(definition.policies, experiment.costs, strict=True):
        parts[f"policy {policy.name}"] = policy.fingerprint
        parts[f"cost of {policy.name}"] = repr(cost)
    return parts


def _code(config: OptimizeConfig) -> str:
    """SHA-256 of the module that scores, or nothing. The judge has loaded it."""
    if config.judge.python is None:
        return ""
    module = importlib.import_module(config.judge.python.callable.partition(":")[0])
    file = getattr(module, "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _judge_model(config: OptimizeConfig) -> str:
    if config.judge.llm is None:
        return ""
    identity = config.gateway.entry(config.judge.llm.model).litellm_params.identity()
    return json.dumps(identity, sort_keys=True)
