"""A gateway whose store's replicas have to confirm what it acknowledges, while a replica is frozen."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from gateway.learning import store_watch
from gateway.running import store_health
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.pace import impatient
from tests.servers import ReplicatedServer

ADMIN = "the-key-of-the-operator-of-these-tests"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_watch, "PULSE_SECONDS", 0.02)
    for module in (store_watch, store_health):
        monkeypatch.setattr(module, "_log", structlog.get_logger())


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[ReplicatedServer]:
    """A primary and its replica."""
    group = ReplicatedServer(tmp_path / "store")
    group.start()
    yield group
    group.stop()


async def becomes(gateway: Whole, word: str) -> None:
    """Return once `/readyz` says so of the store."""

    async def is_so() -> bool:
        return str((await gateway.get("/readyz")).json["store"]) == word

    await eventually(is_so, f"the store {word}")


@pytest.mark.parametrize("spools", [False, True])
async def test_feedback_and_moves_are_acknowledged_only_once_a_replica_has_them(
    spools: bool, upstream: FakeUpstream, replicated: ReplicatedServer, tmp_path: Path
) -> None:
    """A 503 says that it may be sent again, or it waits on the disk; it is counted once, and made once."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        feedback={"spool": spools},
        promotion={"min_comparisons": 100_000},
    )
    settings = quick_settings(
        replicated.url,
        data_dir=tmp_path,
        store_confirming_replicas=1,
        store_timeout_seconds=impatient(0.6),
        admin_keys=ADMIN,
    )
    with capture_logs() as lines:
        async with whole_gateway(config, settings) as gateway:
            gateway.key = ADMIN
            await becomes(gateway, "up")
            assert await gateway.metric("llmpo_store_replicas") == 1
            answers = [(await gateway.compare()).json["id"] for _ in range(2)]
            assert (await gateway.feed(id=answers[0], preferred=0)).json["status"] == "counted"

            replicated.replica.send(signal.SIGSTOP)
            reply = await gateway.feed(id=answers[1], preferred=0)
            if spools:
                assert (reply.status, reply.json["status"]) == (202, "spooled")
            else:
                assert (reply.status, reply.code) == (503, "store_unconfirmed")
                assert reply.headers["retry-after"] == "1"
                assert "Send it again later; it is counted once." in reply.json["error"]["message"]
            path, body = f"/v1/experiments/{NAME}/pause", {"reason": "lunch"}
            move = await gateway.call("POST", path, body)
            assert (move.status, move.code) == (503, "store_unconfirmed")
            await becomes(gateway, "not_writable")
            detail = (await gateway.get("/readyz")).json["store_detail"]
            assert "0 of 1 replicas confirmed" in detail
            assert "Replicas connected: 1." in detail
            assert (await gateway.compare()).status == 200
            assert await gateway.metric("llmpo_store_writable") == 0

            replicated.replica.send(signal.SIGCONT)
            await becomes(gateway, "up")
            assert (await gateway.feed(id=answers[1], preferred=0)).json["status"] in {"duplicate", "spooled"}
            assert (await gateway.call("POST", path, body)).status == 200
            found = await gateway.experiment()
            assert (found["comparisons"], found["state"]) == (2, "paused")
    changes = [line["event"] for line in lines if line["event"] in {"store_not_writable", "store_writable"}]
    assert changes == ["store_not_writable", "store_writable"]
