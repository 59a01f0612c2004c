"""A backup is complete, of one moment, and comes into force as a whole on any kind of server."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policy_store.backed_up import BackedUpExperiment
from policy_store.backup_file import About, BackupFile, BackupWriter
from policy_store.backup_records import Moment
from policy_store.backups import BackupReader
from policy_store.clients import StoreClient
from policy_store.connect import connect
from policy_store.errors import (
    BackupFileError,
    RestoreError,
    StaleFenceError,
    StoreError,
    UnknownExperimentError,
)
from policy_store.events import Restored
from policy_store.layout import LAYOUT
from policy_store.log_records import Result
from policy_store.moves import Move
from policy_store.report_records import Receipt
from policy_store.restoring import MarkWriter, Restore
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.pace import PATIENCE_SECONDS
from tests.policy_store.building import (
    NAME,
    TERMS,
    forecasts,
    logged_comparisons,
    plan,
    planned,
    prefer,
    replayed,
    report,
    started,
)

DETAIL = Restored(actor="ops", reason="try", made_at=1.0, comparisons=0, generation=1)
ELSEWHERE = "elsewhere:"


async def backed_up(redis: StoreClient, path: Path) -> BackupFile:
    """Everything in a file."""
    reader = BackupReader(redis, timeout_seconds=PATIENCE_SECONDS)
    with BackupWriter(path, About(LAYOUT, "test", 1.0, "id", 1, is_whole=True)) as writer:
        for name in await reader.names():
            async for each in reader.deciding(name):
                writer.add(each)
        async for part in reader.marks(await reader.names(), is_whole=True):
            writer.add(part)
    return BackupFile(path)


async def restored(redis: StoreClient, file: BackupFile, **living: Any) -> None:
    """All of a file put in force."""
    marks = MarkWriter(redis, timeout_seconds=PATIENCE_SECONDS)
    for part in file.parts():
        if not part.decides:
            await marks.put(part)
    await marks.flush()
    for moment in file.moments:
        restore = Restore(redis, timeout_seconds=PATIENCE_SECONDS)
        for part in file.parts():
            if part.decides and part.of == moment.name:
                await restore.stage(part)
        found = replace(await restore.living(moment.name), **living)
        await restore.put_in_force(moment, found, DETAIL)


@pytest.fixture
async def redis(store_url: str) -> AsyncIterator[StoreClient]:
    """A client of the store."""
    client = connect(store_url, timeout_seconds=PATIENCE_SECONDS)
    yield client
    await client.aclose()


@pytest.fixture
async def other(store_url: str) -> AsyncIterator[StoreClient]:
    """A client of another environment on the same servers, which is empty."""
    client = connect(store_url, prefix=ELSEWHERE, timeout_seconds=PATIENCE_SECONDS)
    yield client
    await client.aclose()


async def content(redis: StoreClient) -> dict[str, Any]:
    """Everything in an environment, by key without the prefix."""
    found: dict[str, Any] = {}
    async for key in redis.scan_iter(match=f"{redis.names.root}*", count=1000):
        kind = await redis.type(key)
        match kind:
            case "string":
                held: Any = await redis.get(key)
            case "hash":
                held = await redis.hgetall(key)
            case "list":
                held = await redis.lrange(key, 0, -1)
            case "zset":
                held = await redis.zrange(key, 0, -1, withscores=True)
            case "set":
                held = await redis.smembers(key)
            case _:
                held = await redis.xrange(key)
        found[key.removeprefix(redis.names.root)] = held
    return found


async def busy(store: PolicyStore) -> None:
    """An experiment with everything that one can have: counts, a watch, what waits, what is held, votes."""
    await store.token_key()
    fence = await planned(store)
    for index in range(60):
        await prefer(store, f"u{index}", list(Result)[index % 3], pair=[(0, 1), (0, 2), (1, 2)][index % 3])
    for index in range(9):
        vote = {"voter": f"v{index % 4}", "voter_cap": 9, "key": "k"}
        await report(store, f"waits{index}", 0, float(index), pair=(1, 2), **vote)
    await report(store, "matched", 1, 8.5, pair=(1, 2), voter="v9")
    await report(store, "hint", 1, 1.0, informs=Role.JUDGE)
    await report(store, "held", 0, 1.0, due_at=time.time() + 3000)
    await store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={"incumbent": 0})
    await store.begin_watch(NAME, 1, fence, TERMS, 2_000_000_000)
    await store.publish_plan(NAME, 2, plan(comparisons=0), forecasts(), fence)
    await store.keep_contents(NAME, {"hash0": {"system": "Ä \u2028 'quoted' \"text\""}})


async def test_everything_is_in_force_elsewhere(
    store: PolicyStore, redis: StoreClient, other: StoreClient, tmp_path: Path
) -> None:
    """Under another prefix, and on a cluster in other slots, the store holds what it held."""
    await busy(store)
    keys = redis.names.experiment(NAME)
    await redis.hset(keys.judging, "spent", 3)
    await redis.hset(keys.generation(1).guards, "pairs", 3)
    before = await content(redis)

    await restored(other, await backed_up(redis, tmp_path / "backup"))

    after = await content(other)
    assert before.pop(f"{{{NAME}}}:lease") == "planner"
    control = f"{{{NAME}}}:control"
    for name in ("revision", "fence"):
        assert int(after[control].pop(name)) == int(before[control].pop(name)) + 1
    for stream in (f"{{{NAME}}}:1:log", f"{{{NAME}}}:events"):
        assert after[stream].pop()[1]["kind"] == "restored"
    assert after == before
    assert await other.pttl(f"{ELSEWHERE}llmpo:{{{NAME}}}:1:unit:u1") == pytest.approx(3_600_000, abs=60_000)
    assert await other.pttl(f"{ELSEWHERE}llmpo:{control}") == -1


async def test_a_backup_is_read_like_the_store(
    store: PolicyStore, redis: StoreClient, tmp_path: Path
) -> None:
    """The view with plan, watch and certificate, every log and every definition are those of the store."""
    await busy(store)
    file = await backed_up(redis, tmp_path / "backup")
    found = BackedUpExperiment(file, NAME)
    assert await found.view(NAME) == await store.view(NAME)
    assert await found.watch(NAME, 2) == await store.watch(NAME, 2)
    assert await found.experiment(NAME, 1) == await store.experiment(NAME, 1)
    for ledger in ((1, None), (2, None), (1, Role.JUDGE)):
        assert (await found.log(NAME, ledger[0], informs=ledger[1]))[0] == (
            await store.log(NAME, ledger[0], informs=ledger[1])
        )[0]
    with pytest.raises(UnknownExperimentError):
        BackedUpExperiment(file, "unknown")


async def test_what_was_reported_before_counts_once_and_what_waits_is_matched(
    store: PolicyStore, redis: StoreClient, other: StoreClient, tmp_path: Path
) -> None:
    """A report that the backup knows is a duplicate after the restore; the experiment goes on from there."""
    await planned(store)
    await prefer(store, "known")
    await report(store, "waits", 0, 1.0)
    file = await backed_up(redis, tmp_path / "backup")
    await prefer(store, "after the backup")

    await restored(other, file)

    there = PolicyStore(other, timeout_seconds=PATIENCE_SECONDS)
    assert (await prefer(there, "known")).receipt is Receipt.DUPLICATE
    assert (await prefer(there, "after the backup")).receipt is Receipt.COUNTED
    matched = await report(there, "rival", 1, 0.0)
    assert matched.comparison == 3
    assert [each.number for each in await logged_comparisons(there)] == [1, 2, 3]


async def test_a_backup_under_traffic_is_of_one_moment(
    store: PolicyStore, redis: StoreClient, other: StoreClient, tmp_path: Path
) -> None:
    """Counts, log and voters agree, although reports come in all the while; none of it counts twice later."""
    await planned(store)
    done, sent = asyncio.Event(), 0

    async def vote() -> None:
        nonlocal sent
        while not done.is_set():
            sent += 1
            voter = f"v{sent % 40}"
            await report(store, f"u{sent}", sent % 2, float(sent % 3), voter=voter, voter_cap=10_000)

    voting = [asyncio.create_task(vote()) for _ in range(4)]
    while sent < 200:
        await asyncio.sleep(0.01)
    file = await backed_up(redis, tmp_path / "backup")
    done.set()
    await asyncio.gather(*voting)

    await restored(other, file)

    there = PolicyStore(other, timeout_seconds=PATIENCE_SECONDS)
    comparisons, counts = await logged_comparisons(there), await there.counts(NAME, 1)
    assert len(comparisons) == counts.comparisons == file.moments[0].comparisons
    assert counts.comparisons < (await store.counts(NAME, 1)).comparisons
    assert replayed(comparisons, {1: forecasts()}, counts) == counts
    voters = Counter(voter for each in comparisons for voter in each.voters)
    votes = await other.hgetall(f"{ELSEWHERE}llmpo:{{{NAME}}}:1:votes")
    noted = {name: int(value) for name, value in votes.items() if name.startswith("compared:")}
    assert {name: value for name, value in noted.items() if value} == {
        f"compared:{voter}": number for voter, number in voters.items()
    }
    assert (counts.votes, counts.voters) == (2 * counts.comparisons, len(voters))


async def test_a_living_experiment_is_replaced_only_as_it_was_seen(
    store: PolicyStore, redis: StoreClient, tmp_path: Path
) -> None:
    """A move between the look and the restore refuses it, and nothing of the living experiment changes."""
    await planned(store)
    await prefer(store, "u1")
    file = await backed_up(redis, tmp_path / "backup")
    await prefer(store, "u2")
    before = await store.counts(NAME, 1)

    with pytest.raises(RestoreError, match="changed during the restore"):
        await restored(redis, file, revision="1")
    assert replace(await store.counts(NAME, 1), now=before.now) == before

    fence = await store.acquire_lease(NAME, "planner", 60)
    await restored(redis, file)
    assert (await store.counts(NAME, 1)).comparisons == 1
    assert (await prefer(store, "u2")).receipt is Receipt.DUPLICATE  # its mark stays: never twice
    with pytest.raises(StaleFenceError):
        await store.publish_plan(NAME, 1, plan(comparisons=1), forecasts(), fence)
    latest = (await store.events(NAME, 1))[0]
    assert (latest.kind, latest.told) == ("restored", DETAIL)


async def test_no_generation_number_is_given_again(
    store: PolicyStore, redis: StoreClient, tmp_path: Path
) -> None:
    """One that the restore takes away leaves its number unused, so no session finds another's draw."""
    await started(store)
    file = await backed_up(redis, tmp_path / "backup")
    assert (await started(store, delta=0.1)).generation == 2

    await restored(redis, file)

    assert (await store.view(NAME)).generation == 1
    assert (await started(store, delta=0.2)).generation == 3


async def test_a_restore_that_never_ends_leaves_nothing(
    store: PolicyStore, redis: StoreClient, other: StoreClient, tmp_path: Path
) -> None:
    """What was staged is under names that expire, and marks without an experiment mean nothing."""
    await planned(store)
    await prefer(store, "u1")
    file = await backed_up(redis, tmp_path / "backup")
    restore = Restore(other, timeout_seconds=PATIENCE_SECONDS)
    for part in file.parts():
        if part.decides:
            await restore.stage(part)

    there = PolicyStore(other, timeout_seconds=PATIENCE_SECONDS)
    with pytest.raises(UnknownExperimentError):
        await there.view(NAME)
    async for key in other.scan_iter(match=f"{other.names.root}*", count=1000):
        assert 0 < await other.pttl(key) <= 3_600_000
    await restore.forget()
    assert [key async for key in other.scan_iter(match=f"{other.names.root}*")] == []
    with pytest.raises(RestoreError, match="took too long"):
        await restore.put_in_force(file.moments[0], await restore.living(NAME), DETAIL)


def test_a_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    """A missing end, another byte, another program's file and a newer form are each refused by name."""
    path = tmp_path / "backup"
    with BackupWriter(path, About(LAYOUT, "test", 1.0, "id", 1, is_whole=False)) as writer:
        writer.add(Moment(NAME, 1.0, 1, 2, 3))
    whole = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    assert BackupFile(path).moments == (Moment(NAME, 1.0, 1, 2, 3),)

    lines = whole.splitlines(keepends=True)
    for damaged in (
        whole[:-1000],
        b"".join(lines[:-1]),
        whole.replace(b":3}", b":4}"),
        whole.replace(b'"revision"', b'"revisiom"'),
        whole + lines[1],
        whole[:-1],
        whole.replace(b'"type": "end"', b'"type":\t"end"'),
        whole.replace(b'"type": "end"', b'"type": "enD"'),
        b"",
    ):
        path.write_bytes(damaged)
        with pytest.raises(BackupFileError, match=r"whole|no backup"):
            BackupFile(path)
    path.write_bytes(whole.replace(b'"schema":1', b'"schema":9', 1))
    with pytest.raises(BackupFileError, match=r"the form 9.*upgrade"):
        BackupFile(path)
    with pytest.raises(BackupFileError, match="cannot be read"):
        BackupFile(tmp_path / "none")


def test_an_error_leaves_the_backup_of_before(tmp_path: Path) -> None:
    """A file appears under its name only once it is whole."""
    path = tmp_path / "backup"
    path.write_text(before := '{"type":"backup","of":"before"}')
    about = About(LAYOUT, "test", 1.0, "id", 1, is_whole=False)

    with pytest.raises(StoreError, match="gone"), BackupWriter(path, about):
        raise StoreError("gone")

    assert path.read_text() == before
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]
    with pytest.raises(BackupFileError, match="No such file"), BackupWriter(tmp_path / "no" / "file", about):
        pass


def test_a_backup_takes_the_place_of_no_device(tmp_path: Path) -> None:
    """A pipe stays a pipe, and a link leads where it led."""
    about = About(LAYOUT, "test", 1.0, "id", 1, is_whole=False)
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    (loop := tmp_path / "loop").symlink_to(loop)
    for place in (pipe, tmp_path, loop):
        with pytest.raises(BackupFileError, match="Name a file"), BackupWriter(place, about):
            pass
    assert pipe.is_fifo()
    assert loop.is_symlink()
    file.write_text('{"type":"backup","of":"before"}')
    link.symlink_to(file)
    with BackupWriter(link, about):
        pass
    assert link.is_symlink()
    BackupFile(file)


def test_a_backup_takes_the_place_of_a_backup_and_of_nothing_else(tmp_path: Path) -> None:
    """A slip of the pen must not cost a configuration."""
    about = About(LAYOUT, "test", 1.0, "id", 1, is_whole=False)
    (config := tmp_path / "gateway.yaml").write_text("model_list: []")
    (path := tmp_path / "backup").touch()

    with pytest.raises(BackupFileError, match="is no backup, and would be lost"):
        BackupWriter(config, about).__enter__()
    assert config.read_text() == "model_list: []"
    for _ in range(2):
        with BackupWriter(path, about):
            pass
    BackupFile(path)
    assert {each.name for each in tmp_path.iterdir()} == {"gateway.yaml", "backup"}


@pytest.mark.parametrize("line", ["[" * 100_000, "[]", "null", "5"], ids=["deep", "list", "null", "number"])
def test_what_is_no_line_of_a_backup_is_refused(tmp_path: Path, line: str) -> None:
    """Whatever JSON it is."""
    path = tmp_path / "backup"
    path.write_text(line + "\n")
    with pytest.raises(BackupFileError, match="no backup"):
        BackupFile(path)


async def test_secret_of_a_last_look_is_in_no_backup(
    store: PolicyStore, redis: StoreClient, other: StoreClient, tmp_path: Path
) -> None:
    """Whoever reads a backup does not learn it, and what is restored has no last look."""
    await started(store, last_look=True, max_comparisons=3)
    secret = await redis.get(redis.names.experiment(NAME).generation(1).look)
    file = await backed_up(redis, tmp_path / "all.backup")
    await restored(other, file)

    assert secret
    assert not any(secret in item for part in file.parts() for item in part.items)
    assert not await other.exists(other.names.experiment(NAME).generation(1).look)
