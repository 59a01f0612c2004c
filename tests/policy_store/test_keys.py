"""Key names: one slot of a cluster per experiment, whatever its name."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from policy_store.names import Names, PrefixError


@pytest.mark.parametrize("name", ["support", "a b", "{x}", "}", "{", "a}b{c", "ü/λ", "llmpo:other"])
def test_all_keys_of_an_experiment_share_a_slot(name: str) -> None:
    """A script touches several of them at once, which a cluster allows within one slot only."""
    keys = Names().experiment(name)
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
    """One script accounts for all of them, and they share their slot with no other key or experiment."""
    keys = Names().limits(name)

    assert len(set(keys)) == 3
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert not set(keys) & {*Names().limits("other"), Names().experiment(f"limits:{name}").control}


def test_experiments_spread_over_slots() -> None:
    """Many experiments do not all end up on one node."""
    slots = {key_slot(Names().experiment(f"experiment-{index}").control.encode()) for index in range(100)}
    assert len(slots) > 90


def test_a_prefix_begins_every_name_and_moves_none_of_them_to_another_slot() -> None:
    """What shares a slot without it shares one with it; no two environments' names meet."""
    plain, prefixed = Names(), Names("staging:")
    for names, start in ((plain, "llmpo:"), (prefixed, "staging:llmpo:")):
        every = [names.token_key, names.experiments, names.identity, names.answer("d"), *names.trial()]
        every += [*names.api_keys, *names.limits("app"), names.experiment("a").session("u")]
        assert all(name.startswith(start) for name in every)
    assert key_slot(plain.experiment("a").lease.encode()) == key_slot(prefixed.experiment("a").lease.encode())


@pytest.mark.parametrize("prefix", ["a{b", "a}", "a b", "ä", "a\n", "a*", "x" * 65])
def test_a_prefix_that_would_break_names_is_refused(prefix: str) -> None:
    """A brace would end hash tags, a star would widen what a user may touch."""
    with pytest.raises(PrefixError):
        Names(prefix)


def test_keys_of_different_experiments_differ() -> None:
    """No name can be made up that reaches into another experiment's keys."""
    names = ["a", "a}", "a:1", "a%3A1", "a}:1:counts"]
    assert len({Names().experiment(name).prefix for name in names}) == len(names)
    own = {Names().experiment(name).control for name in ["", "token_key"]}
    assert not {Names().token_key, Names().experiments} & own
