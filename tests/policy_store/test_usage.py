"""What answers took, and what policies are, kept by fingerprint where all replicas share it."""

from __future__ import annotations

import asyncio

from policy_store.connect import connect
from policy_store.store import PolicyStore
from policy_store.usage import Usage
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import NAME, started


async def test_replicas_add_up_exactly(store: PolicyStore, store_url: str) -> None:
    """Each replica adds what it measured under the policy's fingerprint."""
    others = [
        PolicyStore(connect(store_url, timeout_seconds=PATIENCE_SECONDS), timeout_seconds=PATIENCE_SECONDS)
        for _ in range(4)
    ]
    try:
        used = {"a": Usage(1, 10, 3), "b": Usage(2, 7, 5)}
        await asyncio.gather(*(each.add_usage(NAME, used) for each in others for _ in range(5)))
    finally:
        for each in others:
            await each.aclose()
    assert await store.usage(NAME) == {"a": Usage(20, 200, 60), "b": Usage(40, 140, 100)}
    assert await store.usage("another") == {}


async def test_usage_and_contents_outlast_a_generation(store: PolicyStore) -> None:
    """Usage and contents belong to the policy, which may come back."""
    await started(store, policies=2)
    await store.add_usage(NAME, {"hash0": Usage(1, 10, 3)})
    await store.keep_contents(NAME, {"hash0": {"system": "Be kind.", "params": {"temperature": 0.7}}})
    await started(store, policies=3)
    await store.keep_contents(NAME, {"hash2": {"system": None}})
    assert await store.usage(NAME) == {"hash0": Usage(1, 10, 3)}
    assert await store.contents(NAME) == {
        "hash0": {"system": "Be kind.", "params": {"temperature": 0.7}},
        "hash2": {"system": None},
    }
    await store.keep_contents(NAME, {})
    assert await store.contents(NAME) == {}
