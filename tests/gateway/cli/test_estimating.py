"""`llmpo estimate`: what it prints for a configuration, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gateway.cli import main
from gateway.config.load import load_config
from gateway.experiments.policies import compile_policies

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
    max_comparisons: 600
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
        assert risky < 0.15  # 0.02 of all units, of which 0.4 take part, is a twentieth; the rest is chance
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


def _with_sources(tmp_path: Path) -> str:
    """An experiment with votes as evidence, implicit signals and a judge that inform, and an offline run."""
    content = yaml.safe_load(CONFIG.format(own="my-own-model"))
    content["model_list"].append(
        {"model_name": "judge", "litellm_params": {"model": "openai/gpt-4o", "api_key": "sk-secret"}}
    )
    search = content["experiments"]["search"]
    search |= {
        "delta": 0.5,
        "promote_on": ["explicit"],
        "judge": {"model": "judge", "spend_per_day": 1.0, "share": 0.5},
        "traffic": {"share": 0.5},
    }
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    loaded = load_config(path, {}, may_be_unset=True)
    policies = compile_policies(loaded, loaded.experiments["search"])
    header = {
        "experiment": {"policy_fingerprints": [policy.fingerprint for policy in policies]},
        "certificate": {"wins": [[0, 30], [12, 0]]},
    }
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.jsonl").write_text(json.dumps(header) + "\n", encoding="utf-8")
    search["prior"] = {"run": "run", "earlier": True}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def test_each_source_is_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """4,800 requests, half take part: 24 votes a day, 480 signals; a judge within what it may spend."""
    path = _with_sources(tmp_path)
    asked = ["estimate", "--config", path, "--experiment", "search", *TRAFFIC, "--cost-per-request", "0.01"]
    asked += ["--feedback-rate", "0.02", "--implicit-rate", "0.4", "--agreement", "0.9"]
    assert main([*asked, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)

    sources = {each["source"]: each for each in report["sources"]}
    assert list(sources) == ["explicit", "implicit", "judge", "run", "all together"]
    assert [each["counts_as"] for each in sources.values()] == ["evidence", *["informs"] * 3, None]
    assert (report["agreement"], report["comparisons_per_day"]) == (0.9, pytest.approx(24))
    assert sources["explicit"]["comparisons_per_day"] == pytest.approx(24)
    assert sources["implicit"]["comparisons_per_day"] == pytest.approx(480)
    assert sources["run"]["comparisons_beforehand"] == 42
    assert sources["judge"]["comparisons_per_day"] == report["judge"]["compared_per_day"]
    usd = report["judge"]["usd_per_day"]
    assert 0 < usd <= 1
    assert sources["judge"]["judge_usd"] == pytest.approx(usd * sources["judge"]["days"]["median"])
    assert sources["explicit"]["judge_usd"] == 0
    assert sources["explicit"]["days"] == report["effects"][1]["days"]

    assert main(asked) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "agrees with people about 90% of the pairs" in shown
    assert "run informs 42 before" in shown
    assert "What the generation before counted informs as well" in shown


def test_a_judge_that_counts_is_estimated_as_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its comparisons are added to those of users, and it needs no money of theirs."""
    path = _with_sources(tmp_path)
    content = yaml.safe_load(Path(path).read_text())
    del content["experiments"]["search"]["prior"]
    content["experiments"]["search"]["promote_on"] = ["explicit", "judge"]
    Path(path).write_text(yaml.safe_dump(content), encoding="utf-8")
    asked = ["estimate", "--config", path, "--experiment", "search", *TRAFFIC, "--json"]
    assert main([*asked, "--feedback-rate", "0.02", "--implicit-rate", "0.4"]) == 0
    report = json.loads(capsys.readouterr().out)

    sources = {each["source"]: each for each in report["sources"]}
    assert list(sources) == ["explicit", "judge", "explicit and judge", "implicit"]
    kinds = [each["counts_as"] for each in sources.values()]
    assert kinds == ["evidence", "evidence", None, "informs"]
    judged = report["judge"]["compared_per_day"]
    assert report["judge"]["role"] == "evidence"
    assert report["comparisons_per_day"] == pytest.approx(24 + judged)
    assert sources["judge"]["comparisons_per_day"] == judged
    assert sources["judge"]["cost"] is None


def test_signals_that_are_evidence_too_are_told_apart_by_their_rate(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a rate of their own they are one source with votes; with one, a unit counts once."""
    path = _with_sources(tmp_path)
    content = yaml.safe_load(Path(path).read_text())
    for name in ("promote_on", "judge", "prior"):
        del content["experiments"]["search"][name]
    Path(path).write_text(yaml.safe_dump(content), encoding="utf-8")
    asked = ["estimate", "--config", path, "--experiment", "search", *TRAFFIC, "--json"]

    main(asked)
    one = json.loads(capsys.readouterr().out)
    main([*asked, "--implicit-rate", "0.5"])
    both = json.loads(capsys.readouterr().out)

    assert [each["source"] for each in one["sources"]] == ["explicit and implicit"]
    assert one["comparisons_per_day"] == pytest.approx(4_800 * 0.5 * 0.1 / 2)
    assert [each["source"] for each in both["sources"]] == ["explicit", "implicit", "explicit and implicit"]
    assert both["comparisons_per_day"] == pytest.approx(4_800 * 0.5 * 0.55 / 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "search", "--implicit-rate", "0"], "implicit rate is 0"),
        (["--experiment", "search", "--implicit-rate", "1.5"], "implicit rate is 1.5"),
        (["--experiment", "search", "--implicit-rate", "nan"], "implicit rate is nan"),
        (["--experiment", "support", "--implicit-rate", "0.5"], "leave --implicit-rate out"),
        (["--experiment", "search", "--agreement", "1.1"], "less than or equal to 1"),
    ],
)
def test_impossible_sources_are_refused(
    arguments: list[str], message: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each error names the wrong value, or the option to leave out."""
    assert main(["estimate", "--config", config, *TRAFFIC, "--cost-per-request", "0", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
