"""Reports wait on the disk while the store is away, and each is counted once afterwards, whatever happens."""

from __future__ import annotations

import asyncio
import fcntl
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from gateway.assembly.spooling import spool_place
from gateway.config.api_keys import hash_key
from gateway.errors import UnavailableError
from gateway.learning import spool as spooling
from gateway.learning import store_watch
from gateway.learning.recording import SPOOLED_SECONDS
from gateway.learning.spool import Spool
from gateway.learning.spool_file import SpooledReport, SpoolFile, spool_files
from policy_store.connect import connect
from policy_store.data_directory import prepare
from policy_store.log_records import Result
from policy_store.report_records import Report
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.whole import Whole, quick_settings, whole_gateway
from tests.pace import impatient
from tests.policy_store.building import planned
from tests.servers import RedisServer

SECRET = "a secret of at least thirty-two characters"
TRAFFIC = {"share": 1.0, "collect": "side_by_side"}
ENDLESS = {"min_comparisons": 100_000}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "REPLAY_SECONDS", 0.02)
    monkeypatch.setattr(store_watch, "PULSE_SECONDS", 0.02)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that this test may kill."""
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@dataclass
class Clock:
    """A gateway's clock, which jumps."""

    offset: float = 0.0
    base: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.base + self.offset


@pytest.fixture
def clock() -> Clock:
    """The gateway's clock."""
    return Clock()


@pytest.fixture
async def gateway(
    upstream: FakeUpstream, redis_server: RedisServer, tmp_path: Path, clock: Clock
) -> AsyncIterator[Whole]:
    """A gateway whose experiment asks for a spool."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic=TRAFFIC,
        promotion=ENDLESS,
        feedback={"spool": True, "window": "1h"},
        auth={"admin_keys": [hash_key("ops")]},
    )
    settings = quick_settings(
        redis_server.url, data_dir=tmp_path / "data", store_timeout_seconds=impatient(0.3), spool_bytes=2000
    )
    async with whole_gateway(config, settings, key="ops", clock=clock) as gateway:
        await gateway.planned()
        yield gateway


def waiting(folder: Path) -> list[Path]:
    """The files in which reports wait."""
    return [path for path, size in spool_files(folder / "data", "spool") if size]


async def counted(gateway: Whole) -> int:
    """How many comparisons the experiment has."""
    return int((await gateway.experiment())["comparisons"])


async def test_reports_wait_for_the_store_and_count_once(
    gateway: Whole, redis_server: RedisServer, tmp_path: Path
) -> None:
    """202 `spooled`, a file only its owner may read, readiness up; then each is counted."""
    asked = [(await gateway.compare()).json["id"] for _ in range(3)]
    assert (await gateway.feed(id=asked[0], preferred=0)).json["status"] == "counted"
    redis_server.kill()

    replies = [await gateway.feed(id=each, preferred=0, comment="a secret remark") for each in asked[:3]]

    assert [(reply.status, reply.json["status"]) for reply in replies] == [(202, "spooled")] * 3
    (path,) = waiting(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "remark" not in text
    assert "ops" not in text
    ready = await gateway.get("/readyz")
    assert (ready.status, int(ready.json["spool_bytes"])) == (200, len(text))
    wrong = await gateway.feed(id=asked[1], signal="thumb", value=True)
    assert (wrong.status, wrong.error["param"]) == (422, "preferred")

    redis_server.start()
    await gateway.eventually(lambda: not waiting(tmp_path), "the replay")
    assert await counted(gateway) == 3
    assert [(await gateway.feed(id=each, preferred=0)).json["status"] for each in asked] == ["duplicate"] * 3
    assert await gateway.metric("llmpo_spool_waiting_bytes") == 0
    assert await gateway.metric("llmpo_feedback_total", status="spooled") == 3


async def test_a_full_file_refuses_what_it_cannot_keep(
    gateway: Whole, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Beyond its size reports get the 503 that they would get without it, and what was kept is counted."""
    asked = [(await gateway.compare()).json["id"] for _ in range(12)]
    redis_server.kill()

    statuses = [(await gateway.feed(id=each, preferred=0)).status for each in asked]

    kept = statuses.count(202)
    assert 3 < kept < 12
    assert statuses == [202] * kept + [503] * (12 - kept)
    redis_server.start()
    await gateway.eventually(lambda: not waiting(tmp_path), "the replay")
    assert await counted(gateway) == kept


async def test_the_time_of_receipt_decides_even_if_clocks_jump(
    gateway: Whole, redis_server: RedisServer, tmp_path: Path, clock: Clock
) -> None:
    """A window that ends while the store is away loses nothing that came in time."""
    asked = [(await gateway.compare()).json["id"] for _ in range(3)]
    redis_server.kill()
    assert (await gateway.feed(id=asked[0], preferred=0)).status == 202
    clock.offset = 2 * 3600.0
    late = await gateway.feed(id=asked[1], preferred=0)
    assert (late.status, late.json["reason"]) == (200, "expired_id")
    redis_server.start()
    await gateway.eventually(lambda: not waiting(tmp_path), "the replay")
    assert await counted(gateway) == 1
    clock.offset = -2 * 3600.0
    assert (await gateway.feed(id=asked[2], preferred=0)).json["status"] == "counted"
    assert (await gateway.feed(id=asked[0], preferred=0)).json["status"] == "duplicate"


async def test_a_report_that_waited_too_long_is_told_and_dropped(
    gateway: Whole, redis_server: RedisServer, tmp_path: Path, clock: Clock
) -> None:
    """The store may have forgotten it by then, so it could count twice."""
    asked = (await gateway.compare()).json["id"]
    redis_server.kill()
    assert (await gateway.feed(id=asked, preferred=0)).status == 202
    clock.offset = SPOOLED_SECONDS + 1.0
    redis_server.start()
    await gateway.eventually(lambda: not waiting(tmp_path), "the end of the wait")
    assert await counted(gateway) == 0
    assert await gateway.metric("llmpo_feedback_discarded_total", reason="spooled_too_long") == 1


async def test_a_store_that_lost_something_is_waited_for(
    gateway: Whole, redis_server: RedisServer, tmp_path: Path
) -> None:
    """While replicas hold, reports wait in the file; they are counted once an operator accepts."""
    asked = [(await gateway.compare()).json["id"] for _ in range(2)]
    assert (await gateway.feed(id=asked[0], preferred=0)).json["status"] == "counted"
    redis = connect(redis_server.url, timeout_seconds=5)
    await redis.delete(redis.names.experiment(NAME).generation(1).counts)
    await gateway.eventually(lambda: _is(gateway, "held"), "the loss to be seen")

    assert (await gateway.feed(id=asked[1], preferred=0)).status == 202
    await asyncio.sleep(0.1)
    assert waiting(tmp_path)

    assert (await gateway.call("POST", "/v1/store/accept")).status == 200
    await gateway.eventually(lambda: not waiting(tmp_path), "the replay")
    assert await counted(gateway) == 1
    await redis.aclose()


async def _is(gateway: Whole, store: str) -> bool:
    return bool((await gateway.get("/readyz")).json["store"] == store)


async def test_a_gateway_that_starts_without_its_store_keeps_reports_too(
    upstream: FakeUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    """The file's incumbent answers; ids of before can be opened with the operator's secret, and wait."""
    config = gateway_config(
        api_base=upstream.api_base, traffic=TRAFFIC, promotion=ENDLESS, feedback={"spool": True}
    )
    settings = quick_settings(
        redis_server.url,
        data_dir=tmp_path / "data",
        store_timeout_seconds=impatient(0.3),
        token_secret=SECRET,
    )
    async with whole_gateway(config, settings) as gateway:
        await gateway.planned()
        asked = (await gateway.compare()).json["id"]
    redis_server.kill()
    async with whole_gateway(config, settings) as gateway:
        cold = await gateway.ask()
        assert cold.status == 200
        apart = await gateway.feed(id=cold.json["id"], preferred=0)
        assert (apart.status, apart.json["reason"]) == (200, "unassigned_id")
        assert (await gateway.feed(id=asked, preferred=0)).status == 202
        assert (await gateway.get("/readyz")).status == 200
        redis_server.start()
        await gateway.eventually(lambda: not waiting(tmp_path), "the replay")
        assert await counted(gateway) == 1


async def test_ids_that_cannot_be_opened_yet_are_not_called_forged(
    upstream: FakeUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Without a secret of the operator the key is in the store, so feedback is sent again later."""
    config = gateway_config(api_base=upstream.api_base, traffic=TRAFFIC, promotion=ENDLESS)
    settings = quick_settings(
        redis_server.url, data_dir=tmp_path / "data", store_timeout_seconds=impatient(0.3)
    )
    async with whole_gateway(config, settings) as gateway:
        await gateway.planned()
        asked = (await gateway.compare()).json["id"]
    redis_server.kill()
    async with whole_gateway(config, settings) as gateway:
        assert (await gateway.feed(id=asked, preferred=0)).status == 503
        redis_server.start()

        async def is_counted() -> bool:
            reply = await gateway.feed(id=asked, preferred=0)
            return reply.status == 200 and reply.json["status"] == "counted"

        await gateway.eventually(is_counted, "the key")


async def test_without_the_option_nothing_is_kept(
    upstream: FakeUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Off by default: a 503, and no file."""
    config = gateway_config(api_base=upstream.api_base, traffic=TRAFFIC, promotion=ENDLESS)
    settings = quick_settings(
        redis_server.url, data_dir=tmp_path / "data", store_timeout_seconds=impatient(0.3)
    )
    async with whole_gateway(config, settings) as gateway:
        await gateway.planned()
        asked = (await gateway.compare()).json["id"]
        redis_server.kill()
        assert (await gateway.feed(id=asked, preferred=0)).status == 503
    assert spool_files(tmp_path / "data", "spool") == []
    redis_server.start()


def spooled(number: int) -> SpooledReport:
    """A report about an answer of this number."""
    return SpooledReport(f"id{number}", None, None, 0, f"{number:016x}", 1.0)


class Crashed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("after_counting", [False, True])
@pytest.mark.parametrize("crash_at", range(4))
async def test_a_crash_at_any_point_of_a_replay_doubles_and_loses_nothing(
    embedded_store: PolicyStore, tmp_path: Path, crash_at: int, after_counting: bool
) -> None:
    """Before or after the store's step, at any line: the next process replays, and marks decide."""
    await planned(embedded_store)
    first = Spool(tmp_path, "spool-a", 10_000)
    assert all(await asyncio.gather(*(first.keep(spooled(number)) for number in range(4))))
    done = 0

    async def recount(report: SpooledReport, crash: int | None = None) -> None:
        nonlocal done
        if done == crash and not after_counting:
            raise Crashed
        said = Report(NAME, 1, report.id, 0, 1, "side_by_side", "0", 3600)
        await embedded_store.record_preference(said, Result.WIN)
        if done == crash:
            raise Crashed
        done += 1

    with pytest.raises(Crashed):
        await first.replay(lambda report: recount(report, crash_at))
    first._own.close()  # as the end of the process does

    second = Spool(tmp_path, "spool-a", 10_000)
    await second.replay(recount)

    assert (await embedded_store.counts(NAME, 1)).comparisons == 4
    assert spool_files(tmp_path, "spool") == []


async def test_what_a_killed_process_was_writing_is_no_report(tmp_path: Path) -> None:
    """A line is whole or not there; a damaged one costs nothing but itself."""
    file = SpoolFile.new(tmp_path, "spool-a")
    damaged = spooled(2).line().replace(b"id2", b"id9")
    file.append(spooled(1).line() + damaged + spooled(3).line() + spooled(4).line()[:-9])
    file.close()
    found: list[str] = []

    async def recount(report: SpooledReport) -> None:
        found.append(report.id)

    await Spool(tmp_path, "spool-a", 10_000).replay(recount)

    assert found == ["id1", "id3"]
    assert spool_files(tmp_path, "spool") == []


async def test_no_report_waits_once_those_before_it_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clearing the file may take long on a busy disk; meanwhile reports are counted at once."""
    spool, found, clear = Spool(tmp_path, "spool-a", 10_000), [], SpoolFile.clear

    def cleared(file: SpoolFile) -> None:
        found.append(spool.is_waiting)
        clear(file)

    async def recount(_: SpooledReport) -> None:
        found.append(spool.is_waiting)

    monkeypatch.setattr(SpoolFile, "clear", cleared)
    assert await spool.keep(spooled(1))
    await spool.replay(recount)

    assert found == [True, False]


async def test_a_replay_that_the_store_interrupts_keeps_no_file_from_other_processes(tmp_path: Path) -> None:
    """Whoever replays next finds every file that was left, also those whose turn had not come."""
    for number in (1, 2):
        file = SpoolFile.new(tmp_path, "spool-a")
        file.append(spooled(number).line())
        file.close()
    found: list[str] = []

    async def away(report: SpooledReport) -> None:
        raise UnavailableError(report.id)

    async def recount(report: SpooledReport) -> None:
        found.append(report.id)

    with pytest.raises(UnavailableError):
        await Spool(tmp_path, "spool-a", 10_000).replay(away)
    await Spool(tmp_path, "spool-a", 10_000).replay(recount)

    assert sorted(found) == ["id1", "id2"]
    assert spool_files(tmp_path, "spool") == []


def test_a_new_file_is_not_removed_as_one_that_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its lock another process may take it for an empty one of a dead process."""
    lock, taken = fcntl.flock, []

    def late(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not taken:
            for other in SpoolFile.left(tmp_path, "spool-a"):
                taken.append(other.path)
                other.remove()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    file = SpoolFile.new(tmp_path, "spool-a")
    file.append(spooled(1).line())

    assert len(taken) == 1
    assert [path for path, size in spool_files(tmp_path, "spool-a") if size] == [file.path]
    file.close()


async def test_files_in_use_and_of_other_stores_are_left_alone(tmp_path: Path) -> None:
    """Each file is replayed by one process, and only into its store."""
    writing, foreign = Spool(tmp_path, "spool-a", 10_000), Spool(tmp_path, "spool-b", 10_000)
    assert await writing.keep(spooled(1))
    assert await foreign.keep(spooled(2))
    await foreign.aclose()

    async def refuse(report: SpooledReport) -> None:
        raise AssertionError(report)

    await Spool(tmp_path, "spool-a", 10_000).replay(refuse)

    assert len(spool_files(tmp_path, "spool-a")) == len(spool_files(tmp_path, "spool-b")) == 1


def test_the_embedded_store_is_one_store_however_many_workers_there_are(tmp_path: Path) -> None:
    """Workers know it by its socket, a process alone does not; another socket is another store."""
    alone = quick_settings(data_dir=tmp_path)
    worker = quick_settings(prepare(tmp_path).url, data_dir=tmp_path)
    other = quick_settings(f"unix://{tmp_path}/other.sock", data_dir=tmp_path)
    assert spool_place(worker) == spool_place(alone) != spool_place(other)


async def test_later_reports_wait_behind_earlier_ones(tmp_path: Path) -> None:
    """A replay that the store interrupts goes on where it stopped, with what came meanwhile at the end."""
    spool, found, is_away = Spool(tmp_path, "spool-a", 10_000), [], True
    await spool.keep(spooled(1))
    await spool.keep(spooled(2))

    async def recount(report: SpooledReport) -> None:
        if report.id == "id2" and is_away:
            raise UnavailableError("away")
        found.append(report.id)

    with pytest.raises(UnavailableError):
        await spool.replay(recount)
    assert spool.is_waiting
    await spool.keep(spooled(3))
    is_away = False
    await spool.replay(recount)

    assert found == ["id1", "id2", "id3"]
    assert not spool.is_waiting


@pytest.mark.long
async def test_nothing_is_left_behind_by_other_numbers_of_workers(
    upstream: FakeUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Two workers take reports, all are killed with the store away; one gateway process counts each once."""
    fields = {
        **config_fields(
            api_base=upstream.api_base, traffic=TRAFFIC, promotion=ENDLESS, feedback={"spool": True}
        ),
        "auth": {"admin_keys": [hash_key("ops")]},
    }
    settings = {
        "LLMPO_REDIS_URL": redis_server.url,
        "LLMPO_STORE_TIMEOUT_SECONDS": str(impatient(0.3)),
        "LLMPO_TOKEN_SECRET": SECRET,
    }
    headers = {"authorization": "Bearer ops", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        served = Served(tmp_path, fields, session)
        try:
            gateway = await served.start("--workers", "2", **settings)
            await gateway.planned()
            asked = [(await gateway.compare()).json["id"] for _ in range(12)]
            redis_server.kill()
            replies = await asyncio.gather(*(gateway.feed(id=each, preferred=0) for each in asked))
            assert {reply.status for reply in replies} == {202}
            await served.kill()
            redis_server.start()

            gateway = await served.start(**settings)
            await gateway.eventually(lambda: not waiting(tmp_path), "the replay")
            assert await counted(gateway) == 12
            assert json.dumps(served.events).count("feedback_replayed") >= 1
            assert await served.end() == 0
            assert spool_files(tmp_path / "data", "spool") == []
        finally:
            served.clean_up()
