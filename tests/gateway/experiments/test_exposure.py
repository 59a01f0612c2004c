"""Exposure caps as an operator declares them: what is refused, and what a router may still compare."""

from __future__ import annotations

import random
import re
from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import linprog

from gateway.config.experiments import ExperimentSpec
from gateway.config.gateway_file import GatewayConfig
from gateway.errors import ConfigError
from gateway.experiments.declared_caps import exposure_caps, exposure_issues
from gateway.experiments.definitions import define
from gateway.experiments.exposure import ExposureCaps
from gateway.experiments.policies import compile_policies
from policy_store.plan_records import PlannedPair
from tests.gateway.building import config_fields, definition

NAMES = ("a", "b", "c", "d")


def _spec(
    max_shares: dict[str, float], min_share: float, share: float, collect: str = "matched"
) -> ExperimentSpec:
    policies = {name: {"model": "m", "max_share": max_shares.get(name)} for name in NAMES}
    traffic = {"share": share, "min_share": min_share, "collect": collect}
    return ExperimentSpec.model_validate({"incumbent": "a", "policies": policies, "traffic": traffic})


def _random_spec(rng: random.Random) -> ExperimentSpec:
    capped = {name: rng.uniform(0.01, 0.4) for name in NAMES[1:] if rng.random() < 0.8}
    collect = rng.choice(("matched", "side_by_side"))
    return _spec(capped, rng.choice((0.0, rng.random())), rng.uniform(0.05, 1), collect)


def _can_be_kept(caps: ExposureCaps, incumbent: int) -> bool:
    """Whether some distribution over all pairs keeps the caps, asked of a linear program."""
    pairs = list(combinations(range(len(NAMES)), 2))
    met = np.array([[policy in pair for pair in pairs] for policy in range(len(NAMES))], dtype=float)
    answered = met * caps.share * caps.answers_per_unit / 2
    most = [caps.max_shares.get(name, 1.0) for name in NAMES]
    others = [policy for policy in range(len(NAMES)) if policy != incumbent]
    found = linprog(
        np.zeros(len(pairs)),
        A_ub=np.vstack([answered[others], -answered[[incumbent]]]),
        b_ub=[*(most[policy] for policy in others), 1 - caps.share - caps.min_share],
        A_eq=np.ones((1, len(pairs))),
        b_eq=[1.0],
    )
    return bool(found.status == 0)


def _plan(rng: random.Random) -> list[PlannedPair]:
    weights = [rng.random() ** 4 for _ in combinations(NAMES, 2)]
    pairs = combinations(range(len(NAMES)), 2)
    return [PlannedPair(*pair, weight / sum(weights)) for pair, weight in zip(pairs, weights, strict=True)]


def test_caps_are_refused_exactly_where_no_plan_keeps_them() -> None:
    """The two conditions and a linear program over all pairs agree, on random caps."""
    rng = random.Random(1)
    specs = [_random_spec(rng) for _ in range(300)]

    refused = [bool(list(exposure_issues("x", spec))) for spec in specs]
    feasible = [_can_be_kept(exposure_caps(spec), incumbent=0) for spec in specs]

    assert refused == [not each for each in feasible]
    assert 50 < sum(feasible) < 250


def test_caps_that_can_be_kept_at_first_can_be_kept_by_every_later_incumbent() -> None:
    """Another incumbent's own cap falls away, and the former one has none."""
    rng = random.Random(2)
    accepted = [
        spec for spec in (_random_spec(rng) for _ in range(200)) if not list(exposure_issues("x", spec))
    ]

    for spec in accepted:
        assert all(_can_be_kept(exposure_caps(spec), incumbent) for incumbent in range(len(NAMES)))


@pytest.mark.parametrize("collect", ["matched", "side_by_side"])
def test_remedy_is_the_largest_share_that_works(collect: str) -> None:
    """What the refusal advises is accepted, and a little more is refused."""
    capped = {"b": 0.01, "c": 0.05, "d": 0.03}
    (issue,) = exposure_issues("x", _spec(capped, 0.0, 0.9, collect))
    advised = float(re.findall(r"Lower `share` to ([0-9.]+)", issue.remedy)[0])

    assert issue.path == "experiments.x.traffic.share"
    assert not list(exposure_issues("x", _spec(capped, 0.0, advised, collect)))
    assert list(exposure_issues("x", _spec(capped, 0.0, advised + 0.01, collect)))


def test_incumbent_cannot_keep_more_than_what_is_not_compared_leaves() -> None:
    """If every unit is compared and one policy answers, the incumbent answers at most half of the units."""
    (issue,) = exposure_issues("x", _spec({}, 0.7, 1.0))

    assert issue.path == "experiments.x.traffic.min_share"
    assert "at most 0.5" in issue.problem
    assert "0.6 or less" in issue.remedy
    assert not list(exposure_issues("x", _spec({}, 0.7, 1.0, "side_by_side")))


def test_incumbent_has_no_cap() -> None:
    """The incumbent answers what no other policy answers, so nothing could keep a cap on it."""
    (issue,) = exposure_issues("x", _spec({"a": 0.5}, 0.0, 0.3))

    assert issue.path == "experiments.x.policies.a.max_share"


def test_gateway_does_not_start_with_caps_nothing_can_keep() -> None:
    """The experiment is refused where it is made ready to serve."""
    with pytest.raises(ConfigError, match=r"experiments\.support\.traffic\.min_share"):
        definition(traffic={"share": 1.0, "min_share": 0.9})


@pytest.mark.parametrize("seed", range(40))
def test_router_compares_as_much_as_the_caps_allow(seed: int) -> None:
    """Every cap is kept for any plan, and one of them binds if not everything is compared."""
    rng = random.Random(seed)
    caps, plan, incumbent = exposure_caps(_random_spec(rng)), _plan(rng), rng.randrange(len(NAMES))

    compared = caps.share * caps.compared(plan, NAMES, incumbent)

    answered = np.zeros(len(NAMES))
    for pair in plan:
        answered[[pair.first, pair.second]] += compared * pair.probability * caps.answers_per_unit / 2
    answered[incumbent] += 1 - compared
    room = [caps.max_shares.get(name, 1.0) - answered[index] for index, name in enumerate(NAMES)]
    room[incumbent] = answered[incumbent] - caps.min_share
    assert min(room) >= -1e-9
    if compared < caps.share - 1e-9:
        assert min(room) == pytest.approx(0, abs=1e-9)


def test_experiment_without_caps_compares_everything_that_takes_part() -> None:
    """Without caps no plan needs a projection."""
    caps = exposure_caps(_spec({}, 0.0, 0.3))

    assert not caps.are_set
    assert caps.compared(_plan(random.Random(1)), NAMES, 0) == 1.0


def test_changed_cap_goes_on_with_the_same_evidence() -> None:
    """Like the share of traffic, a cap says who is compared and not what a comparison means."""
    bound = definition(traffic={"share": 1.0, "min_share": 0.2})
    fields = config_fields()
    fields["experiments"]["support"]["policies"]["warm"]["max_share"] = 0.6
    config = GatewayConfig.model_validate(fields)
    spec = config.experiments["support"]
    capped = define("support", spec, compile_policies(config, spec))

    assert bound.is_same_as(definition().experiment)
    assert capped.is_same_as(definition().experiment)


def _grid(max_share: dict[str, float], incumbent: str = "small-0") -> ExperimentSpec:
    grid = {"model": ["small", "big"], "temperature": [0, 1]}
    return ExperimentSpec.model_validate({"incumbent": incumbent, "grid": grid, "max_share": max_share})


def test_grid_declares_caps_by_policy_or_by_level() -> None:
    """A level's cap is for each policy that has it, the incumbent apart; the smaller of two counts."""
    caps = exposure_caps(_grid({"big": 0.05, "1": 0.2, "big-1": 0.3, "0": 0.4}))

    assert caps.max_shares == {"small-1": 0.2, "big-0": 0.05, "big-1": 0.05}


def test_cap_of_what_the_grid_does_not_have_is_refused() -> None:
    """A cap of an unknown level is refused, and so is a grid's cap beside policies that declare their own."""
    with pytest.raises(ValueError, match=r"names 'bigg'.*Did you mean 'big'"):
        _grid({"bigg": 0.05})
    with pytest.raises(ValueError, match="policies of a `grid`"):
        ExperimentSpec.model_validate(
            {
                "incumbent": "a",
                "policies": {"a": {"model": "m"}, "b": {"model": "m"}},
                "max_share": {"b": 0.1},
            }
        )
    with pytest.raises(ValueError, match="less than or equal to 1"):
        _grid({"big": 2})
