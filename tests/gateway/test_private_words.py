"""No word of a conversation leaves it: one gateway with all ways of collecting, and all that it tells."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any, Final

import aiohttp

from gateway.experiments.collecting import WAYS
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import Exchange, FakeUpstream, answer, body, status
from tests.gateway.judging.judges import answers_seen, judged_fields
from tests.gateway.process import Served
from tests.gateway.stored import everything
from tests.gateway.whole import JSON, Whole

BESIDE: Final = "beside"  # an experiment of users with a judge beside it
_RNG: Final = random.Random(11)


def _words(count: int) -> str:
    return " ".join("".join(_RNG.choices(string.ascii_lowercase, k=11)) for _ in range(count))


SAID: Final = {"plain": _words(30), "warm": _words(30)}
THOUGHT, QUESTION, CALLER, NOTE = _words(20), _words(20), _words(1), _words(5)
PRIVATE: Final = " ".join([*SAID.values(), THOUGHT, QUESTION, CALLER, NOTE]).split()


def _fields(api_base: str) -> dict[str, Any]:
    """One experiment of each way, and one of users with a judge beside it."""
    fields = judged_fields(api_base=api_base, promotion={"min_comparisons": 100_000})
    spec = fields["experiments"].pop(NAME)
    judge = spec.pop("judge")
    for way in WAYS:
        judged = {"judge": judge} if way == "shadow" else {}
        fields["experiments"][way] = {**spec, **judged, "traffic": {"share": 1.0, "collect": way}}
    fields["experiments"][BESIDE] = {
        **spec,
        "judge": {**judge, "share": 1.0},
        "traffic": {"share": 0.01, "collect": "matched"},
    }
    held = {"hold": "1h", "missing": {"no_feedback": "tie", "empty": "loss"}}
    fields["experiments"]["side_by_side"]["feedback"] = held
    return fields


async def _judge(exchange: Exchange) -> None:
    first, _ = answers_seen(exchange)
    await exchange.whole(body(exchange, f"{THOUGHT}\n{'A' if first == SAID['warm'] else 'B'}"))


async def _talk(gateway: Whole, name: str, *, stream: bool) -> list[str]:
    """Ask, ask again, go on from an edited answer, report with a comment; the ids of the answers."""
    own = {"user": CALLER, "metadata": {"note": NOTE, "trace_id": _words(1)}, "stream": stream}
    two = {"n": 2} if name == "side_by_side" else {}
    messages = [{"role": "user", "content": f"{QUESTION} {name} {stream}"}]
    ids = []
    for _ in range(2):
        reply = await gateway.ask(name, messages=messages, **own, **two)
        assert reply.status == 200, reply.body
        ids.append((reply.events[0] if stream else reply.json)["id"])
    kept = [*messages, {"role": "assistant", "content": SAID["warm"]}, {"role": "user", "content": QUESTION}]
    assert (await gateway.ask(name, messages=kept, **own, **two)).status == 200
    said = {"preferred": 0} if two else {"signal": "thumb", "value": True}
    for each in ids:
        await gateway.feed(id=each, comment=NOTE, idempotency_key=_words(1), **said)
    return ids


async def _errors(gateway: Whole, upstream: FakeUpstream, an_id: str) -> list[bytes]:
    """What callers and their reports are told who do something wrong, or whose provider fails and echoes."""
    asked = {"messages": [{"role": "user", "content": QUESTION}], "user": CALLER}
    replies = [
        await gateway.ask("matched", **{**asked, "stream": QUESTION}),
        await gateway.ask("matched", messages=QUESTION),
        await gateway.ask("none", **asked),
        await gateway.feed(id=an_id, signal="applause", value=True, comment=NOTE),
        await gateway.feed(id=an_id, signal="thumb", value=True, comment=NOTE, more=1),
    ]
    for model in SAID:
        upstream.on(model, status(500, message=QUESTION))
    replies += [await gateway.ask(name, **asked, n=1) for name in (*WAYS, BESIDE)]
    assert [number for number, reply in enumerate(replies) if reply.status < 400] == []
    return [reply.body for reply in replies]


async def test_no_word_of_a_conversation_is_anywhere_else(
    upstream: FakeUpstream, embedded_url: str, tmp_path: Path
) -> None:
    """Not in the store, a log line at `debug`, a metric, what administrators see, or an error."""
    for model, text in SAID.items():
        upstream.on(model, answer(text))
    upstream.on("judge", _judge)
    async with aiohttp.ClientSession(headers=JSON) as session:
        served = Served(tmp_path, _fields(upstream.api_base), session)
        try:
            gateway = await served.start(LLMPO_REDIS_URL=embedded_url, LLMPO_LOG_LEVEL="debug")
            for name in (*WAYS, BESIDE):
                await gateway.planned(name)
                for stream in (False, True):
                    last = (await _talk(gateway, name, stream=stream))[-1]
            for name in ("shadow", BESIDE):

                async def judged(name: str = name) -> bool:
                    found = (await gateway.experiment(name))["judge"]
                    return bool(found["compared"])

                await gateway.eventually(judged, f"a verdict in {name}")
            told = await _errors(gateway, upstream, last)
            pages = ["/metrics", "/v1/experiments", *(f"/v1/experiments/{name}" for name in (*WAYS, BESIDE))]
            pages += [
                f"/v1/experiments/{name}/{page}" for name in (*WAYS, BESIDE) for page in ("log", "events")
            ]
            told += [(await gateway.get(page)).body for page in pages]
            kept = await everything(embedded_url)
            told += [served.text.encode(), *kept.keys(), *kept.values()]
        finally:
            served.clean_up()

    assert any(b":turn:" in key for key in kept)
    assert any(b":judging" in key for key in kept)
    assert any(b":held" in key for key in kept)
    assert b"request_answered" in served.text.encode()
    assert [word for word in PRIVATE if any(word.encode() in each for each in told)] == []
