"""A judge ready to be asked: the model, what it decides by, and what fixes the meaning of its verdicts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import jinja2

from gateway.config.experiments import ExperimentSpec
from gateway.config.gateway_file import GatewayConfig, ModelEntry
from gateway.config.judging import DEFAULT_QUESTION, LiveJudgeSpec
from gateway.config.templates import compile_template
from gateway.errors import ConfigIssue
from gateway.experiments.collecting import WAYS, Takes
from gateway.experiments.policies import joined_text, last_user_text
from gateway.upstream.prices import model_prices
from policy_store.experiment import Experiment
from policy_store.roles import Role

DEFAULT_SHARE: Final = 0.05
# Part of every fingerprint. Raise it when an unchanged judge starts to be asked, or read, in another way.
_ASKING_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class CompiledJudge:
    """A judge of an experiment.

    Attributes:
        model: The `model_name` that is asked.
        called: Provider and model, as certificates name it.
        question: What it decides by, if that does not depend on the request.
        rubric: The template that makes the question from a request; None for `question`.
        params: The sampling fields of its requests.
        share: Share of the requests taking part in no comparison that it judges.
        rubric_sha256: SHA-256 of the rubric's text.
        fingerprint: Hash of everything that decides its verdicts.
        spec: The section of the configuration, for its limits.
    """

    model: str
    called: str
    question: str
    rubric: jinja2.Template | None
    params: Mapping[str, Any]
    share: float
    rubric_sha256: str
    fingerprint: str
    spec: LiveJudgeSpec

    @property
    def identity(self) -> dict[str, str]:
        """What the record of an experiment says of the judge whose verdicts are its evidence."""
        return {"model": self.called, "rubric_sha256": self.rubric_sha256, "fingerprint": self.fingerprint}

    def question_about(self, messages: list[Any], metadata: Mapping[str, Any]) -> str:
        """What the judge is to decide by for a request.

        Raises:
            Exception: Whatever the rubric raises on this request.
        """
        if self.rubric is None:
            return self.question
        return joined_text(
            self.rubric.generate(messages=messages, metadata=metadata, user_message=last_user_text(messages))
        )


def share_judged(spec: LiveJudgeSpec) -> float:
    """The share of the requests taking part in no comparison that a judge gets."""
    return DEFAULT_SHARE if spec.share is None else spec.share


def compile_judge(config: GatewayConfig, experiment: ExperimentSpec) -> CompiledJudge | None:
    """The judge of an experiment; None without one."""
    spec = experiment.judge
    if spec is None:
        return None
    entry = config.entry(spec.model)
    text = DEFAULT_QUESTION if spec.rubric is None else spec.rubric.text
    params = spec.params.request_fields()
    content = {
        "asking": _ASKING_VERSION,
        "model": entry.litellm_params.identity(),
        "rubric": text,
        "params": params,
    }
    return CompiledJudge(
        model=spec.model,
        called=entry.litellm_params.model,
        question=text,
        rubric=None if spec.rubric is None else compile_template(text),
        params=params,
        share=share_judged(spec),
        rubric_sha256=_sha256(text),
        fingerprint=_sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)),
        spec=spec,
    )


def judged_models(config: GatewayConfig) -> list[str]:
    """The models that experiments with a judge call, by `model_name`."""
    judged = [each for each in config.experiments.values() if each.judge is not None]
    used = [model for each in judged for model in _used(each)]
    return list(dict.fromkeys(used))


def judge_issues(config: GatewayConfig) -> Iterator[ConfigIssue]:
    """Faults of judges that show only when references are resolved and prices are known."""
    known = model_prices(config.entry(model) for model in judged_models(config))
    for name, experiment in config.experiments.items():
        if experiment.judge is None:
            continue
        path, judge = f"experiments.{name}.judge", config.entry(experiment.judge.model)
        for policy_name, policy in experiment.policies.items():
            if _reached(config.entry(policy.model)) == _reached(judge):
                yield ConfigIssue(
                    f"{path}.model",
                    f"{judge.model_name!r} is also the model of policy {policy_name!r}: judges favour their "
                    "own answers.",
                    "Name another model.",
                )
                break
        for model in dict.fromkeys(each for each in _used(experiment) if each not in known):
            yield ConfigIssue(
                f"{path}.spend_per_day",
                f"The price of the model {model!r} is not known, so what is spent a day cannot be limited.",
                "Give its litellm_params input_cost_per_token and output_cost_per_token; 0 for a server of "
                "your own.",
            )


def counts_verdicts(spec: ExperimentSpec) -> bool:
    """Whether the verdicts of a judge are evidence: all of it, or beside what users say and do."""
    return WAYS[spec.traffic.collect].takes is Takes.VERDICT or counts_beside_users(spec)


def counts_beside_users(spec: ExperimentSpec) -> bool:
    """Whether the verdicts of a judge are evidence beside what users say and do."""
    is_alone = WAYS[spec.traffic.collect].takes is Takes.VERDICT
    return not is_alone and Role.JUDGE in (spec.promote_on or ())


def judged_by(experiment: Experiment) -> dict[str, str] | None:
    """The judge whose verdicts are evidence of an experiment; None where only users' feedback is."""
    if experiment.collect not in WAYS:  # offline, where the judge may be a rule
        return None
    judge: dict[str, str] | None = json.loads(experiment.outcome_rules).get("judge")
    return judge


def named_judge(judge: Mapping[str, str]) -> str:
    """A judge by its model and its rubric, in the middle of a sentence."""
    return f"the judge {judge['model']} with the rubric {judge['rubric_sha256'][:12]}"


def judge_named(experiment: Experiment) -> dict[str, str] | None:
    """What a certificate says of the judge whose verdicts are evidence, and of whose preferences it is."""
    judge = judged_by(experiment)
    if judge is None:
        return None
    says = f"Preferences are those of {named_judge(judge)}; no user compared these answers."
    if not _decides_alone(experiment):
        says = f"Preferences are those of users and of {named_judge(judge)}, counted together."
    return {**judge, "says": says}


def in_whose_eyes(experiment: Experiment) -> str | None:
    """Whose preferences a claim is about, before the claim; None where they are users' alone."""
    judge = judged_by(experiment)
    if judge is None:
        return None
    if _decides_alone(experiment):
        return f"in the verdicts of {named_judge(judge)}"
    return f"in users' feedback and the verdicts of {named_judge(judge)}, counted together"


def _decides_alone(experiment: Experiment) -> bool:
    return any(way.name == experiment.collect and way.takes is Takes.VERDICT for way in WAYS.values())


def _used(experiment: ExperimentSpec) -> list[str]:
    judge = [] if experiment.judge is None else [experiment.judge.model]
    return [*judge, *(policy.model for policy in experiment.policies.values())]


def _reached(entry: ModelEntry) -> tuple[str, str]:
    params = entry.litellm_params
    return params.model, (params.api_base or "").rstrip("/")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
