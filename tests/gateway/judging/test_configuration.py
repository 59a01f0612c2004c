"""Judges that a configuration may not have, and what it says of those it may."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config.load import load_config
from gateway.errors import ConfigError
from gateway.experiments.catalogue import definitions_of
from gateway.experiments.definitions import Definition
from gateway.experiments.description import describe
from gateway.experiments.judge import judged_by
from gateway.experiments.promises import claim_of
from gateway.judging.estimating import judge_estimate
from gateway.upstream.prices import TokenPrices
from tests.gateway.building import NAME
from tests.gateway.judging.judges import judged_fields


def defined(folder: Path, **changes: Any) -> Definition:
    """The experiment of a file."""
    return _defined(folder, judged_fields(**changes))


def _defined(folder: Path, fields: dict[str, Any]) -> Definition:
    (folder / "judge.j2").write_text("Which is warmer?")
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(fields))
    return definitions_of(load_config(file, {}))[NAME]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"judge": {"model": "juge"}}, r"judge\.model .*no model 'juge'.*Did you mean judge\?"),
        ({"judge": {"model": "warm"}}, r"judge\.model: 'warm' is also the model of policy 'warm'"),
        ({"judge": {"spend_per_day": 0}}, r"judge\.spend_per_day .*greater than 0"),
        ({"judge": {"share": 0.5}}, r"every request that takes part is judged.*Leave it out"),
        ({"judge": {"rubric": "none.j2"}}, r"judge\.rubric .*none\.j2 cannot be read"),
        ({"judge": {"timeout": "2h"}}, r"judge\.timeout .*no more than an hour"),
        ({"prices": {}}, r"judge\.spend_per_day: The price of the model 'judge' is not known"),
        ({"promote_on": ["explicit", "judge"]}, r"the judge's verdicts are the evidence.*Leave"),
        ({"promote_on": ["judge"], "traffic": {}}, r"lists `judge` alone.*Use `collect: shadow`"),
        (
            {"promote_on": ["explicit", "judge"], "traffic": {"unit": "session"}},
            r"compares single requests, and `unit` is session.*Leave `unit` out",
        ),
        (
            {"promote_on": ["explicit", "judge"], "traffic": {"collect": "regenerate"}},
            r"No feedback would be evidence: what users of this experiment give is implicit",
        ),
        (
            {
                "promote_on": ["implicit", "judge"],
                "traffic": {"collect": "side_by_side"},
                "feedback": {"missing": {"failure": "loss"}, "hold": "6h"},
            },
            r"is always evidence, and `explicit` is not listed",
        ),
        ({"promote_on": ["explicit"]}, r"the judge's verdicts are the evidence.*Leave `promote_on` out"),
        ({"traffic": {"collect": "shadow", "unit": "session"}}, r"each request is compared by itself"),
    ],
)
def test_unusable_judges_are_refused_with_a_remedy(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    """Every fault is found before anything is served."""
    with pytest.raises(ConfigError, match=complaint):
        defined(tmp_path, **changes)


def test_a_candidate_under_another_name_is_no_judge(tmp_path: Path) -> None:
    """What counts is the model that is reached, not what the file calls it."""
    fields = judged_fields()
    fields["model_list"][-1]["litellm_params"]["model"] = "openai/warm"
    with pytest.raises(ConfigError, match=r"judge\.model: 'judge' is also the model of policy 'warm'"):
        _defined(tmp_path, fields)


def test_shadow_needs_a_judge(tmp_path: Path) -> None:
    """Without one nothing could ever be compared."""
    fields = judged_fields()
    del fields["experiments"][NAME]["judge"]
    with pytest.raises(ConfigError, match="`collect: shadow` needs a `judge`"):
        _defined(tmp_path, fields)


def test_listing_a_judge_needs_one(tmp_path: Path) -> None:
    """Without one nothing of it could ever be compared."""
    fields = judged_fields(traffic={}, promote_on=["explicit", "judge"])
    del fields["experiments"][NAME]["judge"]
    with pytest.raises(ConfigError, match=r"lists `judge`, and there is no `judge`.*Give one"):
        _defined(tmp_path, fields)


def test_another_judge_is_another_experiment_only_where_it_decides(tmp_path: Path) -> None:
    """Model, rubric and parameters are part of the record of a shadow experiment, and of no other."""
    rubric = {"rubric": "judge.j2"}
    shadow = [defined(tmp_path, judge=judge).experiment for judge in ({}, rubric, {"concurrency": 9})]
    beside = [defined(tmp_path, traffic={"share": 0.5}, judge=judge).experiment for judge in ({}, rubric)]
    assert shadow[0].fingerprint() != shadow[1].fingerprint()
    assert shadow[0].fingerprint() == shadow[2].fingerprint()
    assert beside[0].fingerprint() == beside[1].fingerprint()
    assert "judge" not in json.loads(beside[0].outcome_rules)


def test_a_judge_that_counts_beside_users_is_part_of_the_record(tmp_path: Path) -> None:
    """Listing it, and another rubric, begin anew; its limits may change at any time."""
    traffic = {"share": 0.5}
    alone = defined(tmp_path, traffic=traffic, promote_on=["explicit"]).experiment
    both = {"traffic": traffic, "promote_on": ["explicit", "judge"]}
    judges = ({}, {"rubric": "judge.j2"}, {"share": 0.2, "spend_per_day": 9.0})
    listed = [defined(tmp_path, **both, judge=judge).experiment for judge in judges]

    assert len({each.fingerprint() for each in (alone, *listed)}) == 3
    assert listed[0].fingerprint() == listed[2].fingerprint()
    rules = json.loads(listed[0].outcome_rules)
    assert rules.pop("judge")["model"] == "openai/judge"
    assert rules.pop("promote_on") == ["explicit", "judge"]
    assert rules.items() <= json.loads(alone.outcome_rules).items()
    assert judged_by(alone) is None
    claim = claim_of(listed[0], "warm")
    assert claim.startswith("in users' feedback and the verdicts of the judge openai/judge with the rubric")


def test_rubrics_are_not_shown_where_prompts_are_not(tmp_path: Path) -> None:
    """What is said of a file holds the hash of the rubric and never its text."""
    defined(tmp_path)
    fields = judged_fields(judge={"rubric": "judge.j2"})
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(fields))
    config = load_config(file, {})
    said = json.dumps(describe(config, definitions_of(config)).to_json())
    assert "Which is warmer?" not in said
    assert "rubric_sha256" in said


def test_the_estimate_says_what_the_limit_pays_for(tmp_path: Path) -> None:
    """One answer of the challenger and two verdicts for each comparison, worked out by hand."""
    spec = defined(tmp_path, traffic={"share": 0.5, "collect": "shadow"}).spec
    prices = {name: TokenPrices(0.001, 0.002) for name in ("plain", "warm", "judge")}
    found = judge_estimate(spec, prices, requests_per_day=100, prompt_tokens=500, answer_tokens=300)
    assert found is not None
    # 500 * .001 + 300 * .002 = 1.1 USD for the answer; 2 * (1300 * .001 + 100 * .002) = 3 USD for the judge
    assert found.usd_each == pytest.approx(4.1)
    assert found.drawn_per_day == 50
    assert found.compared_per_day == pytest.approx(5 / 4.1)


def test_the_estimate_of_a_judge_beside_users_says_how_it_counts(tmp_path: Path) -> None:
    """It gets its share of the requests that take part in no comparison."""
    prices = {name: TokenPrices(0.0, 0.0) for name in ("plain", "warm", "judge")}
    shares = {"traffic": {"share": 0.2}, "judge": {"share": 0.5}}
    for promote_on, role in ((["explicit"], "informs"), (["explicit", "judge"], "evidence")):
        spec = defined(tmp_path, **shares, promote_on=promote_on).spec
        found = judge_estimate(spec, prices, requests_per_day=100, prompt_tokens=500, answer_tokens=300)
        assert found is not None
        assert (found.to_json()["role"], found.compared_per_day) == (role, pytest.approx(40))
