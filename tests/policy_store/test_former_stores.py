"""Stores written by earlier versions can be used: names and forms of stored data have not changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from policy_store.connect import EmbeddedValkey, connect
from policy_store.layout import LAYOUT, UNSAID_LAYOUT, LayoutKeeper
from policy_store.log_records import Result
from policy_store.states import ExperimentState
from policy_store.store import PolicyStore
from policy_store.vitals import StoreVitals
from tests.policy_store.building import NAME, logged_comparisons, prefer, report, started

STORES = Path(__file__).parents[1] / "data" / "stores"


@pytest.mark.parametrize("revision", sorted(path.name for path in STORES.iterdir()))
async def test_a_store_of_a_former_version_is_gone_on_with(revision: str, tmp_path: Path) -> None:
    """An experiment in an older store keeps its state, evidence and log, and continues from there."""
    shutil.copytree(STORES / revision, tmp_path / "data")
    server = EmbeddedValkey()
    redis = connect(server.start(tmp_path / "data"), timeout_seconds=5)
    store = PolicyStore(redis, timeout_seconds=5)
    try:
        pulse = await StoreVitals(redis, timeout_seconds=5).pulse(may_begin=True)
        assert (pulse.epoch, pulse.layout) == (1, UNSAID_LAYOUT if pulse.written_at else LAYOUT)
        await LayoutKeeper(redis, timeout_seconds=5).bring_up_to_date()
        assert (await store.token_key()).hex().startswith("d5ac8e9f")
        view = await started(store)
        assert (view.generation, view.state, view.plan.version) == (1, ExperimentState.RUNNING, 1)
        before = await store.counts(NAME, 1)
        assert (before.comparisons, before.wins[0][1], before.ties[0][1]) == (13, 9, 4)
        assert before.evidence_nano_nats[1][0] == 18_000

        await prefer(store, "new", Result.WIN)
        await report(store, "new0", 0, 1.0)
        await report(store, "new1", 1, 0.0)

        after = await store.counts(NAME, 1)
        assert (after.comparisons, after.wins[0][1]) == (15, 11)
        numbers = [comparison.number for comparison in await logged_comparisons(store)]
        assert numbers == list(range(1, 16))
    finally:
        await store.aclose()
        server.stop()
