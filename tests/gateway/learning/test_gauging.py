"""What guardrails measure of answers, how numbers become pairs, and what reaches the store."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from gateway.experiments.guardrails import Guardrail
from gateway.experiments.snapshot import LiveExperiment
from gateway.experiments.store_history import Loss, StoreHistory
from gateway.learning.gauging import AnswerGauge, Gauges
from gateway.learning.pairing import GuardrailPairing, UsualTimes
from gateway.learning.refreshing import live_experiment
from gateway.llm_po.guardrails import GRAIN
from gateway.upstream.prices import TokenPrices
from policy_store.errors import StoreUnavailableError
from policy_store.guard_records import PairCounts
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, definition

PLAIN, WARM = 0, 1
PRICES = {"plain": TokenPrices(0.001, 0.01), "warm": TokenPrices(0.001, 0.02)}
EACH: dict[str, dict[str, Any]] = {
    "error_rate": {"worse_by": 0.01, "then": "eject"},
    "refusal_rate": {"worse_by": 0.01, "then": "eject"},
    "latency": {"worse_by": "20%", "then": "eject", "up_to": 10},
    "cost": {"worse_by": "20%", "then": "eject", "up_to": 2},
    "output_tokens": {"worse_by": 10, "then": "eject", "up_to": 100},
}


async def live(store: PolicyStore, name: str = NAME, **guardrails: dict[str, Any]) -> LiveExperiment:
    """An experiment with these guardrails, as routers see it."""
    found = definition(name=name, guardrails=guardrails)
    view = await store.register(found.experiment, found.elimination_nano_nats)
    return live_experiment(found, view)


def gauges_of(store: PolicyStore, history: StoreHistory | None = None) -> Gauges:
    """The gauges of a process."""
    return Gauges(
        store,
        history or StoreHistory(),
        lambda: PRICES,
        sender="replica",
        rng=random.Random(1),
        interval_seconds=1.0,
    )


def gauge(gauges: Gauges, experiment: LiveExperiment, policy: int) -> AnswerGauge:
    """What measures the answer of a policy that was drawn."""
    found = gauges.gauge(experiment, (policy,))
    assert found is not None
    return found


async def counted(store: PolicyStore) -> dict[str, PairCounts]:
    """All pairs in the store, by guardrail's id."""
    return {about.guardrail: counts.pairs for about, counts in (await store.counted_pairs(NAME, 1)).items()}


async def test_each_metric_measures_what_it_is_called_after(embedded_store: PolicyStore) -> None:
    """Shares of the range in steps: an answer of warm and one of plain make a pair of each metric."""
    experiment, gauges = await live(embedded_store, **EACH), gauges_of(embedded_store)
    gauge(gauges, experiment, PLAIN).answered("plain", "plain", 1.0, (100, 20), refused=False)
    gauge(gauges, experiment, WARM).answered("warm", "warm", 4.0, (100, 70), refused=True)
    await gauges.add()

    found = await counted(embedded_store)
    by_name = {each.name: found[each.id] for each in experiment.guardrails}
    assert by_name == {
        "error_rate": {(0, 0): 1},
        "refusal_rate": {(GRAIN, 0): 1},
        "latency": {(8, 2): 1},
        "cost": {(15, 3): 1},
        "output_tokens": {(14, 4): 1},
    }


async def test_failures_and_callers_that_left_are_measured(embedded_store: PolicyStore) -> None:
    """A failure is an error and has no duration; a caller that left waited at least as long."""
    guardrails = {name: EACH[name] for name in ("error_rate", "latency")}
    experiment, gauges = await live(embedded_store, **guardrails), gauges_of(embedded_store)
    for policy, name in ((PLAIN, "plain"), (WARM, "warm")):
        gauge(gauges, experiment, policy).answered(name, name, 1.0, None, refused=False)
    gauge(gauges, experiment, WARM).failed("warm")
    gauge(gauges, experiment, PLAIN).failed("plain")
    gauge(gauges, experiment, WARM).left("warm", 30.0)
    gauge(gauges, experiment, PLAIN).answered("plain", "plain", 1.0, None, refused=False)
    await gauges.add()

    found = await counted(embedded_store)
    error, latency = (found[each.id] for each in experiment.guardrails)
    assert error == {(0, 0): 1, (GRAIN, GRAIN): 1}
    assert latency == {(2, 2): 1, (GRAIN, 2): 1}


async def test_policies_that_only_stood_in_are_not_measured(embedded_store: PolicyStore) -> None:
    """An incumbent that answers for a failing candidate sees other requests than chance gives it."""
    experiment, gauges = await live(embedded_store, error_rate=EACH["error_rate"]), gauges_of(embedded_store)
    measures = gauge(gauges, experiment, WARM)
    measures.failed("warm")
    measures.answered("plain", "plain", 1.0, None, refused=False)
    await gauges.add()
    assert await counted(embedded_store) == {}
    assert gauges.gauge(experiment, ()) is None


async def test_counts_that_the_store_did_not_take_are_sent_again(embedded_store: PolicyStore) -> None:
    """Under the same number, so they count once even if only the store's answer was lost."""
    experiment, gauges = await live(embedded_store, error_rate=EACH["error_rate"]), gauges_of(embedded_store)
    add_pairs, sent = embedded_store.add_pairs, []

    async def lose_answer(*about: Any) -> None:
        sent.append(about)
        await add_pairs(*about)
        if len(sent) == 1:
            raise StoreUnavailableError("The answer was lost.")

    embedded_store.add_pairs = lose_answer  # type: ignore[method-assign]
    for _ in range(3):
        gauge(gauges, experiment, PLAIN).failed("plain")
        gauge(gauges, experiment, WARM).failed("warm")
    with pytest.raises(StoreUnavailableError):
        await gauges.add()
    gauge(gauges, experiment, PLAIN).failed("plain")
    gauge(gauges, experiment, WARM).failed("warm")
    await gauges.add()
    await gauges.add()

    assert list((await counted(embedded_store)).values()) == [{(GRAIN, GRAIN): 4}]
    await gauges.add()
    assert len(sent) == 3


async def test_a_part_of_the_store_that_is_away_holds_up_no_other(embedded_store: PolicyStore) -> None:
    """On a cluster one experiment's server may be away; the others' counts do not wait for it."""
    away = await live(embedded_store, "away", error_rate=EACH["error_rate"])
    there, gauges = await live(embedded_store, error_rate=EACH["error_rate"]), gauges_of(embedded_store)
    add_pairs = embedded_store.add_pairs

    async def add_to_one(name: str, *about: Any) -> None:
        if name == "away":
            raise StoreUnavailableError("Its server is away.")
        await add_pairs(name, *about)

    embedded_store.add_pairs = add_to_one  # type: ignore[method-assign,assignment]
    for experiment in (away, there):
        gauge(gauges, experiment, PLAIN).failed("plain")
        gauge(gauges, experiment, WARM).failed("warm")
    with pytest.raises(StoreUnavailableError):
        await gauges.add()
    assert list((await counted(embedded_store)).values()) == [{(GRAIN, GRAIN): 1}]
    embedded_store.add_pairs = add_pairs  # type: ignore[method-assign]
    await gauges.add()
    assert len(await embedded_store.counted_pairs("away", 1)) == len(await counted(embedded_store)) == 1


async def test_nothing_is_added_to_a_store_that_lost_something(embedded_store: PolicyStore) -> None:
    """The generation's number may mean another definition there."""
    history = StoreHistory()
    experiment = await live(embedded_store, error_rate=EACH["error_rate"])
    gauges = gauges_of(embedded_store, history)
    gauge(gauges, experiment, PLAIN).failed("plain")
    gauge(gauges, experiment, WARM).failed("warm")
    history.hold(Loss.KEYS_GONE, epoch=history.epoch, experiment=NAME)
    await gauges.add()
    assert await counted(embedded_store) == {}


async def test_a_policy_admitted_again_has_counts_of_its_own(embedded_store: PolicyStore) -> None:
    """Pairs from before are no evidence against it."""
    experiment, gauges = await live(embedded_store, error_rate=EACH["error_rate"]), gauges_of(embedded_store)
    guards = experiment.guards.without(experiment.policies[WARM].fingerprint)
    for each in (experiment, replace(experiment, guards=guards)):
        gauge(gauges, each, PLAIN).failed("plain")
        gauge(gauges, each, WARM).failed("warm")
    await gauges.add()
    found = await embedded_store.counted_pairs(NAME, 1)
    assert sorted((about.count, counts.pairs) for about, counts in found.items()) == [
        (0, {(GRAIN, GRAIN): 1}),
        (1, {(GRAIN, GRAIN): 1}),
    ]


def guardrail(**spec: Any) -> Guardrail:
    """One guardrail."""
    return definition(guardrails=spec).guardrails[0]


def test_the_newest_number_that_waits_is_paired_first() -> None:
    """So both numbers are from about the same time, and each is used once for each candidate."""
    pairing = GuardrailPairing(guardrail(error_rate=EACH["error_rate"]), random.Random(1))
    assert list(pairing.of_reference([WARM, 2], 1.0)) == []
    assert list(pairing.of_reference([WARM, 2], 0.0)) == []
    assert [pairing.of_policy(WARM, 1.0) for _ in range(3)] == [
        (GRAIN, 0),
        (GRAIN, GRAIN),
        None,
    ]
    assert pairing.of_policy(2, 0.0) == (0, 0)
    assert list(pairing.of_reference([WARM, 2], 1.0)) == [(WARM, (GRAIN, GRAIN))]


def test_slowness_is_measured_by_what_was_usual_before() -> None:
    """Slower than the incumbent's p90 times the tolerance, known only after some answers of the incumbent."""
    slow = guardrail(latency_p90={"worse_by": "50%", "then": "pause"})
    pairing = GuardrailPairing(slow, random.Random(1))
    for hundredth in range(1, 51):
        assert list(pairing.of_reference([WARM], hundredth / 100)) == []
    assert pairing.of_policy(WARM, 0.7) is None
    assert list(pairing.of_reference([WARM], 0.48)) == [(WARM, (GRAIN, GRAIN))]  # .46 is usual, .69 the bound
    assert pairing.of_policy(WARM, 0.6) is None
    assert list(pairing.of_reference([WARM], 0.2)) == [(WARM, (0, 0))]


def test_usual_times_follow_the_latest_answers() -> None:
    """Old answers are forgotten, and the quantile is that of the remembered ones."""
    times = UsualTimes(0.5)
    for _ in range(49):
        times.add(9.0)
    assert times.usual is None
    for _ in range(400):
        times.add(1.0)
    assert times.usual == 1.0


def test_numbers_beyond_the_range_count_as_its_end() -> None:
    """And numbers of any range become shares of it."""
    latency = guardrail(latency={"worse_by": 1, "then": "pause", "up_to": 4})
    own = guardrail(csat={"worse_by": 0.5, "then": "ask", "range": [1, 5], "better": "higher"})
    assert [latency.scaled(seconds) for seconds in (0, 1, 9)] == [0, 0.25, 1]
    assert [own.scaled(number) for number in (1, 2, 5)] == [0, 0.25, 1]
    assert own.unscaled(0.25) == 2
    assert own.contrast.nats(Counter({(0, GRAIN): 9})) > 0 > own.contrast.nats(Counter({(GRAIN, 0): 9}))
