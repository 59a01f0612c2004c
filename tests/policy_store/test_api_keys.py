"""API keys made and revoked at run time: agreed on by everyone, and safe to repeat."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from policy_store.api_keys import ApiKeyStore, KeyRecord
from policy_store.connect import connect
from policy_store.errors import KeyNameTakenError
from tests.pace import PATIENCE_SECONDS

RECORD = KeyRecord("ab" * 32, "app", "client", {"requests_per_minute": 5}, 1_800_000_000.0)


@pytest.fixture
async def keys(store_url: str) -> AsyncIterator[ApiKeyStore]:
    """The keys in an empty store, on each kind of server."""
    redis = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    yield ApiKeyStore(redis, timeout_seconds=PATIENCE_SECONDS)
    await redis.aclose()


async def test_a_key_that_was_made_is_known(keys: ApiKeyStore) -> None:
    """The store returns every attribute of the key."""
    before = await keys.revision()
    await keys.add(RECORD)
    book = await keys.book()
    assert (book.records, dict(book.revoked)) == ((RECORD,), {})
    assert book.revision == await keys.revision() > before


async def test_making_a_key_again_changes_nothing(keys: ApiKeyStore) -> None:
    """A caller that heard nothing may repeat it."""
    await keys.add(RECORD)
    before = await keys.book()
    await keys.add(RECORD)
    assert await keys.book() == before


async def test_a_name_is_one_keys(keys: ApiKeyStore) -> None:
    """If many callers want a name at once, one of them gets it."""
    wanted = [replace(RECORD, hash=f"{number:064x}") for number in range(20)]
    results = await asyncio.gather(*(keys.add(each) for each in wanted), return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, KeyNameTakenError) for result in results) == 19
    assert len((await keys.book()).records) == 1


async def test_a_revocation_stands(keys: ApiKeyStore) -> None:
    """The moment of the first one is kept, and the record too."""
    await keys.add(RECORD)
    first = await keys.revoke(RECORD.hash, RECORD.name)
    revision = await keys.revision()
    assert await keys.revoke(RECORD.hash, RECORD.name) == first
    await keys.add(RECORD)
    book = await keys.book()
    assert (book.records, dict(book.revoked), book.revision) == ((RECORD,), {RECORD.hash: first}, revision)


async def test_a_revoked_keys_name_is_free(keys: ApiKeyStore) -> None:
    """A key can be replaced under its name; revoking the old one again leaves the name to the new."""
    await keys.add(RECORD)
    await keys.revoke(RECORD.hash, RECORD.name)
    await keys.add(replace(RECORD, hash="cd" * 32))
    await keys.revoke(RECORD.hash, RECORD.name)
    with pytest.raises(KeyNameTakenError):
        await keys.add(replace(RECORD, hash="ef" * 32))


async def test_a_key_of_elsewhere_can_be_revoked(keys: ApiKeyStore) -> None:
    """The configuration's keys are not made here, but end here."""
    await keys.revoke("ff" * 32, "file-key")
    assert list((await keys.book()).revoked) == ["ff" * 32]
