"""`llmpo simulate` and `llmpo hardness`: shapes others script against, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from gateway.cli import main

WORLDS = Path(__file__).parents[2] / "data" / "worlds"
PANDALM = str(WORLDS / "pandalm_human_5.json")


@pytest.fixture
def equals(tmp_path: Path) -> str:
    """A world of two equal policies."""
    path = tmp_path / "equals.json"
    path.write_text('{"P": [[0.5, 0.5], [0.5, 0.5]]}')
    return str(path)


def test_simulate_reports_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON document with every promised key; the ratio is the mean over hardness x log(1/delta)."""
    status = main(["simulate", "--world", PANDALM, "--method", "llm-po", "--seeds", "8", "--json"])

    report = json.loads(capsys.readouterr().out)
    assert status == 0
    assert set(report) == {
        *("world", "method", "stopping", "delta", "epsilon", "seeds", "hardness"),
        *("mean_comparisons", "stderr", "ratio", "wrong", "outcomes"),
    }
    assert report["outcomes"] == {"winner": 8, "no_worse": 0, "no_winner": 0, "inconclusive": 0}
    expected = report["mean_comparisons"] / (report["hardness"] * math.log(20))
    assert report["ratio"] == pytest.approx(expected)


def test_simulation_repeats_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Equal seeds give equal runs, another seed gives others."""
    outputs = []
    for seed in ("1", "1", "2"):
        main(["simulate", "--world", PANDALM, "--seeds", "2", "--seed", seed, "--json"])
        outputs.append(capsys.readouterr().out)

    assert outputs[0] == outputs[1]
    assert outputs[0] != outputs[2]


@pytest.mark.parametrize(
    "method",
    ["llm-po-tracking", "round-robin", "random-pair", "eps-greedy", "double-thompson", "rucb"],
)
def test_every_method_runs_with_both_stopping_rules(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each named method reaches a verdict in an easy world."""
    for stopping in ("e-process", "glr"):
        arguments = ["--world", PANDALM, "--method", method, "--stopping", stopping]
        assert main(["simulate", *arguments, "--seeds", "2", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["method"], report["stopping"]) == (method, stopping)
        assert report["outcomes"]["winner"] == 2


def test_hardness_reports_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    """The report has hardness, bound, champion and proportions by `loser-rival`, without a gap."""
    assert main(["hardness", "--world", PANDALM, "--space", "unstructured", "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"space", "hardness", "lower_bound", "champion", "proportions", "gap"}
    assert report["hardness"] == pytest.approx(52.3, abs=0.05)
    assert sum(report["proportions"].values()) == pytest.approx(1)
    assert set(report["proportions"]) == {"0-2", "1-2", "3-2", "4-2"}
    assert report["gap"] == 0


@pytest.mark.parametrize(
    ("world", "space", "hardness"),
    [
        ('{"scores": [0.8, 0.3, 0.1, -0.2, -1.0]}', "bradley_terry", 58.162),
        ('{"features": [[0, 0], [1, 0], [0, 1], [1, 1]], "theta": [-0.4, -0.7]}', "linear", 54.187),
    ],
)
def test_hardness_of_the_structured_spaces(
    world: str, space: str, hardness: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The document has proportions that sum to one and a certified gap."""
    path = tmp_path / "world.json"
    path.write_text(world)

    assert main(["hardness", "--world", str(path), "--space", space, "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert report["space"] == space
    assert report["hardness"] == pytest.approx(hardness, rel=2e-4)
    assert report["champion"] == 0
    assert sum(report["proportions"].values()) == pytest.approx(1, abs=1e-4)
    assert 0 <= report["gap"] <= 1e-4


def test_people_get_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json both commands print the same results in words."""
    main(["hardness", "--world", PANDALM])
    main(["simulate", "--world", PANDALM, "--seeds", "3"])

    shown = capsys.readouterr().out
    assert "llama-7b" in shown
    assert "wrong promotions" in shown


def test_equals_need_a_margin_or_a_budget(equals: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A simulation that could never end is refused with what to add; with either it ends."""
    assert main(["simulate", "--world", equals, "--seeds", "2"]) == 2
    assert "--max-comparisons" in capsys.readouterr().err

    assert main(["simulate", "--world", equals, "--seeds", "2", "--max-comparisons", "50", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outcomes"]["inconclusive"] + report["outcomes"]["winner"] == 2
    assert report["ratio"] is None

    assert main(["simulate", "--world", equals, "--seeds", "2", "--epsilon", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"]["no_worse"] == 2


def test_world_file_says_how_outcomes_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Queues, unequal reporting, delays and a hold are simulated as the gateway has them."""
    path = tmp_path / "late.json"
    path.write_text(
        '{"rates": [0.9, 0.3], "reported": [0.5, 1], "delays": [20, 0], "hold": 20, "wait": 500, '
        '"later": [0.95, 0.4], "drift_units": 5000}'
    )

    assert main(["simulate", "--world", str(path), "--seeds", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcomes"]["winner"] == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ('"rates": [0.9, 0.3], "hold": -1', "hold is -1; give at least 0"),
        ('"rates": [0.9, 0.3], "delays": [20, 5], "hold": 4', "hold is 4; give at least 5"),
        ('"rates": [0.9, 0.3], "delays": [20, 0], "hold": 10', "Give a longer"),
        ('"rates": [0.9, 0.3], "delays": 20', "delays is 20"),
        ('"rates": [0.9, 0.3], "reported": [0.5]', "reported"),
        ('"rates": [0.9, 0.3], "later": [0.5, 0.2]', '"drift_units"'),
        ('"rates": [0.9, 0.3], "wait": "long"', "wait is 'long'; give at least one unit"),
        ('"scores": [0.9, 0.3], "hold": 10', '"rates"'),
    ],
)
def test_wrong_words_on_outcomes_are_refused(
    fields: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What stands there and what would be right."""
    path = tmp_path / "late.json"
    path.write_text(f"{{{fields}}}")

    assert main(["simulate", "--world", str(path), "--seeds", "1"]) == 2
    # The message is boxed and wrapped by the terminal's width.
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert message in shown


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("simulate", ["--method", "guess"], "llm-po-tracking"),
        ("simulate", ["--stopping", "lr-ratio"], "lr-mixture"),
        ("simulate", ["--delta", "1.5"], "delta is 1.5"),
        ("simulate", ["--epsilon", "0.5"], "epsilon is 0.5"),
        ("hardness", ["--space", "metric"], "unstructured, bradley_terry, linear"),
        ("hardness", ["--space", "linear"], "has no features"),
        ("hardness", ["--space", "bradley_terry"], "not Bradley-Terry"),
    ],
)
def test_what_nobody_built_is_refused_with_what_there_is(
    command: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage ends with status 2 and names the value or the choices."""
    assert main([command, "--world", PANDALM, *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "an object is needed"),
        ("{}", "features"),
        ('{"P": [[0.5, 0.7], [0.7, 0.5]]}', "add up to 1"),
        ('{"scores": [1]}', "K >= 2"),
        ('{"scores": [1, "x"]}', "not numeric"),
        ('{"features": [[1, 2], [3, 4]], "theta": [1]}', "must agree"),
    ],
)
def test_what_is_no_world_is_refused(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bad world file ends with status 2 and says what is wrong with it."""
    path = tmp_path / "world.json"
    path.write_text(content)

    assert main(["hardness", "--world", str(path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("space", ["unstructured", "bradley_terry"])
@pytest.mark.parametrize("costs", [[], ["--costs", "1,2,4,8,16"]])
def test_convex_program_in_cvxpy_gives_the_same_hardness(
    space: str, costs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--solver reference` agrees within 0.1 % in hardness, and says that it bounds no gap."""
    path = tmp_path / "world.json"
    path.write_text(json.dumps({"scores": [0.8, 0.3, 0.1, -0.2, -1.0]}))
    reports = []
    for solver in ("fast", "reference"):
        command = ["hardness", "--world", str(path), "--space", space, "--solver", solver, "--json", *costs]
        assert main(command) == 0
        reports.append(json.loads(capsys.readouterr().out))

    fast, reference = reports
    assert reference["hardness"] == pytest.approx(fast["hardness"], rel=1e-3)
    assert sum(reference["proportions"].values()) == pytest.approx(1)
    assert reference["gap"] is None


def test_hardness_lists_pairs_of_equals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two losers with one score are compared too, and the proportions still sum to one."""
    path = tmp_path / "world.json"
    path.write_text('{"scores": [0.8, 0.3, 0.3, -0.5]}')

    assert main(["hardness", "--world", str(path), "--space", "bradley_terry", "--json"]) == 0

    report = json.loads(capsys.readouterr().out)
    assert report["proportions"]["2-1"] > 0.01
    assert "1-2" not in report["proportions"]
    assert sum(report["proportions"].values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("space", ["unstructured", "bradley_terry"])
def test_hardness_under_costs_is_what_a_nat_costs(
    space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice as dear everywhere, a comparison costs four times a unit: only the unit changes."""
    path = tmp_path / "world.json"
    path.write_text('{"scores": [0.8, 0.3, -0.5]}')
    reports = []
    for costs in ([], ["--costs", "2,2,2"], ["--costs", "20,2,2"]):
        assert main(["hardness", "--world", str(path), "--space", space, "--json", *costs]) == 0
        reports.append(json.loads(capsys.readouterr().out))

    plain, dear, uneven = reports
    assert dear["hardness"] == pytest.approx(4 * plain["hardness"], rel=1e-3)
    assert dear["lower_bound"] == pytest.approx(4 * plain["lower_bound"], rel=1e-3)
    assert dear["proportions"] == pytest.approx(plain["proportions"], abs=1e-3)
    assert dear["hardness"] < uneven["hardness"] < 22 * plain["hardness"]
    assert uneven["costs"] == [20, 2, 2]


@pytest.mark.parametrize(
    ("command", "costs", "message"),
    [
        ("hardness", "1,2", "give one each"),
        ("hardness", "1,x,2,3,4", "--costs is '1,x,2,3,4'"),
        ("hardness", "1,0,0,3,4", "give positive costs"),
        ("hardness", "1,nan,2,3,4", "nan"),
        ("simulate", "1,2", "give one each"),
        ("simulate", "", "separated by commas"),
    ],
)
def test_costs_that_are_none_are_refused(
    command: str, costs: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names them and says what to give."""
    assert main([command, "--world", PANDALM, "--costs", costs]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_simulation_that_saves_cost_reports_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Mean cost, and a ratio of cost; for people too."""
    arguments = [
        "simulate",
        "--world",
        PANDALM,
        "--seeds",
        "2",
        "--costs",
        "20,1,3,1,1",
        "--objective",
        "cost",
    ]
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ratio"] == pytest.approx(report["mean_cost"] / (report["hardness"] * math.log(20)))

    assert main(arguments) == 0
    assert "of cost per nat" in capsys.readouterr().out


GRID = {"model": {"small": 0, "large": 0.4}, "prompt": {"short": 0, "long": -0.2, "none": -0.9}}


def test_grid_in_a_world_file_is_a_structured_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The scores of a policy's levels add up, and the axes are the features of `linear`."""
    path = tmp_path / "grid.json"
    path.write_text(json.dumps({"grid": GRID}))

    assert main(["hardness", "--world", str(path), "--space", "linear", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["champion"] == 3
    arguments = ["simulate", "--world", str(path), "--seeds", "2", "--space", "linear", "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["world"], report["space"], report["outcomes"]["winner"]) == ("grid", "linear", 2)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([], "give axes of levels"),
        ({}, "give axes of levels"),
        ({"model": ["a", "b"]}, "Axis 'model' of world 'w' is ['a', 'b']; give its levels by name"),
        ({"model": {"a": 0, "b": "x"}}, "Level 'b' of axis 'model' of world 'w' adds 'x' to the score"),
        ({"model": {"a": 0, "b": None}}, "adds None to the score"),
        ({"model": {"a": 0}}, "makes one policy; give an axis a second level"),
        ({"model": {"a": 0, "b": 1e9}}, "scores go from 0 to 1e+09"),
        ({"m": {"a": 0, "a-b": 1}, "p": {"b-c": 0, "c": 1}}, "give each policy its own"),
    ],
)
def test_grid_that_is_none_is_refused(
    grid: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Axis, level and value are named."""
    path = tmp_path / "w.json"
    path.write_text(json.dumps({"grid": grid}))

    assert main(["simulate", "--world", str(path), "--seeds", "2"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_simulation_keeps_exposure_caps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last policy may answer a tenth of the units; the report says what each answered."""
    world = tmp_path / "world.json"
    world.write_text('{"scores": [0, 0.3, 0.9]}', encoding="utf-8")
    asked = ["simulate", "--world", str(world), "--seeds", "2", "--max-comparisons", "60", "--json"]
    capped = ["--max-shares", "1,1,0.1", "--refresh-every", "20"]

    assert main([*asked, *capped]) == 0
    report = json.loads(capsys.readouterr().out)

    assert report["answered"][2] < 0.2
    assert report["mean_units"] >= 2 * report["mean_comparisons"]
    assert main([*asked, "--max-shares", "1,much,0.1"]) == 2
    assert "one number per policy" in capsys.readouterr().err
    assert main([*asked, "--max-shares", "1,0.1"]) == 2
    assert "caps for 2 policies" in capsys.readouterr().err
