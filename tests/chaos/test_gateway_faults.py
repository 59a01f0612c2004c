"""The gateway itself dies, by itself or with its workers, and is started again on the same data."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from policy_store.connect import EmbeddedValkey, connect
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, answer
from tests.gateway.process import Served
from tests.gateway.whole import Whole, eventually
from tests.servers import free_port


async def test_killed_gateway_comes_back_with_everything_it_acknowledged(
    serve: Callable[..., Served],
) -> None:
    """Evidence, plan and old ids survive kill -9, and the gateway's store and planner end with it."""
    served = serve()
    gateway = await served.start()
    await gateway.planned()
    rated = [(await gateway.compare()).json["id"] for _ in range(5)]
    unrated = (await gateway.compare()).json["id"]
    for response_id in rated:
        assert (await gateway.feed(id=response_id, preferred=0)).json["status"] == "counted"
    assert served.process is not None
    family = list(_descendants(served.process.pid))
    assert len(family) >= 2
    await served.kill()
    await eventually(lambda: not any(map(_is_alive, family)), "all processes of the gateway ended")

    again = await served.start()

    found = await again.experiment()
    assert (found["comparisons"], found["generation"]) == (5, 1)
    assert found["plan"]["version"] >= 1
    assert (await again.feed(id=rated[0], preferred=0)).json["status"] == "duplicate"
    assert (await again.feed(id=unrated, preferred=0)).json["status"] == "counted"


async def test_promotion_survives_a_killed_gateway(serve: Callable[..., Served]) -> None:
    """The promoted policy goes on serving, and its certificate stays."""
    served = serve(promotion={"min_comparisons": 5, "min_duration": "0s", "min_voters": 0})
    gateway = await served.start()
    await gateway.planned()
    await _until_warm_is_promoted(gateway)
    certificate = (await gateway.experiment())["certificate"]
    await served.kill()

    again = await served.start()

    found = await again.experiment()
    assert (found["state"], found["incumbent"]) == ("promoted", "warm")
    assert found["certificate"] == certificate
    await again.eventually(lambda: _only_warm_answers(again), "the promoted policy serving")
    assert [event["kind"] for event in found["events"]].count("promoted") == 1


async def test_workers_share_the_port_the_store_and_the_metrics(serve: Callable[..., Served]) -> None:
    """Two workers answer like one: every answer is counted once, whichever worker is asked for the numbers.

    Asked to stop, they end with status 0 and leave nothing behind.
    """
    served = serve()
    gateway = await served.start("--workers", "2", port=free_port())
    family = await _family(served)
    await gateway.planned()
    workers = {line["pid"] for line in served.events if line["event"] == "worker_ready"}
    assert len(workers) == 2
    before = await _answered(gateway)

    for _ in range(10):
        # A connection each: the kernel spreads connections, not requests.
        async with gateway.session.post(
            f"{gateway.url}/v1/chat/completions",
            json={"model": NAME, "messages": [{"role": "user", "content": "Hello?"}]},
            headers={"connection": "close"},
        ) as answer:
            assert answer.status == 200
            await answer.read()  # leaving earlier may end the request as abandoned

    await gateway.eventually(lambda: _has_answered(gateway, before + 10), "ten more answers counted")
    assert await gateway.metric("llmpo_experiment_generation", experiment=NAME) == 1

    assert await served.end(signal.SIGTERM) == 0
    await eventually(lambda: not any(map(_is_alive, family)), "all processes of the gateway ended")


async def _answered(gateway: Whole) -> float:
    return await gateway.metric("llmpo_requests_total", endpoint="/v1/chat/completions", status="200")


async def _has_answered(gateway: Whole, times: float) -> bool:
    return await _answered(gateway) == times


async def test_workers_and_store_end_with_their_supervisor(serve: Callable[..., Served]) -> None:
    """No process is left behind when the supervisor is killed."""
    served = serve()
    await served.start("--workers", "2", port=free_port())
    family = await _family(served)

    assert await served.end(signal.SIGKILL) == -signal.SIGKILL

    await eventually(lambda: not any(map(_is_alive, family)), "all processes of the gateway ended")


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "workers"])
async def test_a_store_of_a_newer_version_ends_the_start_with_one_error(
    serve: Callable[..., Served], options: tuple[str, ...]
) -> None:
    """No restart makes this version know the layout, so none is tried, with workers either."""
    served = serve()
    store = EmbeddedValkey()
    redis = connect(store.start(served.folder / "data"))
    await redis.hset(redis.names.identity, mapping={"id": "ab" * 16, "epoch": 1, "layout": 99})
    await redis.aclose()
    store.stop()

    with pytest.raises(AssertionError, match=r"has ended with 1:\n(?s:.*)their layout is 99"):
        await served.start(*options, port=free_port())

    assert served.text.count("error: ") == served.text.count("layout is 99") == 1
    assert not served.has_told("worker_died")


async def _family(served: Served) -> list[int]:
    """The processes of a gateway of two workers, once both are ready."""
    await served.eventually(lambda: served.has_told("worker_ready", 2), "both workers ready")
    assert served.process is not None
    family = list(_descendants(served.process.pid))
    assert len(family) >= 3
    return family


async def test_answer_under_way_is_finished_before_the_end(
    serve: Callable[..., Served], upstream: FakeUpstream
) -> None:
    """Rolling out a new version cuts no answer off: SIGTERM is how every supervisor stops a process."""
    upstream.on("plain", answer("one two three four five", pause_seconds=0.1))
    served = serve()
    gateway = await served.start()
    question = {"model": "plain", "stream": True, "messages": [{"role": "user", "content": "Hello?"}]}
    async with gateway.session.post(f"{gateway.url}/v1/chat/completions", json=question) as stream:
        await stream.content.readany()
        ending = asyncio.create_task(served.end(signal.SIGTERM))
        rest = await stream.content.read()

    assert rest.rstrip().endswith(b"data: [DONE]")
    assert await ending == 0
    assert "Traceback" not in served.text


async def test_second_gateway_on_the_same_data_is_refused_with_the_reason(
    serve: Callable[..., Served],
) -> None:
    """Two embedded stores on one directory would lose each other's writes."""
    first, second = serve(), serve()
    await first.start()

    with pytest.raises(AssertionError, match="directory"):
        await second.start(LLMPO_DATA_DIR=str(first.folder / "data"))
    assert "Traceback" not in second.text


async def test_port_in_use_is_said_before_anything_starts(serve: Callable[..., Served]) -> None:
    """The error names the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for options in ((), ("--workers", "2")):
            with pytest.raises(AssertionError, match=f"Cannot listen on 127.0.0.1:{port}"):
                await serve().start(*options, port=port)


async def _until_warm_is_promoted(gateway: Whole) -> None:
    for _ in range(1_000):
        answer = (await gateway.compare()).json
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        if len(texts) == 1:  # no longer compared
            break
        await gateway.feed(id=answer["id"], preferred=texts.index("I am warm."))
    await gateway.eventually(lambda: _only_warm_answers(gateway), "the promotion")


async def _only_warm_answers(gateway: Whole) -> bool:
    choices = (await gateway.ask()).json["choices"]
    return [choice["message"]["content"] for choice in choices] == ["I am warm."]


def _descendants(pid: int) -> Iterator[int]:
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, listing.read_text().split()):
            yield child
            yield from _descendants(child)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
