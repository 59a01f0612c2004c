"""`llmpo optimize` on real models: the policy that truly is best is found, and a poor judge is found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.real_models.stage import CONFIG, Models
from tests.e2e.real_models.tasks import DATA
from tests.e2e.real_models.truth import best_policy
from tests.e2e.real_models.verifying import verify

pytestmark = [pytest.mark.real_models, pytest.mark.timeout(600)]
EXPERIMENT = "add-two-numbers"


def optimize(folder: Path, models: Models, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Run the experiment of gateway.yaml on the items of its task; exit status and what was printed."""
    gateway = yaml.safe_load(CONFIG.read_text())
    policies = gateway["experiments"][EXPERIMENT]["policies"]
    for policy in policies.values():
        if "template" in policy:
            policy["template"] = str(CONFIG.parent / policy["template"])
    fields = {
        "name": EXPERIMENT,
        "model_list": gateway["model_list"],
        "policies": policies,
        "tasks": str(DATA / "sum.jsonl"),
        "judge": {"regex": {"pattern": r"\d+", "target": "outputs"}},
        "concurrency": 4,
        # Half of the answers; how often a decision is wrong is not for real models to show.
        "delta": 0.2,
        "epsilon": 0.1,
        **changes,
    }
    config = folder / "sums.yaml"
    config.write_text(json.dumps(fields))
    ran = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "optimize", "--config", str(config), "--json", "--no-plots"],
        env={**os.environ, **models.environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode in {0, 3}, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def test_best_policy_is_found_with_a_part_of_the_answers(models: Models, tmp_path: Path) -> None:
    """What full measurement found best is certified, and `llmpo verify` confirms it."""
    status, summary = optimize(tmp_path, models)

    assert status == 0
    assert summary["champion"] == best_policy(EXPERIMENT)
    assert summary["answers"] < summary["answers_of_full_evaluation"] / 2
    confirmed = verify(EXPERIMENT, Path(summary["log"]))
    assert confirmed.returncode == 0, confirmed.stdout + confirmed.stderr


def test_poor_judge_gives_ties(models: Models, tmp_path: Path) -> None:
    """A model too small to judge prefers a place, or says nothing one can read: no evidence arises."""
    judge = {
        "llm": {
            "model": "smollm2-cut",
            "may_be_candidate": True,
            "params": {"temperature": 0, "max_tokens": 8},
        }
    }
    status, summary = optimize(tmp_path, models, judge=judge, max_comparisons=1)

    verdicts = summary["judge"]["verdicts"]
    assert status == 3
    assert summary["judge"]["is_candidate"]
    assert sum(verdicts.values()) == 1
    assert summary["ties"] >= verdicts.get("unreadable", 0) + verdicts.get("disagreed", 0)
