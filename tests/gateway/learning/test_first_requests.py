"""A new experiment takes part from its first request on, whether or not a planner is at work yet."""

from __future__ import annotations

import asyncio

from gateway.learning.plan_worker import PlanJob, PlanResult
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from policy_store.log_records import Comparison
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway


class NeverPlans:
    """A pool that is still busy with the first plan."""

    async def compute(self, job: PlanJob) -> PlanResult:
        await asyncio.Event().wait()
        raise AssertionError

    def close(self) -> None:
        """Nothing to let go of."""


async def outcomes(gateway: Whole) -> list[str]:
    """Statuses of thumbs for requests until both policies of the pair have an outcome."""
    statuses = [(await gateway.thumb(good=True)).json["status"]]
    while "counted" not in statuses:
        statuses.append((await gateway.thumb(good=True)).json["status"])
    return statuses


async def test_the_first_request_takes_part_before_any_plan(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """The first request's feedback waits for that of the other policy and is then compared with it."""
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, quick_settings(embedded_url), pool=NeverPlans) as gateway:
        statuses = await outcomes(gateway)

        found = await gateway.experiment()
        assert set(statuses[:-1]) == {"pending"}
        assert (found["plan"], found["comparisons"]) == (None, 1)


async def test_what_is_counted_before_the_first_plan_is_no_evidence_and_verifies(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """No forecast was published for it, so the log says version 0; the later decision is confirmed."""
    config = gateway_config(api_base=upstream.api_base, max_comparisons=3, promotion={"min_comparisons": 1})
    async with whole_gateway(config, quick_settings(embedded_url), pool=NeverPlans) as gateway:
        await outcomes(gateway)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        await outcomes(gateway)
        await outcomes(gateway)

        async def is_decided() -> bool:
            return bool((await gateway.experiment())["state"] != "running")

        await eventually(is_decided, "a decision")
        log = read_log((await gateway.get(f"/v1/experiments/{NAME}/log")).body.splitlines())

    counted = [record for record in log.own.records if isinstance(record, Comparison)]
    assert [record.plan_version for record in counted[:1]] == [0]
    assert all(record.plan_version > 0 for record in counted[1:])
    assert verify(log).is_confirmed
