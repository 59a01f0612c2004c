"""What answers without feedback come to, over HTTP: a failing candidate loses, silence counts as declared."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from gateway.config.feedback import Missing
from gateway.experiments.missing_answers import Lack, lack_of_pair
from gateway.learning.missing_outcomes import MOST_MISSING, MissingOutcomes
from policy_store.errors import StoreUnavailableError
from policy_store.log_records import Result
from policy_store.names import Names
from policy_store.report_records import MissingVerdict
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, config_fields, definition, gateway_config
from tests.gateway.fake_upstream import Behaviour, FakeUpstream, cut, raw, raw_stream, stall, status
from tests.gateway.process import Served
from tests.gateway.whole import JSON, Whole, quick_settings, whole_gateway

SIDE_BY_SIDE: Final[dict[str, Any]] = {"traffic": {"collect": "side_by_side"}}
HELD: Final = Names().experiment(NAME).generation(1).held


@asynccontextmanager
async def served(
    upstream: FakeUpstream, url: str, feedback: dict[str, Any], collect: str = "matched", **settings: Any
) -> AsyncIterator[Whole]:
    """A gateway whose experiment has a hold of an hour and decides after ten comparisons."""
    config = gateway_config(
        api_base=upstream.api_base,
        feedback={"hold": "1h", **feedback},
        traffic={"share": 1.0, "collect": collect},
    )
    settings = {"eject_after_failures": 1_000, **settings}
    async with whole_gateway(config, quick_settings(url, **settings)) as gateway:
        await gateway.planned()
        yield gateway


async def end_holds(store: PolicyStore) -> None:
    """All that is held is due now; the server's clock cannot be moved."""
    await store._redis.zunionstore(HELD, {HELD: 0.5})


async def held(gateway: Whole) -> int:
    """How many answers count later."""
    return int((await gateway.experiment())["reports_held"])


async def sources(gateway: Whole, store: PolicyStore) -> dict[str, int]:
    """Where the comparisons come from, once all that is held was counted."""
    await end_holds(store)

    async def all_counted() -> bool:
        return await held(gateway) == 0

    await gateway.eventually(all_counted, "all counted")
    return dict((await store.counts(NAME, 1)).by_source)


@pytest.mark.parametrize("failure", [status(500), status(400)], ids=["failing", "refusing"])
async def test_a_candidate_that_always_fails_loses_its_experiment(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore, failure: Behaviour
) -> None:
    """Users get the incumbent's answers, the failures count, and the experiment ends."""
    upstream.on("warm", failure)
    async with served(upstream, embedded_url, {}) as gateway:

        async def is_over() -> bool:
            for _ in range(8):
                reply = await gateway.ask()
                assert reply.text == "I am plain."
                await gateway.feed(id=reply.json["id"], signal="thumb", value=False)
            await end_holds(embedded_store)
            return (await gateway.experiment())["state"] != "running"

        await gateway.eventually(is_over, "a decision")
        found = await gateway.experiment()
        counted = await embedded_store.counts(NAME, 1)

    assert (found["leader"], found["incumbent"]) == ("plain", "plain")
    assert counted.wins[1][0] == 0
    assert any("missing.failure" in source for source in counted.by_source)


async def test_a_request_that_every_policy_refuses_is_no_policys_failure(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """If every policy refuses a request, the request is wrong."""
    for model in ("plain", "warm"):
        upstream.on(model, status(400))
    async with served(upstream, embedded_url, {}) as gateway:
        assert {(await gateway.ask()).status for _ in range(6)} == {400}
        assert await held(gateway) == 0


@pytest.mark.parametrize("verdict", ["loss", "tie", "ignore"])
async def test_silence_counts_as_declared(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore, verdict: str
) -> None:
    """An answer without feedback is held like a report, and a later report replaces the silence."""
    async with served(upstream, embedded_url, {"missing": {"no_feedback": verdict}}) as gateway:
        answers = [await gateway.ask() for _ in range(12)]
        told = [await gateway.feed(id=each.json["id"], signal="thumb", value=True) for each in answers[:4]]
        expected = 4 if verdict == "ignore" else 12

        async def all_held() -> bool:
            return await held(gateway) == expected

        await gateway.eventually(all_held, "what is missing noted")
        found = await sources(gateway, embedded_store)

    assert {reply.json["status"] for reply in told} == {"held"}
    assert any("missing.no_feedback" in source for source in found) is (verdict != "ignore")


async def test_a_policy_that_answers_too_late_loses(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """A timeout is declared apart from other failures."""
    upstream.on("warm", stall())
    rules = {"failure": "ignore", "timeout": "loss", "no_feedback": "tie"}
    async with served(upstream, embedded_url, {"missing": rules}, upstream_timeout_seconds=0.3) as gateway:
        for _ in range(6):
            await gateway.ask()
        found = await sources(gateway, embedded_store)
    assert any("missing.timeout" in source for source in found)


SHORT: Final[dict[str, dict[str, Any]]] = {
    "refusal": {"message": {"role": "assistant", "content": None, "refusal": "No."}, "finish_reason": "stop"},
    "empty": {"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"},
    "truncated": {"message": {"role": "assistant", "content": "I am"}, "finish_reason": "length"},
}


def falls_short(what: str, *, is_streamed: bool) -> Behaviour:
    """A provider whose answers lack this."""
    choice = {"index": 0, **SHORT[what]}
    chunk = {"index": 0, "delta": choice["message"], "finish_reason": choice["finish_reason"]}
    event = b"data: " + json.dumps({"id": "x", "object": "y", "choices": [chunk]}).encode() + b"\n\n"
    whole = raw(json.dumps({"id": "x", "choices": [choice]}).encode())
    return raw_stream(event, b"data: [DONE]\n\n") if is_streamed else whole


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("what", SHORT)
async def test_an_answer_that_falls_short_counts_as_declared(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore, what: str, is_streamed: bool
) -> None:
    """A refused, empty or truncated answer is a loss where the file says so, unless its user reports."""
    upstream.on("warm", falls_short(what, is_streamed=is_streamed))
    async with served(upstream, embedded_url, {"missing": {what: "loss", "no_feedback": "tie"}}) as gateway:
        for _ in range(10):
            assert (await gateway.ask(stream=is_streamed)).status == 200

        async def all_held() -> bool:
            return await held(gateway) == 10

        await gateway.eventually(all_held, "what is missing noted")
        found = await sources(gateway, embedded_store)
    warm = upstream.calls_of("warm")
    said = [source.removeprefix("matched:") for sources in found for source in sources.split(",")]
    assert 0 < warm < 10
    assert set(said) <= {f"missing.{what}", "missing.no_feedback"}
    assert f"missing.{what}" in said


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("what", SHORT)
async def test_of_two_answers_shown_the_one_that_falls_short_loses(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore, what: str, is_streamed: bool
) -> None:
    """Unless the user says which is better: that replaces what is missing."""
    upstream.on("warm", falls_short(what, is_streamed=is_streamed))
    async with served(upstream, embedded_url, {"missing": {what: "loss"}}, "side_by_side") as gateway:
        replies = [await gateway.compare(stream=is_streamed) for _ in range(4)]

        async def all_held() -> bool:
            return await held(gateway) == 4

        await gateway.eventually(all_held, "what is missing noted")
        reply = replies[0]
        shown = reply.events[0]["id"] if is_streamed else reply.json["id"]
        said = reply.said(0) if is_streamed else reply.text
        preferred = 1 if said == "I am plain." else 0
        assert (await gateway.feed(id=shown, preferred=preferred)).json["status"] == "held"
        found = await sources(gateway, embedded_store)
        wins = (await gateway.experiment())["wins"]
    assert found == {f"side_by_side:missing.{what}": 3, "side_by_side": 1}
    assert wins == [[0, 3], [1, 0]]


@pytest.mark.parametrize(
    ("behaviours", "rules", "expected"),
    [
        ({"warm": status(500)}, {"no_feedback": "tie"}, {"side_by_side:missing.failure": 4}),
        ({"warm": status(400)}, {"no_feedback": "tie"}, {"side_by_side:missing.failure": 4}),
        ({"warm": status(500)}, {"failure": "ignore", "no_feedback": "tie"}, {}),
        ({"warm": stall()}, {"failure": "ignore"}, {"side_by_side:missing.timeout": 4}),
        ({"warm": status(400), "plain": status(400)}, {"no_feedback": "tie"}, {}),
        ({}, {"no_feedback": "tie"}, {"side_by_side:missing.no_feedback": 4}),
        ({}, {"no_feedback": "loss"}, {"side_by_side:missing.no_feedback": 4}),
        ({}, {"failure": "loss"}, {}),
    ],
    ids=[
        *("failing", "refusing", "failure ignored", "too late", "an invalid request"),
        *("silence a tie", "silence a loss of both", "silence ignored"),
    ],
)
async def test_of_two_policies_asked_the_one_that_does_not_answer_loses(
    upstream: FakeUpstream,
    embedded_url: str,
    embedded_store: PolicyStore,
    behaviours: dict[str, Behaviour],
    rules: dict[str, str],
    expected: dict[str, int],
) -> None:
    """The caller gets the other answer; a request that is invalid, and what is not declared, do not count."""
    for model, behaviour in behaviours.items():
        upstream.on(model, behaviour)
    async with served(
        upstream, embedded_url, {"missing": rules}, "side_by_side", upstream_timeout_seconds=0.3
    ) as gateway:
        for _ in range(4):
            reply = await gateway.compare()
            assert reply.status == (400 if "plain" in behaviours else 200)

        async def noted() -> bool:
            return await held(gateway) == sum(expected.values())

        await gateway.eventually(noted, "what is missing noted")
        assert await sources(gateway, embedded_store) == expected
        experiment = await gateway.experiment()
    if behaviours:
        assert experiment["wins"] == [[0, sum(expected.values())], [0, 0]]
    else:
        assert experiment["ties"][0][1] == sum(expected.values())


async def test_what_is_missing_of_two_answers_counts_only_where_the_file_says_so(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """An experiment with a hold that names nothing is the same as before there were such rules."""
    upstream.on("warm", status(500))
    async with served(upstream, embedded_url, {}, "side_by_side") as gateway:
        for _ in range(4):
            assert (await gateway.compare()).status == 200
        assert await held(gateway) == 0
    assert "missing" not in definition(feedback={"hold": "1h"}, **SIDE_BY_SIDE).experiment.outcome_rules
    said = definition(feedback={"hold": "1h", "missing": {"empty": "loss"}}, **SIDE_BY_SIDE)
    assert '"missing":{"empty":"loss","failure":"loss","timeout":"loss"}' in said.experiment.outcome_rules


L, T = MissingVerdict.LOSS, MissingVerdict.TIE


@pytest.mark.parametrize(
    ("first", "second", "rules", "expected"),
    [
        (Missing.EMPTY, None, {Missing.EMPTY: L}, Lack(Missing.EMPTY, Result.LOSS)),
        (None, Missing.EMPTY, {Missing.EMPTY: L}, Lack(Missing.EMPTY, Result.WIN)),
        (Missing.EMPTY, None, {Missing.EMPTY: T}, Lack(Missing.EMPTY, Result.TIE)),
        (Missing.EMPTY, None, {Missing.REFUSAL: L}, None),
        (Missing.EMPTY, None, {Missing.NO_FEEDBACK: L}, Lack(Missing.NO_FEEDBACK, Result.TIE)),
        (Missing.EMPTY, Missing.EMPTY, {Missing.EMPTY: L}, Lack(Missing.EMPTY, Result.TIE)),
        (
            Missing.EMPTY,
            Missing.REFUSAL,
            {Missing.EMPTY: L, Missing.REFUSAL: L},
            Lack(Missing.EMPTY, Result.TIE),
        ),
        (Missing.EMPTY, Missing.REFUSAL, {Missing.REFUSAL: L}, Lack(Missing.REFUSAL, Result.WIN)),
        (
            Missing.EMPTY,
            Missing.REFUSAL,
            {Missing.EMPTY: L, Missing.REFUSAL: T},
            Lack(Missing.EMPTY, Result.TIE),
        ),
    ],
)
def test_what_two_answers_come_to(
    first: Missing | None,
    second: Missing | None,
    rules: dict[Missing, MissingVerdict],
    expected: Lack | None,
) -> None:
    """A loss is below an answer that lacks nothing and even with another loss; a tie is even with all."""
    assert lack_of_pair(rules, first, second, is_shown=True) == expected


async def test_a_stream_that_breaks_off_is_a_failure_of_its_policy(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """The caller has the first words and no answer; another stream that its caller left is no failure."""
    upstream.on("warm", cut(after=2))
    async with served(upstream, embedded_url, {}) as gateway:
        for _ in range(8):
            await gateway.ask(stream=True)
        broken = upstream.calls_of("warm")

        async def noted() -> bool:
            return await held(gateway) == broken

        await gateway.eventually(noted, "each failure noted")
    assert broken


async def test_an_ejected_policy_is_not_judged_by_what_it_was_not_asked(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """An outage counts as often as it was met, and not as often as it was avoided."""
    upstream.on("warm", status(500))
    async with served(upstream, embedded_url, {}, eject_after_failures=2) as gateway:
        for _ in range(30):
            await gateway.ask()
        asked = sum(seen.body["model"] == "warm" for seen in upstream.seen)

        async def noted() -> bool:
            return await held(gateway) == asked

        await gateway.eventually(noted, "each failure noted")
    assert asked < 10


async def test_without_a_hold_nothing_missing_counts(upstream: FakeUpstream, embedded_url: str) -> None:
    """Failures are known before any praise, and that would decide."""
    upstream.on("warm", status(500))
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        for _ in range(8):
            await gateway.ask()
        assert (await gateway.experiment())["reports_held"] == 0


@pytest.mark.parametrize("hold", [{}, {"hold": "1h"}], ids=["at once", "held"])
async def test_a_user_may_change_their_mind_where_declared(
    upstream: FakeUpstream, embedded_url: str, hold: dict[str, str]
) -> None:
    """A report may be corrected until it is compared; a late retry is known by its idempotency key."""
    feedback = {"changed_mind": "replace", **hold}
    config = gateway_config(
        api_base=upstream.api_base, feedback=feedback, promotion={"min_comparisons": 10_000}
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        named = (await gateway.ask()).json["id"]

        async def say(value: bool, key: str) -> str:
            body = {"id": named, "signal": "thumb", "value": value}
            reply = await gateway.call("POST", "/v1/feedback", body, headers={"idempotency-key": key})
            assert reply.status == 200, reply.body
            return str(reply.json.get("reason", reply.json["status"]))

        first = [await say(True, "a"), await say(False, "b"), await say(True, "a"), await say(False, "b")]
        assert first == ["held" if hold else "pending", "replaced", "duplicate", "duplicate"]
        if not hold:

            async def compared() -> bool:
                return bool((await gateway.thumb(good=True)).json["status"] == "counted")

            await gateway.eventually(compared, "a comparison")
            await gateway.eventually(lambda: _is_compared(gateway, named), "the answer compared")


async def _is_compared(gateway: Whole, named: str) -> bool:
    await gateway.thumb(good=True)
    reply = await gateway.feed(id=named, signal="thumb", value=True, idempotency_key="late")
    return bool(reply.json.get("reason") == "already_compared")


async def test_what_was_noted_survives_a_killed_gateway(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore, tmp_path: Path
) -> None:
    """Notes are in the store, and another process counts each answer once."""
    feedback = {"hold": "1h", "missing": {"no_feedback": "loss"}}
    fields = config_fields(api_base=upstream.api_base, feedback=feedback)
    async with aiohttp.ClientSession(headers=JSON) as session:
        killed = Served(tmp_path, fields, session)
        try:
            gateway = await killed.start(LLMPO_REDIS_URL=embedded_url, LLMPO_LEASE_SECONDS="1")
            for _ in range(7):
                await gateway.ask()

            async def all_noted() -> bool:
                return await held(gateway) == 7

            await gateway.eventually(all_noted, "what is missing noted")
            await killed.kill()
        finally:
            killed.clean_up()
    async with served(upstream, embedded_url, {"missing": {"no_feedback": "loss"}}) as again:
        assert await held(again) == 7
        compared = sum((await sources(again, embedded_store)).values())
        waiting = (await embedded_store.counts(NAME, 1)).waiting
    assert 2 * compared + sum(map(sum, waiting.values())) == 7


class Recorder:
    """A store that is away as long as a test says."""

    def __init__(self) -> None:
        self.is_away = True
        self.noted: list[Any] = []

    async def note_missing(self, *what: Any) -> None:
        """Take it, or not."""
        if self.is_away:
            raise StoreUnavailableError("away")
        self.noted.append(what)


async def test_what_is_missing_waits_for_a_store_that_is_away(upstream: FakeUpstream) -> None:
    """Missing outcomes wait in order in bounded memory, and each is written once."""
    recorder = Recorder()
    missing = MissingOutcomes(recorder)  # type: ignore[arg-type]
    live: Any = type("Live", (), {"name": NAME})
    for number in range(MOST_MISSING + 5):
        missing.note(number, live, Missing.FAILURE)  # type: ignore[arg-type]

    assert not await missing.write()
    recorder.is_away = False
    assert await missing.write()

    assert [number for number, _, _ in recorder.noted] == list(range(MOST_MISSING))
