"""The end of a run: its certificate, the log from which `llmpo verify` recomputes it, and its figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.experiments.conclusions import full_certificate, move_for
from gateway.experiments.policy_content import descriptions
from gateway.experiments.promises import promised_by
from gateway.offline.answers import Key
from gateway.offline.assembly import Assembly
from gateway.offline.calls import ModelReply, Spending
from gateway.offline.course import Course
from gateway.offline.errors import RunDirectoryError
from gateway.offline.judges import Judge
from gateway.offline.run import Ended
from gateway.proof.log_lines import header_line, record_line
from policy_store.events import Decided, LoggedEvent
from policy_store.log_records import LogRecord
from policy_store.moves import MOVES, MoveRule
from policy_store.plan_records import ProposedPlan
from policy_store.states import ExperimentState

GENERATION: Final = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that ended.

    Attributes:
        summary: Its figures, in plain values.
        certificate: The decision and its reasons.
        log: The lines that `llmpo verify` reads.
        evidence: By number of comparisons, the evidence per policy in nats.
    """

    summary: dict[str, Any]
    certificate: dict[str, Any]
    log: tuple[bytes, ...]
    evidence: tuple[tuple[int, tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class Material:
    """The results of a run, from which its outcome is made.

    Attributes:
        assembly: The parts of the run.
        course: The course with all counts.
        ended: How the run ended.
        judge: The judge of the answers.
        kept: Every answer and verdict that was paid for.
        spending: Calls and money.
        records: The log, oldest first.
        notes: Counts of notes on how verdicts came about.
        evidence: By number of comparisons, the evidence per policy in nats.
    """

    assembly: Assembly
    course: Course
    ended: Ended
    judge: Judge
    kept: Mapping[Key, ModelReply]
    spending: Spending
    records: Sequence[LogRecord]
    notes: Mapping[str, int]
    evidence: Sequence[tuple[int, tuple[float, ...]]]

    @property
    def last_plan(self) -> ProposedPlan:
        """The plan in force at the end."""
        if self.course.plan is None:
            raise ValueError("a run ends with a plan")
        return self.course.plan.proposal

    def certificate(self, at: float) -> dict[str, Any]:
        """The decision and its reasons."""
        identity = json.dumps(self.assembly.identity, sort_keys=True)
        shown = self.assembly.config.gateway.policies_shown
        certificate = full_certificate(
            self.ended.decision,
            self.course.experiment,
            generation=GENERATION,
            plan_version=self.course.plans,
            config_hash=hashlib.sha256(identity.encode()).hexdigest(),
            decided_at=at,
            policies=descriptions(self.course.experiment, self.assembly.definition.contents, shown),
        )
        return {**certificate, "stopped_by": self.ended.stopped_by, "draw": self.assembly.config.draw}

    def log(self, certificate: dict[str, Any], move: MoveRule, at: float) -> Iterator[bytes]:
        """The lines that `llmpo verify` reads."""
        experiment = self.course.experiment
        champion = certificate["champion_name"]
        yield header_line(
            experiment,
            generation=GENERATION,
            state=move.target,
            incumbent=champion or experiment.policies[experiment.incumbent],
            certificate=certificate,
        )
        for record in self.records:
            yield record_line(record)
        yield record_line(LoggedEvent.of(at, move.event, Decided(champion)))

    def summary(self, certificate: dict[str, Any], state: ExperimentState) -> dict[str, Any]:
        """The figures of the run."""
        assembly, experiment = self.assembly, self.course.experiment
        config, judge = assembly.config, assembly.config.judge.llm
        models = {policy.model for policy in assembly.definition.policies}
        if judge is not None:
            models.add(judge.model)
        return {
            "name": assembly.name,
            "outcome": certificate["outcome"],
            "champion": certificate["champion_name"],
            "leader": experiment.policies[self.last_plan.leader],
            "state": state.value,
            "stopped_by": self.ended.stopped_by,
            "cycle": [experiment.policies[policy] for policy in certificate["cycle"]],
            "comparisons": certificate["comparisons"],
            "ties": sum(map(sum, certificate["ties"])) // 2,
            "delta": experiment.delta,
            "epsilon": experiment.epsilon,
            "promise": promised_by(experiment),
            "draw": config.draw,
            "tasks": len(assembly.tasks),
            "judge": {
                "kind": config.judge.kind,
                "is_candidate": judge is not None and judge.may_be_candidate,
                "verdicts": dict(self.notes),
            },
            "calls": self.spending.calls,
            "answers": sum(key[0] == "answer" for key in self.kept),
            "answers_of_full_evaluation": len(experiment.policies) * len(assembly.tasks),
            "usd": round(self.spending.usd, 6) if assembly.prices else None,
            "models_without_price": [name for name in sorted(models) if name not in assembly.prices],
            "guarantee": certificate["guarantee"],
            "assumption": certificate["assumption"],
            "policies": self.policies(certificate),
            "wins": certificate["wins"],
        }

    def policies(self, certificate: dict[str, Any]) -> list[dict[str, Any]]:
        """The figures of each policy."""
        plan, wins, ties = self.last_plan, certificate["wins"], certificate["ties"]
        answers: dict[str, list[tuple[int, ModelReply]]] = {}
        for key, reply in self.kept.items():
            if key[0] == "answer":
                answers.setdefault(str(key[1]), []).append((int(key[2]), reply))
        rows = []
        for index, policy in enumerate(self.assembly.definition.policies):
            replies = answers.get(policy.name, [])
            is_priced = policy.model in self.assembly.prices
            rows.append(
                {
                    "name": policy.name,
                    "model": policy.model,
                    "is_incumbent": index == self.course.experiment.incumbent,
                    "wins": sum(wins[index]),
                    "losses": sum(row[index] for row in wins),
                    "ties": sum(ties[index]),
                    "evidence_nats": plan.evidence_nats[index],
                    "needed_nats": plan.needed_nats[index],
                    "answers": len(replies),
                    "refused": sum(reply.is_refused for _, reply in replies),
                    "mean_score": self.mean_score(replies),
                    "prompt_tokens": sum(reply.prompt_tokens or 0 for _, reply in replies),
                    "completion_tokens": sum(reply.completion_tokens or 0 for _, reply in replies),
                    "usd": sum(reply.usd or 0.0 for _, reply in replies) if is_priced else None,
                }
            )
        return rows

    def mean_score(self, replies: Sequence[tuple[int, ModelReply]]) -> float | None:
        """Mean score of the existing answers; None if the judge only compares."""
        tasks = self.assembly.tasks
        judged = [self.judge.score(tasks[task], reply) for task, reply in replies if not reply.is_refused]
        scores = [score for score in judged if score is not None]
        return sum(scores) / len(scores) if scores else None


def conclude(material: Material, at: float) -> Outcome:
    """Certificate, log and figures of a run."""
    certificate = material.certificate(at)
    decision = material.ended.decision
    is_incumbent = decision.champion == material.course.experiment.incumbent
    move = MOVES[move_for(decision.kind, is_incumbent=is_incumbent)]
    evidence = (certificate["comparisons"], material.last_plan.evidence_nats)
    return Outcome(
        summary=material.summary(certificate, move.target),
        certificate=certificate,
        log=tuple(material.log(certificate, move, at)),
        evidence=(*material.evidence, evidence),
    )


def write(directory: Path, outcome: Outcome) -> None:
    """Write `certificate.json`, `summary.json` and `log.jsonl`, each whole or not at all.

    Raises:
        RunDirectoryError: If one cannot be written.
    """
    _replace(directory / "log.jsonl", b"".join(outcome.log))
    for name, content in (("certificate.json", outcome.certificate), ("summary.json", outcome.summary)):
        _replace(directory / name, orjson.dumps(content, option=orjson.OPT_INDENT_2))


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        raise RunDirectoryError(
            f"{path} cannot be written: {error.strerror}. Correct this and finish the run with --resume."
        ) from error
