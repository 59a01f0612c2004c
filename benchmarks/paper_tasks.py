"""Which instruction is best? `llmpo optimize` against a full evaluation, on a real model.

    python -m benchmarks.paper_tasks [--seeds 20] [--only TASK ...]

Four tasks of the paper (sum, second word letter, object counting, word unscrambling), 100 items each, up to
eight published instructions, SmolLM2-135M-Instruct in llama.cpp at temperature 0, answers marked by rule.
First every candidate answers every item; then optimize runs with different seeds. Answers are kept in
benchmarks/results/paper_tasks.json, so a second run asks the model nothing. Writes the .md beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import save_page
from gateway.offline.answers import Answers, PolicyAnswers
from gateway.offline.assembly import Assembly, assemble
from gateway.offline.calls import ModelClient, Spending
from gateway.offline.checkpoint import RunFiles
from gateway.offline.config import load_optimize
from gateway.offline.course import Course
from gateway.offline.journal import Journal
from gateway.offline.outcome import Outcome
from gateway.offline.session import Session
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from gateway.upstream.base import AnswerStream, Timeouts, Upstream, UpstreamAnswer, UpstreamRequest
from gateway.upstream.relay import Relay
from tests.e2e.real_models.stage import MODEL, model_server, weights

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data" / "tasks"
RESULTS = ROOT / "benchmarks" / "results" / "paper_tasks"
DELTA = 0.05
EPSILON = 0.05
MAX_COMPARISONS = 5_000
UNIFORM_DRAWS = 2_000
NUMBERS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen twenty"
)
_WORDS = "|".join(NUMBERS.split())
_VALUES = {"a": 1, "an": 1, **{word: value for value, word in enumerate(NUMBERS.split(), start=1)}}


@dataclass(frozen=True)
class PaperTask:
    """A task: the line of help every instruction gets (a Jinja text), and the rule that marks answers."""

    help: str
    judge: Mapping[str, Any]
    max_tokens: int = 16


TASKS = {
    "sum": PaperTask(
        "Calculator: {{ user_message.split() | join(' + ') }}"
        " = {{ user_message.split() | map('int') | sum }}",
        {"regex": {"pattern": r"\d+", "take": "last", "target": "outputs"}},
    ),
    "second_word_letter": PaperTask(
        "Speller: the second letter of {{ user_message }} is {{ user_message[1] }}.",
        {"regex": {"pattern": r"\b([a-z])\b\W*$", "target": "outputs"}},
    ),
    "object_counting": PaperTask(
        f"{{% set values = {json.dumps(_VALUES)} -%}}"
        "{% set found = namespace(total=0, shown='') -%}"
        "{% for word in user_message.split() if word in values %}"
        "{% set found.total = found.total + values[word] %}"
        "{% set found.shown = found.shown ~ (' + ' if found.shown else '') ~ values[word] %}"
        "{% endfor -%}"
        "Counter: {{ found.shown }} = {{ found.total }}",
        {"regex": {"pattern": rf"\b(\d+|{_WORDS})\b", "take": "first", "target": "outputs"}},
        max_tokens=24,
    ),
    "word_unscrambling": PaperTask(
        "Examples: gsno is song; tebla is table; rdenag is garden; hcari is chair.",
        {"regex": {"pattern": r"\b([a-z]+)\b\W*$", "target": "outputs"}},
    ),
}


class Remembering(Upstream):
    """Asks for each answer once and keeps it in a dictionary."""

    def __init__(self, known: dict[str, dict[str, Any]]) -> None:
        self.known = known
        self.asked = 0
        self._relay: Relay | None = None

    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
        """Return the kept answer, or ask for it and keep it."""
        text = json.dumps(dict(request.payload), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        if key not in self.known:
            self._relay = self._relay or Relay(Timeouts())
            answer = json.loads((await self._relay.complete(request)).body)
            usage = answer["usage"]
            self.asked += 1
            self.known[key] = {
                "text": answer["choices"][0]["message"]["content"],
                "tokens": [usage["prompt_tokens"], usage["completion_tokens"]],
            }
        return UpstreamAnswer(_body(self.known[key]))

    async def stream(self, _request: UpstreamRequest) -> AnswerStream:
        """Offline runs do not stream."""
        raise AssertionError("no stream is asked for here")

    async def aclose(self) -> None:
        """Close what was opened."""
        if self._relay is not None:
            await self._relay.aclose()


class Unwatched:
    """A watcher that does not look."""

    def planned(self, course: Course) -> None:
        """Nothing is shown."""

    def counted(self, course: Course) -> None:
        """Nothing is shown."""


def _body(kept: Mapping[str, Any]) -> bytes:
    prompt, completion = kept["tokens"]
    return json.dumps(
        {
            "choices": [{"index": 0, "message": {"role": "assistant", "content": kept["text"]}}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion},
        }
    ).encode()


def write_config(folder: Path, name: str, api_base: str) -> Path:
    """The file of `llmpo optimize` for a task, with its templates, in `folder`."""
    task = TASKS[name]
    shutil.copy(DATA / f"{name}.jsonl", folder / f"{name}.jsonl")
    instructions = json.loads((DATA / "instructions.json").read_text())[name]
    policies = {}
    for number, instruction in enumerate(instructions, start=1):
        (folder / f"{name}-{number}.j2").write_text(f"{instruction['text']}\n{task.help}\n")
        policies[f"{name}-{number}"] = {
            "model": MODEL,
            "template": f"{name}-{number}.j2",
            "params": {"temperature": 0, "max_tokens": task.max_tokens},
        }
    fields = {
        "name": name,
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": api_base,
                    "api_key": "none-needed",
                },
            }
        ],
        "policies": policies,
        "tasks": f"{name}.jsonl",
        "judge": task.judge,
        "delta": DELTA,
        "epsilon": EPSILON,
        "max_comparisons": MAX_COMPARISONS,
        "concurrency": 2,
    }
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps(fields))
    return file


async def evaluate(assembly: Assembly, upstream: Remembering, folder: Path) -> dict[str, list[int]]:
    """Marks of every policy on every item."""
    marks: dict[str, list[int]] = {}
    with Journal(folder / f"{assembly.name}-full.jsonl") as journal:
        answers = Answers(ModelClient(upstream, {}, Spending(), concurrency=2), journal)
        judge = assembly.judge(answers)
        policies = assembly.definition.policies
        asking = PolicyAnswers(answers, policies, assembly.targets, assembly.tasks)
        for index, policy in enumerate(policies):
            replies = await asyncio.gather(*(asking.get(index, task.index, 0) for task in assembly.tasks))
            scores = [judge.score(task, reply) for task, reply in zip(assembly.tasks, replies, strict=True)]
            marks[policy.name] = [int(score or 0) for score in scores]
    return marks


async def optimize(assembly: Assembly, upstream: Remembering, folder: Path, seed: int) -> Outcome:
    """One run of `llmpo optimize`, its log verified."""
    files = RunFiles(folder / f"{assembly.name}-{seed}")
    outcome = await Session(assembly, files, upstream, time.time).finish(Unwatched())
    assert verify(read_log(outcome.log)).is_confirmed
    return outcome


def facts(marks: Mapping[str, list[int]], outcome: Outcome) -> dict[str, Any]:
    """One run against the full evaluation."""
    right = {name: sum(of) for name, of in marks.items()}
    best = max(right.values())
    summary = outcome.summary
    chosen = summary["champion"] or summary["leader"]
    return {
        "outcome": summary["outcome"],
        "chosen": chosen,
        "is_best": right[chosen] == best,
        "right_fewer": best - right[chosen],
        "beaten_by": _beaten_by(marks, chosen),
        "answers": summary["answers"],
        "share": summary["answers"] / summary["answers_of_full_evaluation"],
        "comparisons": summary["comparisons"],
    }


def _beaten_by(marks: Mapping[str, list[int]], chosen: str) -> float:
    """How far beyond one half any policy is preferred to `chosen`, where exactly one of the two is right."""
    ours, margins = np.array(marks[chosen]), [0.0]
    for name, theirs in marks.items():
        won, lost = int((np.array(theirs) > ours).sum()), int((np.array(theirs) < ours).sum())
        if name != chosen and won + lost:
            margins.append(won / (won + lost) - 0.5)
    return max(margins)


async def measure(name: str, kept: dict[str, Any], seeds: int, folder: Path, url: str) -> dict[str, Any]:
    """Full evaluation and runs of one task."""
    upstream = Remembering(kept.setdefault("answers", {}).setdefault(name, {}))
    config = load_optimize(write_config(folder, name, f"{url}/v1"), {})
    started = time.monotonic()
    marks = await evaluate(assemble(config, folder), upstream, folder)
    if upstream.asked:
        kept.setdefault("seconds_an_answer", {})[name] = (time.monotonic() - started) / upstream.asked
        save(kept)
    runs = []
    for seed in range(seeds):
        seeded = config.model_copy(update={"seed": seed})
        runs.append(facts(marks, await optimize(assemble(seeded, folder), upstream, folder, seed)))
    await upstream.aclose()
    share = float(np.mean([run["share"] for run in runs]))
    return {
        "right": {policy: sum(of) for policy, of in marks.items()},
        "runs": runs,
        "uniform_chooses_best": uniform_chooses_best(marks, share),
    }


def uniform_chooses_best(marks: Mapping[str, list[int]], share: float) -> float:
    """How often a best policy gets the most marks if all policies answer the same random share of items."""
    table = np.array(list(marks.values()))
    best = table.sum(axis=1) == table.sum(axis=1).max()
    items, rng = table.shape[1], np.random.default_rng(0)
    hits = 0
    for _ in range(UNIFORM_DRAWS):
        drawn = rng.permutation(items)[: max(1, round(share * items))]
        found = table[:, drawn].sum(axis=1)
        hits += bool(best[rng.choice(np.flatnonzero(found == found.max()))])
    return hits / UNIFORM_DRAWS


def save(kept: Mapping[str, Any]) -> None:
    """Keep the answers and figures."""
    RESULTS.with_suffix(".json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def table(kept: Mapping[str, Any]) -> str:
    """The results as Markdown."""
    columns = (
        "task",
        "candidates",
        "right of 100, best to worst",
        "certified",
        "chose the best",
        "right fewer than the best, mean (most)",
        "certified though beaten by more than epsilon",
        "share of the answers, mean (least to most)",
        "comparisons, mean",
        "an equal share of every candidate's items chooses the best",
    )
    lines = [
        "# Which instruction is best: optimize against full evaluation, on a real model",
        "",
        f"`{kept['command']}`, {kept['date']}. SmolLM2-135M-Instruct (Q4_1) in llama.cpp, one thread, at",
        "temperature 0; 100 items a task, marked by rule; every instruction has a line of help (`TASKS` in",
        f"the script). delta {DELTA}, epsilon {EPSILON}, at most {MAX_COMPARISONS} comparisons,",
        f"{kept['seeds']} runs a task with different seeds. Every log was confirmed as by `llmpo verify`.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for name, found in kept["tasks"].items():
        runs = found["runs"]
        shares = [run["share"] for run in runs]
        fewer = [run["right_fewer"] for run in runs]
        certified = sum(run["outcome"] in {"winner", "no_worse"} for run in runs)
        wrong = sum(run["beaten_by"] > EPSILON for run in runs if run["outcome"] in {"winner", "no_worse"})
        cells = [
            name,
            str(len(found["right"])),
            " ".join(map(str, sorted(found["right"].values(), reverse=True))),
            f"{certified} of {len(runs)}",
            f"{sum(run['is_best'] for run in runs)} of {len(runs)}",
            f"{np.mean(fewer):.1f} ({max(fewer)})",
            f"{wrong} of {certified}",
            f"{np.mean(shares):.0%} ({min(shares):.0%} to {max(shares):.0%})",
            f"{np.mean([run['comparisons'] for run in runs]):.0f}",
            f"{found['uniform_chooses_best']:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    options = parser.parse_args()
    file = RESULTS.with_suffix(".json")
    kept: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    kept |= {"command": "python -m benchmarks.paper_tasks", "date": dt.date.today().isoformat()}  # noqa: DTZ011 - the day where it is run
    kept["seeds"] = options.seeds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(model_server(MODEL, weights(), folder))
        for name in options.only:
            kept.setdefault("tasks", {})[name] = asyncio.run(measure(name, kept, options.seeds, folder, url))
            save(kept)
            print(name, kept["tasks"][name]["right"], flush=True)
    save_page(RESULTS.with_suffix(".md"), table(kept))
    print(table(kept))


if __name__ == "__main__":
    main()
