"""A candidate that always fails ends its experiment without any feedback, over HTTP and whatever collects."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.config.promotion import PromotionSpec
from gateway.experiments.catalogue import CatalogueHolder, catalogue_of
from gateway.instrumentation.records import NO_KEY, AttemptEnded, PolicyFailed
from gateway.learning.trials import TrialCounter
from gateway.proof.recorded import read_log
from gateway.proof.verification import UndecidedError, verify
from policy_store.errors import StoreUnavailableError
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import Behaviour, FakeUpstream, answer, cut, status
from tests.gateway.whole import Whole, quick_settings, whole_gateway

QUICK: dict[str, Any] = {"eject_after_failures": 1_000, "request_timeout_seconds": 0.2}


async def ask(gateway: Whole, collect: str, **fields: Any) -> None:
    """A request that takes part; its user gets an answer."""
    reply = await (gateway.ask if collect == "matched" else gateway.compare)(**fields)
    assert reply.status == 200, reply.body


async def ask_until_over(gateway: Whole, collect: str, **fields: Any) -> None:
    """Ask until the experiment has ended."""
    for _ in range(400):
        await ask(gateway, collect, **fields)
        if (await gateway.experiment())["state"] != "running":
            return
    raise AssertionError("the experiment goes on")


@pytest.mark.parametrize(
    ("failure", "collect", "fields"),
    [
        (status(500), "matched", {}),
        (status(400), "matched", {}),
        (cut(after=2), "matched", {"stream": True}),
        (status(500), "side_by_side", {}),
    ],
    ids=["failing", "refusing", "breaking off", "side by side"],
)
async def test_a_candidate_that_always_fails_ends_its_experiment(
    upstream: FakeUpstream, embedded_url: str, failure: Behaviour, collect: str, fields: dict[str, Any]
) -> None:
    """No hold and no feedback: users get the incumbent, and the end is logged and can be verified."""
    upstream.on("warm", failure)
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"collect": collect},
        promotion={"gives_up_after": "1s", "min_comparisons": 0},
    )
    async with whole_gateway(config, quick_settings(embedded_url, **QUICK)) as gateway:
        await gateway.planned()
        await ask_until_over(gateway, collect, **fields)
        found = await gateway.experiment()
        log = await gateway.call("GET", f"/v1/experiments/{NAME}/log")

        async def is_left_alone() -> bool:
            """Whether twenty users in a row get the incumbent; requests follow the store within a moment."""
            before = upstream.calls_of("warm")
            for _ in range(20):
                await ask(gateway, "matched")
            return upstream.calls_of("warm") == before

        await gateway.eventually(is_left_alone, "the candidate left alone")

    assert (found["state"], found["incumbent"], found["certificate"]) == ("unfit", "plain", None)
    event = next(each for each in found["events"] if each["kind"] == "gave_up")
    assert event["detail"]["policy"] == "warm"
    assert 13 <= event["detail"]["failed"] <= event["detail"]["asked"] <= upstream.calls_of("warm")
    with pytest.raises(UndecidedError, match="unfit"):
        verify(read_log(log.body.splitlines()))
    forged = log.body.replace(b'"failed":%d' % event["detail"]["failed"], b'"failed":9')
    assert any("below the line" in each for each in verify(read_log(forged.splitlines())).differences)


async def test_a_candidate_that_fails_now_and_then_goes_on(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """One failure in three is counted and ends nothing."""
    upstream.on("warm", *([status(500), answer(), answer()] * 40))
    config = gateway_config(api_base=upstream.api_base, promotion={"gives_up_after": "1s"})
    async with whole_gateway(config, quick_settings(embedded_url, **QUICK)) as gateway:
        await gateway.planned()
        for _ in range(60):
            await gateway.ask()

        async def counted() -> bool:
            trials = (await embedded_store.counts(NAME, 1)).trials
            return trials is not None and trials.failed[1] >= 5

        await gateway.eventually(counted, "failures counted")
        assert (await gateway.experiment())["state"] == "running"


class Counting:
    """A store that is away as long as a test says."""

    def __init__(self) -> None:
        self.is_away = False
        self.added: list[dict[int, tuple[int, int]]] = []

    async def count_trials(self, _name: str, _definition: str, tried: dict[int, tuple[int, int]]) -> None:
        """Take them, or not."""
        if self.is_away:
            raise StoreUnavailableError("away")
        self.added.append(tried)


def ended(ending: Any, policy: str = "warm") -> AttemptEnded:
    """The end of an attempt."""
    return AttemptEnded("r", "m", NAME, policy, "candidate", 0, 0, 1, ending, "", None, NO_KEY, False)


def failed(reason: str) -> PolicyFailed:
    """A failure."""
    return PolicyFailed("r", NAME, "warm", reason)


async def test_failures_count_once_all_earlier_requests_have_ended() -> None:
    """Answers count at once; who was not asked did not fail; a fault of the store makes nothing worse."""
    store, now = Counting(), [100.0]
    catalogue = CatalogueHolder(catalogue_of(gateway_config(), quick_settings()))
    trials = TrialCounter(
        store,  # type: ignore[arg-type]
        catalogue,
        lambda: now[0],
        lag_seconds=60,
        interval_seconds=1,
    )
    for event in (failed("status"), failed("ejected"), ended("answered"), ended("refused"), ended("failed")):
        trials(event)
    await trials.bring()
    assert store.added == [{1: (1, 0)}]

    now[0] += 60
    trials(ended("abandoned"))
    store.is_away = True
    await trials.bring()
    store.is_away = False
    await trials.bring()
    assert store.added[1:] == [{1: (1, 0)}]


def test_it_can_be_turned_off() -> None:
    """With `null` an experiment waits for its candidate for ever."""
    assert PromotionSpec(gives_up_after=None).gives_up_after is None
