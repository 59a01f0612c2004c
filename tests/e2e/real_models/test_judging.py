"""A real model judges another one's answers, in both orders, after the callers were served."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.real_models.stage import Gateway
from tests.e2e.real_models.users import connect
from tests.pace import PATIENCE_SECONDS

pytestmark = [pytest.mark.real_models, pytest.mark.timeout(600)]

EXPERIMENT = "capitals"
LANDS = ("France", "Italy")


def test_a_real_model_judges(real_gateway: Gateway) -> None:
    """Each question comes to one comparison, and every verdict of the model is accounted for.

    A model of this size mostly insists on a position or says something else than a verdict. What matters is
    that none of this is taken for a preference.
    """
    account = asyncio.run(_asked(real_gateway))
    judge, counted = account["judge"], account["comparisons"]
    decisive = sum(map(sum, account["wins"]))

    assert judge["compared"] + judge["dropped"] == len(LANDS)
    assert counted == judge["compared"] > 0
    kinds = ("first_shown", "second_shown", "disagreed", "unreadable")
    agreed = judge["asked"] - sum(judge[kind] for kind in kinds)
    assert decisive == agreed - judge["agreed_ties"]
    assert account["incumbent"] == "plain"


async def _asked(running: Gateway) -> dict[str, Any]:
    """What the gateway says of the experiment once each question has been judged."""
    async with connect(running.url) as client:
        for land in LANDS:
            await client.chat.completions.create(
                model=EXPERIMENT, messages=[{"role": "user", "content": f"What is the capital of {land}?"}]
            )
        async with asyncio.timeout(10 * PATIENCE_SECONDS):
            while True:
                account = await client.get(f"/experiments/{EXPERIMENT}", cast_to=object)
                judge = account["judge"]
                if judge["compared"] + judge["dropped"] >= len(LANDS):
                    return account
                await asyncio.sleep(0.2)
