"""Another configuration while requests run: real workers behind one port, real signals, no request fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gateway.config.api_keys import hash_key
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import Exchange, FakeUpstream, answer, chunk
from tests.gateway.process import Served
from tests.gateway.whole import CHAT, QUESTION, Whole
from tests.servers import free_port


def configured(upstream: FakeUpstream, **changes: Any) -> dict[str, Any]:
    """A file in which `plain` serves and nothing is compared."""
    return config_fields(
        api_base=upstream.api_base, **{"traffic": {"share": 0.0, "collect": "matched"}, **changes}
    )


async def said(gateway: Whole, model: str = "support") -> tuple[int, str]:
    """Status and text of an answer, over a connection of its own: the kernel spreads those over workers."""
    question = {"model": model, **QUESTION}
    async with gateway.session.post(
        gateway.url + CHAT, json=question, headers={"connection": "close"}
    ) as reply:
        body = await reply.json()
    return reply.status, body["choices"][0]["message"]["content"] if reply.status == 200 else ""


class Traffic:
    """Requests all the time, from a few callers at once."""

    def __init__(self, gateway: Whole) -> None:
        self._gateway = gateway
        self.replies: list[tuple[int, str]] = []
        self._callers = [asyncio.create_task(self._ask()) for _ in range(4)]

    async def _ask(self) -> None:
        while True:
            self.replies.append(await said(self._gateway))
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        """No more requests."""
        for caller in self._callers:
            caller.cancel()
            with suppress(asyncio.CancelledError):
                await caller


FILES = ({"incumbent": "warm"}, {"incumbent": "plain"})


async def _after_reload(
    served: Served, gateway: Whole, upstream: FakeUpstream, way: str, change: dict[str, Any]
) -> set[tuple[int, str]]:
    """What all workers say once they have the file with this change, by a signal or a request."""
    fields = configured(upstream)
    fields["experiments"]["support"] |= change
    del fields["model_list"][0]["litellm_params"]["api_key"]
    served.write(fields)
    workers = sum(line["event"] == "worker_ready" for line in served.events) or 1
    if way == "signal":
        served.hang_up()
        await served.eventually(lambda: served.has_told("config_reloaded", workers), "all reloaded")
    else:
        reply = await gateway.call("POST", "/v1/config/reload")
        assert reply.status == 200, reply.body
        assert [one["state"] for one in reply.json["replicas"]] == ["current"] * workers
    return {await said(gateway) for _ in range(12)}


@pytest.mark.parametrize(
    ("options", "ways"), [((), ["signal"]), (("--workers", "2"), ["signal", "request"])], ids=["one", "two"]
)
async def test_requests_run_throughout_reloads_and_all_workers_swap(
    serve: Callable[..., Served], upstream: FakeUpstream, options: tuple[str, ...], ways: list[str]
) -> None:
    """No request fails, a stream begun before ends whole, and every worker answers by the newest file."""
    may_end = asyncio.Event()

    async def slowly(exchange: Exchange) -> None:
        if not exchange.is_stream:
            await answer("old")(exchange)
            return
        await exchange.begin()
        await exchange.send(chunk(exchange, {"content": "old"}))
        await may_end.wait()
        await exchange.send(chunk(exchange, {"content": " still"}) + chunk(exchange, {}, choices=[]))
        await exchange.send(b"data: [DONE]\n\n")
        await exchange.end()

    upstream.on("plain", slowly)
    upstream.on("warm", answer("new"))
    served = serve()
    served.write(configured(upstream))
    gateway = await served.start(*options, port=free_port())
    await served.eventually(lambda: served.has_told("worker_ready", 2) or not options, "all workers ready")
    traffic = Traffic(gateway)
    async with gateway.session.post(
        gateway.url + CHAT, json={"model": "support", **QUESTION, "stream": True}
    ) as stream:
        assert b"old" in await stream.content.readany()

        swapped = [
            await _after_reload(served, gateway, upstream, *change)
            for change in zip(ways, FILES, strict=False)
        ]
        may_end.set()
        rest = await stream.content.read()
    await traffic.end()

    assert swapped == [{(200, "new")}, {(200, "old")}][: len(ways)]
    assert set(traffic.replies) <= {(200, "old"), (200, "new")}
    assert b" still" in rest
    assert rest.endswith(b"data: [DONE]\n\n")


async def test_a_file_with_faults_changes_nothing(
    serve: Callable[..., Served], upstream: FakeUpstream
) -> None:
    """Every fault is in the log and in the answer; what was in force answers on, in every worker."""
    served = serve()
    served.write(configured(upstream))
    gateway = await served.start("--workers", "2", port=free_port())
    await served.eventually(lambda: served.has_told("worker_ready", 2), "both workers ready")
    faulty = configured(upstream, delta=1.5, colour="red")

    served.write(faulty)
    reply = await gateway.call("POST", "/v1/config/reload")
    served.hang_up()
    await served.eventually(
        lambda: served.has_told("config_not_reloaded", 3), "both to refuse the signal's reload"
    )

    assert (reply.status, reply.code) == (422, "invalid_configuration")
    told = [line["faults"] for line in served.events if line["event"] == "config_not_reloaded"]
    for path in ("experiments.support.colour", "experiments.support.delta"):
        assert path in reply.error["message"]
        assert all(path in str(faults) for faults in told)
    assert {await said(gateway) for _ in range(6)} == {(200, "I am plain.")}


async def test_a_worker_that_starts_during_a_reload_is_not_ended_by_its_signal(
    serve: Callable[..., Served], upstream: FakeUpstream
) -> None:
    """The signal waits until the worker can follow it."""
    served = serve()
    served.write(configured(upstream))
    await served.start("--workers", "2", port=free_port())
    served.hang_up()  # one of them may not be ready yet
    await served.eventually(lambda: served.has_told("worker_ready", 2), "both workers ready")
    await served.eventually(lambda: served.has_told("config_unchanged", 2), "both followed")

    assert not served.has_told("worker_died")


async def test_workers_follow_without_the_store(serve: Callable[..., Served], upstream: FakeUpstream) -> None:
    """The supervisor passes the word on, where no store can."""
    served = serve()
    served.write(configured(upstream))
    gateway = await served.start(
        "--workers", "2", port=free_port(), LLMPO_REDIS_URL=f"redis://127.0.0.1:{free_port()}"
    )
    await served.eventually(lambda: served.has_told("worker_ready", 2), "both workers ready")
    fields = configured(upstream)
    fields["experiments"]["support"]["incumbent"] = "warm"

    served.write(fields)
    reply = await gateway.call("POST", "/v1/config/reload")

    assert (reply.status, reply.json["replicas"]) == (200, None)
    await served.eventually(lambda: _all_say(gateway, "I am warm."), "both workers to swap")


async def test_keys_and_provider_secrets_rotate_in_files(
    serve: Callable[..., Served], upstream: FakeUpstream
) -> None:
    """What is mounted as a file is read anew: a former key is refused, the new provider key is sent."""
    served = serve()
    mounted = Mounted(served.folder)
    mounted.put(app=hash_key("former") + "\n", provider="sk-one")
    ops = {"hash": hash_key("ops"), "role": "admin"}
    fields = configured(upstream, auth={"keys": {"app": {"hash": "os.environ/APP"}, "ops": ops}})
    fields["model_list"][0]["litellm_params"]["api_key"] = "os.environ/PROVIDER"
    served.write(fields)
    gateway = await served.start(
        "--workers",
        "2",
        port=free_port(),
        APP_FILE=str(mounted.now / "app"),
        PROVIDER_FILE=str(mounted.now / "provider"),
        LLMPO_WATCH_CONFIG_SECONDS="0.05",
    )
    await served.eventually(lambda: served.has_told("worker_ready", 2), "both workers ready")
    former, latter = Caller(gateway, "former"), Caller(gateway, "latter")
    assert await former.status() == 200
    assert upstream.seen[-1].headers["authorization"] == "Bearer sk-one"

    mounted.put(app=hash_key("latter"), provider="sk-two")

    await served.eventually(lambda: served.has_told("config_reloaded", 2), "both workers to notice")
    assert {await former.status() for _ in range(6)} == {401}
    assert {await latter.status() for _ in range(6)} == {200}
    assert upstream.seen[-1].headers["authorization"] == "Bearer sk-two"
    told = [line for line in served.events if line["event"] == "config_reloaded"][-1]
    assert (told["changed"], told["rotated"]) == (["key app"], ["plain"])
    assert "sk-two" not in served.text


class Mounted:
    """Files that change together, as Kubernetes mounts a secret: a link that is moved to another folder.

    Attributes:
        now: The link.
    """

    def __init__(self, folder: Path) -> None:
        self.now = folder / "now"
        self._folder = folder
        self._changes = count()

    def put(self, **files: str) -> None:
        """Give all files other contents at once."""
        folder = self._folder / f"mounted-{next(self._changes)}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
        link = self._folder / "next"
        link.symlink_to(folder)
        link.replace(self.now)


class Caller:
    """Someone with a key, on a connection of its own each time."""

    def __init__(self, gateway: Whole, key: str) -> None:
        self._gateway = gateway
        self._headers = {"connection": "close", "authorization": f"Bearer {key}"}

    async def status(self) -> int:
        """Status of an answer."""
        question = {"model": "support", **QUESTION}
        async with self._gateway.session.post(
            self._gateway.url + CHAT, json=question, headers=self._headers
        ) as reply:
            await reply.read()
        return reply.status


async def _all_say(gateway: Whole, text: str) -> bool:
    return {await said(gateway) for _ in range(8)} == {(200, text)}
