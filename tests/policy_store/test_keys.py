"""Key names: one slot of a cluster per experiment, whatever its name."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from policy_store.names import EXPERIMENTS, TOKEN_KEY, ExperimentKeys, limit_keys


@pytest.mark.parametrize("name", ["support", "a b", "{x}", "}", "{", "a}b{c", "ü/λ", "llmpo:other"])
def test_all_keys_of_an_experiment_share_a_slot(name: str) -> None:
    """A script touches several of them at once, which a cluster allows within one slot only."""
    keys = ExperimentKeys(name)
    generation = keys.generation(3)
    all_keys = [
        *(keys.control, keys.lease, keys.events),
        *(generation.counts, generation.forecasts, generation.log),
        *(generation.queue(0, 1, 0), generation.unit("}u{"), generation.sticky("{s}")),
    ]

    assert len(set(all_keys)) == len(all_keys)
    assert len({key_slot(key.encode()) for key in all_keys}) == 1


@pytest.mark.parametrize("name", ["app", "a}b{c", "{x}", "}"])
def test_all_limits_of_an_api_key_share_a_slot(name: str) -> None:
    """One script accounts for all of them, and none of them is another key's or an experiment's."""
    keys = limit_keys(name)

    assert len(set(keys)) == 3
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert not set(keys) & {*limit_keys("other"), ExperimentKeys(f"limits:{name}").control}


def test_experiments_spread_over_slots() -> None:
    """Many experiments do not all end up on one node."""
    slots = {key_slot(ExperimentKeys(f"experiment-{index}").control.encode()) for index in range(100)}
    assert len(slots) > 90


def test_keys_of_different_experiments_differ() -> None:
    """No name can be made up that reaches into another experiment's keys."""
    names = ["a", "a}", "a:1", "a%3A1", "a}:1:counts"]
    assert len({ExperimentKeys(name).prefix for name in names}) == len(names)
    assert not {TOKEN_KEY, EXPERIMENTS} & {ExperimentKeys(name).control for name in ["", "token_key"]}
