"""Real answers, marked by a rule, make the gateway promote the policy that truly is better, with proof."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
import yaml

from tests.e2e.real_models.conftest import Decided
from tests.e2e.real_models.stage import CONFIG, Gateway
from tests.e2e.real_models.tasks import TASKS
from tests.e2e.real_models.truth import RIGHT_OF_100, best_policy
from tests.e2e.real_models.users import ask, connect
from tests.e2e.real_models.verifying import verify

# Up to half a minute on an idle machine; the limit is for one that is busy with other tests.
pytestmark = [pytest.mark.real_models, pytest.mark.timeout(600)]


def test_the_policy_that_is_right_most_often_is_promoted(decided: Decided) -> None:
    """What the users' marks make the incumbent is what full measurement found best, and was not before."""
    spec = yaml.safe_load(CONFIG.read_text())["experiments"][decided.name]
    assert spec["policies"].keys() == RIGHT_OF_100[decided.name].keys()
    assert spec["incumbent"] != best_policy(decided.name)
    assert decided.account["state"] == "promoted"
    assert decided.account["incumbent"] == best_policy(decided.name)
    assert decided.account["certificate"]["guarantee"] == "exact"


def test_every_answer_was_marked_and_every_mark_taken_once(decided: Decided) -> None:
    """The counted comparisons are those that users got acknowledged, and they end with the decision."""
    statuses = [visit.status for visit in decided.visits]
    assert statuses.count("counted") == decided.account["comparisons"]
    assert set(statuses) <= {"counted", "pending", "not_counted"}
    assert all(visit.replies for visit in decided.visits)


def test_the_certificate_is_confirmed_offline(decided: Decided) -> None:
    """`llmpo verify` recomputes the decision from the exported log and says so."""
    result = verify(decided.name, decided.log)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "confirmed" in result.stdout
    assert best_policy(decided.name) in result.stdout


def test_a_log_with_one_changed_mark_is_not_confirmed(decided: Decided, tmp_path: Path) -> None:
    """One comparison turned round: `llmpo verify` fails and says what differs."""
    changed = tmp_path / "changed.jsonl"
    changed.write_bytes(_with_a_comparison_turned(decided.log.read_bytes()))
    result = verify(decided.name, changed)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "not confirmed" in result.stdout


def test_afterwards_the_champion_alone_answers(decided: Decided, real_gateway: Gateway) -> None:
    """An ordinary request gets one answer, and on the sums the champion's is right."""
    task = TASKS[decided.name]

    async def ask_all() -> list[list[str]]:
        async with connect(real_gateway.url) as client:
            return [(await ask(client, decided.name, item.text, stream=False))[1] for item in task.items[:3]]

    answers = asyncio.run(ask_all())
    assert [len(replies) for replies in answers] == [1, 1, 1]
    if RIGHT_OF_100[decided.name][best_policy(decided.name)] == 100:
        assert all(
            task.is_right(item, replies[0]) for item, replies in zip(task.items, answers, strict=False)
        )


def _with_a_comparison_turned(log: bytes) -> bytes:
    turned = {"win": "loss", "loss": "win"}
    lines = log.splitlines(keepends=True)
    for number, line in enumerate(lines):
        record = orjson.loads(line)
        if record.get("result") in turned:
            lines[number] = orjson.dumps({**record, "result": turned[record["result"]]}) + b"\n"
            return b"".join(lines)
    raise AssertionError("no decisive comparison in the log")
