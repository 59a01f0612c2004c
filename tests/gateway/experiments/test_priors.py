"""What informs an experiment: which roles, which counts of a run, and what an earlier generation said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config.load import load_config
from gateway.errors import ConfigError
from gateway.experiments.priors import earlier_source, informing_roles, run_of
from policy_store.experiment import Experiment
from policy_store.roles import Role
from tests.gateway.building import config_fields, definition

_WINS = ((0, 9, 4), (3, 0, 5), (1, 2, 0))


def _run(folder: Path, fingerprints: list[str], wins: Any = _WINS) -> None:
    """A finished run as far as a prior reads it."""
    header = {"experiment": {"policy_fingerprints": fingerprints}, "certificate": {"wins": wins}}
    (folder / "log.jsonl").write_text(json.dumps(header) + "\n", encoding="utf-8")


def _loaded(folder: Path, **experiment: Any) -> Any:
    (folder / "gateway.yaml").write_text(json.dumps(config_fields(**experiment)), encoding="utf-8")
    return load_config(folder / "gateway.yaml", {}).experiments["support"].prior


def _prints(*policies: str) -> dict[str, str]:
    about = definition(policies=policies).experiment
    return dict(zip(about.policies, about.policy_fingerprints, strict=True))


def test_run_informs_by_content_of_policies(tmp_path: Path) -> None:
    """Counts are taken between policies that are the same, whatever their order or other policies there."""
    prints = _prints("cold", "plain", "warm")
    _run(tmp_path, [prints["warm"], "another", prints["plain"]])
    prior = _loaded(tmp_path, policies=("cold", "plain", "warm"), prior={"run": "."})
    about = definition(policies=("cold", "plain", "warm"), prior=prior)

    source = run_of(about.experiment)
    assert source is not None
    assert (source.name, source.comparisons) == ("run", 5)
    assert source.wins == ((0, 0, 0), (0, 0, 1), (0, 4, 0))


def test_stored_form_changes_only_with_a_prior(tmp_path: Path) -> None:
    """An experiment without one is stored as before; with one, evidence counted without it goes on."""
    prints = _prints("plain", "warm")
    _run(tmp_path, [*prints.values(), "another"])
    without, prior = definition().experiment, _loaded(tmp_path, prior={"run": "."})
    informed = definition(prior=prior).experiment

    assert "prior" not in json.loads(without.to_json())
    assert Experiment.from_json(informed.to_json()) == informed
    assert informed.fingerprint() != without.fingerprint()
    assert informed.sources(without) == (0, 1)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json\n",
        "[]\n",
        '{"experiment": {"policy_fingerprints": ["a", "b"]}}\n',
        '{"experiment": {"policy_fingerprints": ["a", "b"]}, "certificate": null}\n',
        '{"experiment": {"policy_fingerprints": ["a", "b"]}, "certificate": {"wins": [[0, 1]]}}\n',
        '{"experiment": {"policy_fingerprints": ["a", "b"]}, "certificate": {"wins": [[0, -1], [0, 0]]}}\n',
        '{"experiment": {"policy_fingerprints": []}, "certificate": {"wins": []}}\n',
        '{"experiment": {"policy_fingerprints": ["a", "b"]}, "certificate": {"wins": [[0, 1e999], [0]]}}\n',
        '{"experiment": {"policy_fingerprints": ["a", "b"]}, "certificate": {"wins": [[0, 1%s], [0, 0]]}}\n'
        % ("0" * 400),
    ],
)
def test_directory_without_a_finished_run_is_refused(tmp_path: Path, content: str) -> None:
    """The fault names the directory as written and what to do."""
    (tmp_path / "log.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="run"):
        _loaded(tmp_path, prior={"run": "."})


@pytest.mark.parametrize("path", ["", "missing", "nul\0byte", 7, "gateway.yaml"])
def test_path_that_is_no_directory_of_a_run_is_refused(tmp_path: Path, path: object) -> None:
    """Whatever stands there, it is a fault of the file."""
    with pytest.raises(ConfigError, match="run"):
        _loaded(tmp_path, prior={"run": path})


def test_run_about_other_policies_is_refused(tmp_path: Path) -> None:
    """A run that says nothing about any pair is a mistake."""
    _run(tmp_path, ["other", _prints("plain", "warm")["plain"], "another"])
    prior = _loaded(tmp_path, prior={"run": "."})
    with pytest.raises(ConfigError, match="Fewer than two policies of the run"):
        definition(prior=prior)


def test_empty_prior_is_refused() -> None:
    """A prior names something."""
    with pytest.raises(ValueError, match="`prior` names nothing"):
        definition(prior={})


@pytest.mark.parametrize(
    ("promote_on", "informing"),
    [
        (None, set()),
        (["explicit"], {Role.IMPLICIT}),
        (["implicit"], {Role.EXPLICIT}),
        (["implicit", "explicit"], set()),
    ],
)
def test_what_is_not_promoted_on_informs(promote_on: list[str] | None, informing: set[Role]) -> None:
    """Of a matched experiment's signals some are said and some are done."""
    assert informing_roles(definition(promote_on=promote_on).spec) == informing


def test_evidence_has_another_meaning_if_other_roles_count() -> None:
    """`promote_on` is part of the meaning of evidence, and weights of what only informs are not."""
    before = definition().experiment
    signals = {"thumb": 1, "copied": 0.5}
    some = definition(promote_on=["explicit"], feedback={"signals": signals}).experiment
    other = definition(promote_on=["explicit"], feedback={"signals": {**signals, "copied": 0.1}}).experiment

    assert "outcome_rules" in some.breaks_with(before)
    assert some.fingerprint() == other.fingerprint()
    assert json.loads(some.outcome_rules)["promote_on"] == ["explicit"]


def test_declared_role_of_a_signal_counts() -> None:
    """A signal of one's own is explicit unless the file says otherwise."""
    signals = {"solved": 1, "stayed": {"weight": 1, "role": "implicit"}}
    rules = definition(promote_on=["explicit"], feedback={"signals": signals}).experiment.outcome_rules
    assert json.loads(rules)["signals"] == {"solved": 1.0}


@pytest.mark.parametrize(
    ("collect", "promote_on"), [("side_by_side", "implicit"), ("regenerate", "explicit")]
)
def test_promoting_on_nothing_is_refused(collect: str, promote_on: str) -> None:
    """A way of collecting that gives no such feedback would never decide."""
    with pytest.raises(ConfigError, match="No feedback would be evidence"):
        definition(traffic={"collect": collect}, promote_on=[promote_on])


def test_sessions_that_inform_need_a_hold() -> None:
    """Without one, a session's vote may count long after what it did has informed."""
    session = {"traffic": {"unit": "session"}, "promote_on": ["explicit"]}
    with pytest.raises(ConfigError, match="hold"):
        definition(**session)
    assert definition(**session, feedback={"hold": "6h"}).spec.promote_on == ["explicit"]


def test_spooled_votes_come_too_late_for_signals_that_inform() -> None:
    """A vote that waited on a disk for days would meet a forecast that knows of its unit."""
    with pytest.raises(ConfigError, match="spool"):
        definition(promote_on=["explicit"], feedback={"spool": True})


def test_changed_policy_is_forecast_from_its_namesake() -> None:
    """Counts of pairs with a changed policy inform by name; the others are inherited instead."""
    before = definition(policies=("a", "b", "c")).experiment
    now = replace(before, policy_fingerprints=("edited", *before.policy_fingerprints[1:]))

    source = earlier_source(before, _WINS, now, is_inherited=True)
    assert source is not None
    assert source.wins == ((0, 9, 4), (3, 0, 0), (1, 0, 0))
    assert earlier_source(before, _WINS, before, is_inherited=True) is None


def test_what_is_not_inherited_informs_about_all_policies() -> None:
    """After a verdict or a change of meaning no pair's counts are evidence any more."""
    before = definition(policies=("a", "b", "c")).experiment
    source = earlier_source(before, _WINS, replace(before, delta=0.2), is_inherited=False)
    assert source is not None
    assert source.wins == _WINS
