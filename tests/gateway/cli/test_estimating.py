"""`llmpo estimate`: what it prints for a configuration, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gateway.cli import main

CONFIG = """\
model_list:
  - model_name: small
    litellm_params: {{model: openai/gpt-4o-mini, api_key: os.environ/KEY_NOBODY_SET}}
  - model_name: own
    litellm_params: {{model: openai/{own}, api_key: sk-secret, api_base: "http://127.0.0.1:1/v1"}}
experiments:
  support:
    incumbent: warm
    policies:
      base: {{model: small, cost: 2}}
      warm: {{model: own, system: "Be warm."}}
    delta: 0.1
    epsilon: 0
    max_comparisons: 150
    traffic: {{share: 0.5, collect: side_by_side}}
    promotion: {{min_comparisons: 20, min_duration: 1h}}
  search:
    incumbent: base
    policies:
      base: {{model: small}}
      warm: {{model: small, system: "Be warm."}}
    epsilon: 0
"""
GRID = """\
model_list:
  - model_name: small
    litellm_params: {{model: openai/gpt-4o-mini, api_key: sk-secret}}
  - model_name: big
    litellm_params: {{model: openai/gpt-4o, api_key: sk-secret}}
experiments:
  support:
    incumbent: small-short-0
    space: {space}
    grid: {{model: [small, big], system: {{short: "Be short.", long: "Be long."}}, temperature: [0, 1]}}
"""
TRAFFIC = ["--requests-per-day", "4800", "--feedback-rate", "0.1", "--runs", "3"]


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting other processes takes longer than what they would compute."""
    monkeypatch.setattr("gateway.simulation.runner.available_cores", lambda: 1)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """Two experiments; the first has a model whose price is unknown, and one whose key is not set."""
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.format(own="my-own-model"), encoding="utf-8")
    return str(path)


def test_report_is_of_the_experiment_as_configured(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """4,800 requests, half take part, a tenth report: 240 comparisons a day, ten an hour."""
    arguments = [
        "estimate",
        "--config",
        config,
        "--experiment",
        "support",
        *TRAFFIC,
        "--cost-per-request",
        "0.01",
    ]

    assert main([*arguments, "--feedback-delay", "1h", "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert {key: report[key] for key in ("experiment", "policies", "delta", "epsilon", "collect")} == {
        "experiment": "support",
        "policies": 2,
        "delta": 0.1,
        "epsilon": 0.0,
        "collect": "side_by_side",
    }
    assert report["promise"] == "winner"
    assert report["comparisons_per_day"] == pytest.approx(240)
    assert report["in_flight"] == 10
    assert [effect["effect"] for effect in report["effects"]] == ["small", "medium", "large"]
    for effect in report["effects"]:
        assert set(effect["comparisons"]) == {"p10", "median", "p90"}
        assert effect["days"]["median"] == pytest.approx(effect["comparisons"]["median"] / 240)
        # Ten units a comparison, two answers each at a cent, one of them extra.
        assert effect["cost"]["median"] == pytest.approx(effect["comparisons"]["median"] * 0.2)
        assert effect["extra_cost"]["median"] == pytest.approx(effect["comparisons"]["median"] * 0.1)
    assert report["effects"][0]["undecided"] > 0.5
    assert any("max_comparisons 150" in sentence for sentence in report["advice"])


def test_every_experiment_is_estimated_by_default(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Several come as a list."""
    assert main(["estimate", "--config", config, *TRAFFIC, "--cost-per-request", "0", "--json"]) == 0

    assert [report["experiment"] for report in json.loads(capsys.readouterr().out)] == ["support", "search"]


def test_prices_come_from_the_list_unless_a_model_is_not_on_it(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Known for every policy: money; unknown for one: no money, and a word on what to give."""
    main(["estimate", "--config", config, "--experiment", "search", *TRAFFIC])
    known = capsys.readouterr().out
    main(["estimate", "--config", config, "--experiment", "support", *TRAFFIC])
    unknown = capsys.readouterr().out

    assert "cost" in known
    assert "--cost-per-request" not in known
    assert "--cost-per-request" in unknown


def test_people_get_a_table_in_their_own_words(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Success rates where outcomes are good or bad; the share of ties that follows from them."""
    arguments = ["--success-rate", "0.5", "--cost-per-request", "0.01"]
    main(["estimate", "--config", config, "--experiment", "search", *TRAFFIC, *arguments])

    shown = capsys.readouterr().out
    assert "search: 2 policies, matched" in shown
    assert "(50% -> 70%)" in shown
    assert "about 50% of them ties" in " ".join(shown.split())


def test_a_table_for_another_program_is_not_shortened(
    config: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns of a pipe or a file are as wide as what is in them; only COLUMNS limits them."""
    monkeypatch.delenv("COLUMNS", raising=False)
    money = ["--success-rate", "0.5", "--cost-per-request", "1e40"]
    main(["estimate", "--config", config, "--experiment", "search", *TRAFFIC, "--runs", "1", *money])

    heading, small = capsys.readouterr().out.splitlines()[1:3]
    assert heading.split() == ["effect", "best", "preferred", "comparisons", "days", "cost", "extra"]
    assert "55% (50% -> 55%)" in small
    assert len(small) > 100


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--experiment", "nowhere"], 2, "There are: support, search"),
        (["--feedback-delay", "soon"], 2, "write it as 30s, 10m, 2h or 1d"),
        (["--feedback-rate", "0"], 2, "feedback rate is 0"),
        (["--requests-per-day", "0"], 2, "0 requests a day"),
        (["--success-rate", "1"], 2, "success rate is 1"),
    ],
)
def test_wrong_questions_are_refused(
    arguments: list[str], status: int, message: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each error names the wrong value or lists what exists."""
    command = ["estimate", "--config", config, "--experiment", "search", *TRAFFIC, "--cost-per-request", "0"]

    assert main([*command, *arguments]) == status
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_file_without_experiments_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file without experiments leaves nothing to estimate."""
    path = tmp_path / "gateway.yaml"
    path.write_text("model_list: [{model_name: a, litellm_params: {model: openai/a}}]\n", encoding="utf-8")

    assert main(["estimate", "--config", str(path), *TRAFFIC]) == 2
    assert "no experiments" in capsys.readouterr().err


def test_grid_is_estimated_with_the_structure_it_runs_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight policies: the asymptotic guarantee of a grid takes fewer comparisons than no structure at all."""
    medians = []
    for space in ("linear", "unstructured"):
        path = tmp_path / f"{space}.yaml"
        path.write_text(GRID.format(space=space), encoding="utf-8")
        assert main(["estimate", "--config", str(path), *TRAFFIC, "--runs", "6", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        medians.append(report["effects"][-1]["comparisons"]["median"])

    assert medians[0] < 0.8 * medians[1]


def test_caps_are_part_of_the_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An operator sees the days with and without them, and what share of the units each policy answers."""
    content = yaml.safe_load(CONFIG.format(own="my-own-model"))
    search = content["experiments"]["search"]
    search["policies"]["risky"] = {"model": "small", "system": "Guess.", "max_share": 0.02}
    search |= {"delta": 0.8, "traffic": {"share": 0.4}}
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")

    asked = ["estimate", "--config", str(path), "--experiment", "search", *TRAFFIC, "--runs", "1"]
    assert main([*asked, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)

    for effect in report["effects"]:
        base, risky, warm = effect["answered"]
        assert base + risky + warm == pytest.approx(1.0)
        assert risky < 0.1  # 0.02 of all units, of which 0.4 take part, is a twentieth; the rest is chance
        assert effect["days"].keys() == effect["days_without_caps"].keys()
    assert any("exposure caps" in sentence for sentence in report["advice"])


def test_caps_that_nothing_can_keep_are_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gateway would not start with them either."""
    path = tmp_path / "gateway.yaml"
    path.write_text(
        CONFIG.format(own="m").replace("warm: {model: small", "warm: {max_share: 0.01, model: small")
    )

    assert main(["estimate", "--config", str(path), "--experiment", "search", *TRAFFIC]) == 2
    assert "Lower `share` to 0.02" in capsys.readouterr().err
