"""The end of a run: its certificate, the log `llmpo verify` recomputes it from, and its figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.experiments.conclusions import full_certificate, move_for
from gateway.offline.answers import Key
from gateway.offline.assembly import Assembly
from gateway.offline.calls import Reply, Spending
from gateway.offline.course import Course
from gateway.offline.errors import RunDirectoryError
from gateway.offline.judges import Judge
from gateway.offline.run import Ended
from gateway.proof.log_lines import header_line, record_line
from policy_store.events import Decided, LoggedEvent
from policy_store.models import LogRecord, ProposedPlan
from policy_store.states import MOVES, ExperimentState, MoveRule

GENERATION: Final = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that ended.

    Attributes:
        summary: Its figures, in plain values.
        certificate: What was decided and why.
        log: The lines `llmpo verify` reads.
        evidence: After so many comparisons, the evidence per policy in nats.
    """

    summary: dict[str, Any]
    certificate: dict[str, Any]
    log: tuple[bytes, ...]
    evidence: tuple[tuple[int, tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class Material:
    """What a run leaves behind.

    Attributes:
        assembly: What it consisted of.
        course: What was counted.
        ended: How it ended.
        judge: Who judged.
        kept: Every answer and verdict that was paid for.
        spending: Calls and money.
        records: The log, oldest first.
        notes: How verdicts came about, counted.
        evidence: As it grew, see `Outcome.evidence`.
    """

    assembly: Assembly
    course: Course
    ended: Ended
    judge: Judge
    kept: Mapping[Key, Reply]
    spending: Spending
    records: Sequence[LogRecord]
    notes: Mapping[str, int]
    evidence: Sequence[tuple[int, tuple[float, ...]]]


def conclude(material: Material, at: float) -> Outcome:
    """Certificate, log and figures of a run."""
    certificate = _certificate(material, at)
    decision = material.ended.decision
    is_incumbent = decision.champion == material.course.experiment.incumbent
    move = MOVES[move_for(decision.kind, is_incumbent=is_incumbent)]
    return Outcome(
        summary=_summary(material, certificate, move.target),
        certificate=certificate,
        log=tuple(_log(material, certificate, move, at)),
        evidence=(
            *material.evidence,
            (certificate["comparisons"], _last_plan(material).evidence_nats),
        ),
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
            f"{path} cannot be written: {error.strerror}. Mend it and conclude the run with --resume."
        ) from error


def _certificate(material: Material, at: float) -> dict[str, Any]:
    identity = json.dumps(material.assembly.identity, sort_keys=True)
    certificate = full_certificate(
        material.ended.decision,
        material.course.experiment,
        generation=GENERATION,
        plan_version=material.course.plans,
        config_hash=hashlib.sha256(identity.encode()).hexdigest(),
        decided_at=at,
    )
    return {**certificate, "stopped_by": material.ended.stopped_by, "draw": material.assembly.config.draw}


def _log(material: Material, certificate: dict[str, Any], move: MoveRule, at: float) -> Iterator[bytes]:
    experiment = material.course.experiment
    champion = certificate["champion_name"]
    yield header_line(
        experiment,
        generation=GENERATION,
        state=move.target,
        incumbent=champion or experiment.policies[experiment.incumbent],
        certificate=certificate,
    )
    for record in material.records:
        yield record_line(record)
    yield record_line(LoggedEvent.of(at, move.event, Decided(champion)))


def _summary(material: Material, certificate: dict[str, Any], state: ExperimentState) -> dict[str, Any]:
    assembly, spending = material.assembly, material.spending
    config, experiment = assembly.config, material.course.experiment
    answered = sum(key[0] == "answer" for key in material.kept)
    everything = len(experiment.policies) * len(assembly.tasks)
    unpriced = [name for name in sorted(_models_called(material)) if name not in assembly.prices]
    return {
        "name": assembly.name,
        "outcome": certificate["outcome"],
        "champion": certificate["champion_name"],
        "leader": experiment.policies[_last_plan(material).leader],
        "state": state.value,
        "stopped_by": material.ended.stopped_by,
        "cycle": [experiment.policies[policy] for policy in certificate["cycle"]],
        "comparisons": certificate["comparisons"],
        "ties": sum(map(sum, certificate["ties"])) // 2,
        "delta": experiment.delta,
        "epsilon": experiment.epsilon,
        "draw": config.draw,
        "tasks": len(assembly.tasks),
        "judge": {
            "kind": config.judge.kind,
            "is_candidate": bool(config.judge.llm and config.judge.llm.may_be_candidate),
            "verdicts": dict(material.notes),
        },
        "calls": spending.calls,
        "answers": answered,
        "answers_of_full_evaluation": everything,
        "usd": round(spending.usd, 6) if assembly.prices else None,
        "models_without_price": unpriced,
        "guarantee": certificate["guarantee"],
        "assumption": certificate["assumption"],
        "policies": _policies(material, certificate),
        "wins": certificate["wins"],
    }


def _last_plan(material: Material) -> ProposedPlan:
    if material.course.plan is None:
        raise ValueError("a run ends with a plan")
    return material.course.plan.proposal


def _models_called(material: Material) -> set[str]:
    models = {policy.model for policy in material.assembly.definition.policies}
    judge = material.assembly.config.judge.llm
    return models if judge is None else {*models, judge.model}


def _policies(material: Material, certificate: dict[str, Any]) -> list[dict[str, Any]]:
    plan = _last_plan(material)
    wins, ties = certificate["wins"], certificate["ties"]
    answers = _answers_by_policy(material)
    rows = []
    for index, policy in enumerate(material.assembly.definition.policies):
        replies = answers.get(policy.name, [])
        scores = _scores(material, replies)
        rows.append(
            {
                "name": policy.name,
                "model": policy.model,
                "is_incumbent": index == material.course.experiment.incumbent,
                "wins": sum(wins[index]),
                "losses": sum(row[index] for row in wins),
                "ties": sum(ties[index]),
                "evidence_nats": plan.evidence_nats[index],
                "needed_nats": plan.needed_nats[index],
                "answers": len(replies),
                "refused": sum(reply.is_refused for _, reply in replies),
                "mean_score": sum(scores) / len(scores) if scores else None,
                "prompt_tokens": sum(reply.prompt_tokens or 0 for _, reply in replies),
                "completion_tokens": sum(reply.completion_tokens or 0 for _, reply in replies),
                "usd": sum(reply.usd or 0.0 for _, reply in replies)
                if policy.model in material.assembly.prices
                else None,
            }
        )
    return rows


def _answers_by_policy(material: Material) -> dict[str, list[tuple[int, Reply]]]:
    found: dict[str, list[tuple[int, Reply]]] = {}
    for key, reply in material.kept.items():
        if key[0] == "answer":
            found.setdefault(str(key[1]), []).append((int(key[2]), reply))
    return found


def _scores(material: Material, replies: Sequence[tuple[int, Reply]]) -> list[float]:
    """Scores of the answers that are there; a judge that only compares gives none."""
    scored = (
        material.judge.score(material.assembly.tasks[task], reply)
        for task, reply in replies
        if not reply.is_refused
    )
    return [score for score in scored if score is not None]
