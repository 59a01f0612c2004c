"""What failed on the way to an answer is freed with the request.

A failure that is kept by a frame of its own traceback holds all of its request until the next garbage
collection (docs/decisions/0056-what-a-request-costs.md), and the more fails, the more is held.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest

from gateway.errors import UpstreamError
from tests.gateway.fake_upstream import Behaviour, FakeUpstream, answer, cut, malformed, status
from tests.gateway.live import Live, entry, experiment, live_gateway


@pytest.fixture(autouse=True)
def _no_collection() -> Iterator[None]:
    """Nothing is collected, and only what a test makes is looked at: walking all else takes seconds."""
    gc.freeze()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=["matched", "side_by_side"])
async def gateway(request: pytest.FixtureRequest, upstream: FakeUpstream) -> AsyncIterator[Live]:
    """An experiment whose incumbent has a fallback."""
    entries = [
        entry("small", upstream.api_base).model_copy(update={"fallbacks": ["spare"]}),
        *(entry(name, upstream.api_base) for name in ("large", "spare")),
    ]
    live = experiment(upstream.api_base, collect=request.param)
    async with live_gateway([live], entries, eject_after_failures=1000) as gateway:
        yield gateway


FAULTS = {
    "the candidate refuses": {"large": status(500)},
    "both policies refuse": {"large": status(500), "small": status(503)},
    "the incumbent refuses": {"small": status(503)},
    "all refuse": {"large": status(500), "small": status(503), "spare": status(429)},
    "the request is at fault": {"large": status(400), "small": status(400)},
    "the candidate is cut": {"large": cut(after=1)},
    "both are malformed": {"large": malformed(after=1), "small": malformed(after=1)},
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
async def test_no_failure_outlives_its_request(
    gateway: Live, upstream: FakeUpstream, faults: dict[str, Behaviour]
) -> None:
    """No failure stays in memory after its request, in any number and with any result."""
    for model, behaviour in faults.items():
        upstream.on(model, behaviour)
    for is_streamed in [False, True] * 4:
        await gateway.ask(stream=is_streamed)
    for model in faults:
        upstream.on(model, answer())
    assert (await gateway.ask()).status == 200
    assert [each for each in gc.get_objects() if isinstance(each, UpstreamError)] == []
