"""Replicas with different files are seen and named, and nothing is decided until they agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from structlog.testing import capture_logs

from gateway.experiments.agreement import Agreement
from gateway.instrumentation.records import PlanPublished
from gateway.reloading.replicas import GRACE_SECONDS, Replicas
from policy_store.errors import StoreUnavailableError
from policy_store.replicas import ReplicaRecord, ReplicasSeen
from tests.gateway.building import catalogue_holder
from tests.gateway.reloading.conftest import Opener
from tests.gateway.whole import Whole

Configured = Callable[..., dict[str, Any]]
SIDE_BY_SIDE = {"share": 1.0, "collect": "side_by_side"}


async def test_decisions_wait_until_replicas_agree(opened: Opener, configured: Configured) -> None:
    """The page says why and who; a reload with the same file lets the evidence decide."""
    terms = {"traffic": SIDE_BY_SIDE, "max_comparisons": 3, "promotion": {"min_comparisons": 0}}
    fields = configured(**terms)
    other = {**fields, "cors_origins": ["https://app.example.com"]}
    async with opened(fields, "one") as one, opened(other, "two") as two:
        gateway = one.gateway
        await gateway.planned()
        await gateway.eventually(lambda: _is_held(gateway), "the difference to be seen")
        for _ in range(3):
            reply = await gateway.feed(id=(await gateway.compare()).json["id"], preferred="tie")
            assert reply.status == 200
        await gateway.eventually(lambda: _is_all_planned(one.gateway, two.gateway), "a plan from all of it")

        shown = await gateway.experiment()
        assert (shown["state"], shown["certificate"]) == ("running", None)
        hashes = {each.gateway.app.catalogue.current.config_hash[:12] for each in (one, two)}
        assert all(digits in shown["held"][0] for digits in hashes)
        assert shown["held"][0] in shown["warnings"]
        assert "different configurations" in (await gateway.get("/readyz")).json["config_detail"]
        assert await gateway.metric("llmpo_config_replicas") == 2
        refused = await gateway.call(
            "POST", "/v1/experiments/support/promote", {"reason": "now", "policy": "warm"}
        )
        assert refused.code == "conflict"

        said = await two.take_up(fields)
        assert [replica["state"] for replica in said["replicas"]] == ["current", "current"]
        await gateway.eventually(lambda: _is_decided(gateway), "the decision")


async def test_one_request_reloads_all_replicas(opened: Opener, configured: Configured) -> None:
    """Each replica reads its own file; one whose file has faults is named and keeps its configuration."""
    async with opened(configured(), "one") as one, opened(configured(), "two") as two:
        fields = configured()
        fields["experiments"]["sales"] = fields["experiments"]["support"]
        two.write(fields)
        said = await one.take_up(fields)
        assert {replica["config_hash"] for replica in said["replicas"]} == {said["config_hash"]}
        assert (await two.gateway.ask("sales")).status == 200

        two.write(configured(delta=2))
        said = await one.take_up(configured())
        assert sorted(replica["state"] for replica in said["replicas"]) == ["current", "refused"]
        assert (await two.gateway.ask("sales")).status == 200
        assert (await one.gateway.ask("sales")).status == 404


class Book:
    """A store of replicas."""

    def __init__(self) -> None:
        self.others: tuple[ReplicaRecord, ...] = ()
        self.is_away = False

    async def tell(self, record: ReplicaRecord) -> ReplicasSeen:
        """What the store would say."""
        if self.is_away:
            raise StoreUnavailableError
        return ReplicasSeen(0, (record, *self.others))


async def test_a_difference_that_lasts_is_logged_once_and_its_end_once() -> None:
    """Replicas that reload one after the other differ for a moment, which is nothing to tell."""
    book, now, holder = Book(), [0.0], catalogue_holder("c0ffee")
    agreement = Agreement()
    replicas = Replicas(book, "host:1:ab", holder, agreement, None, lambda: now[0])
    with capture_logs() as lines:
        book.others = (ReplicaRecord("host:2:cd", "decaf", 0, 0),)
        for now[0] in (0.0, GRACE_SECONDS - 1, GRACE_SECONDS + 1, GRACE_SECONDS + 2):
            await replicas.look()
            assert agreement.held is not None
        book.is_away = True
        await replicas.look()
        assert agreement.held is not None
        book.is_away, book.others = False, ()
        await replicas.look()
        await replicas.look()

    assert [line["event"] for line in lines] == ["replicas_differ", "replicas_agree"]
    assert lines[0]["replicas"] == {"c0ffee": ["host:1"], "decaf": ["host:2"]}
    assert agreement.held is None


async def _is_held(gateway: Whole) -> bool:
    return bool((await gateway.experiment())["held"])


async def _is_decided(gateway: Whole) -> bool:
    return (await gateway.experiment())["certificate"] is not None


def _is_all_planned(*gateways: Whole) -> bool:
    published = [event for gateway in gateways for event in gateway.observer.of(PlanPublished)]
    return any(event.comparisons == 3 for event in published)
