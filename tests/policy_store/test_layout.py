"""The store says the layout of its data; an older one is brought up to date, a newer one refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from policy_store.clients import StoreClient
from policy_store.connect import EmbeddedValkey, connect
from policy_store.errors import NewerVersionError
from policy_store.layout import LAYOUT, UNSAID_LAYOUT, LayoutKeeper, check_layout
from policy_store.moves import Move
from policy_store.report_records import Receipt
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import NAME, planned, report

UNMARKED = Path(__file__).parents[1] / "data" / "stores" / "5310543"


@pytest.fixture
async def redis(store_url: str) -> AsyncIterator[StoreClient]:
    """A client of the store."""
    client = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    yield client
    await client.aclose()


async def test_a_new_store_says_its_layout(redis: StoreClient) -> None:
    """So the next version knows what it finds."""
    vitals = StoreVitals(redis, timeout_seconds=PATIENCE_SECONDS)
    assert (await vitals.pulse(may_begin=True)).layout == LAYOUT
    assert (await vitals.read())[0].layout == LAYOUT


async def test_what_earlier_versions_left_out_is_written_down(store: PolicyStore, redis: StoreClient) -> None:
    """Who answered before a promotion, and since when outcomes wait; repeating it changes nothing."""
    fence = await planned(store, incumbent=2)
    await report(store, "waits", 0, 1.0)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={"incumbent": 2})
    keys = redis.names.experiment(NAME)
    queue = keys.generation(1).queue(0, 1, 0)
    await redis.hdel(keys.control, "1:previous")
    old = json.loads(await redis.lindex(queue, 0))
    del old["at"]
    await redis.lset(queue, 0, json.dumps(old))
    keeper = LayoutKeeper(redis, timeout_seconds=PATIENCE_SECONDS)

    assert await keeper.bring_up_to_date() == UNSAID_LAYOUT

    assert await redis.hget(keys.control, "1:previous") == "2"
    entry = json.loads(await redis.lindex(queue, 0))
    assert entry["unit"] == "waits"
    assert int(entry["at"]) > 1e15
    assert 0 < await redis.pttl(queue) <= 3_600_000
    await redis.hset(keys.control, "1:previous", "0")
    assert await keeper.bring_up_to_date() == LAYOUT
    assert await redis.hget(keys.control, "1:previous") == "0"


async def test_a_newer_layout_is_refused_and_left_alone(store: PolicyStore, redis: StoreClient) -> None:
    """The error says both numbers and what to do."""
    await planned(store)
    await redis.hset(redis.names.identity, "layout", LAYOUT + 1)
    keeper = LayoutKeeper(redis, timeout_seconds=PATIENCE_SECONDS)

    with pytest.raises(NewerVersionError, match=rf"layout is {LAYOUT + 1}.*knows {LAYOUT}.*newer version"):
        await keeper.bring_up_to_date()

    assert (await StoreVitals(redis).pulse(may_begin=False)).layout == LAYOUT + 1
    with pytest.raises(NewerVersionError):
        check_layout(LAYOUT + 1)


async def test_a_store_that_does_not_say_is_brought_up_to_date(tmp_path: Path) -> None:
    """Data of the last version without a layout: state, watch and what waits stay, and are gone on with."""
    shutil.copytree(UNMARKED, tmp_path / "data")
    server = EmbeddedValkey()
    redis = connect(server.start(tmp_path / "data"), timeout_seconds=5)
    store = PolicyStore(redis, timeout_seconds=5)
    try:
        assert (await StoreVitals(redis, timeout_seconds=5).read())[0].layout == UNSAID_LAYOUT
        before = await store.view("promoted")
        assert await LayoutKeeper(redis, timeout_seconds=5).bring_up_to_date() == UNSAID_LAYOUT
        assert (await StoreVitals(redis, timeout_seconds=5).read())[0].layout == LAYOUT
        assert await store.view("promoted") == before
        assert (before.state, before.watch.run) == (ExperimentState.WATCHING, 2)
        assert (await store.counts("promoted", 1)).wins[1][0] == 6
        assert await redis.llen(redis.names.experiment("promoted").generation(2).queue(0, 1, 1)) == 1
        again = await report(store, "waits", 1, 1.0, name="promoted", generation=2, fingerprint="1.0")
        assert again.receipt is Receipt.DUPLICATE
    finally:
        await store.aclose()
        server.stop()
