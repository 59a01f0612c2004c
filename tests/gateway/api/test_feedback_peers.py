"""Feedback in the shapes of other products: on their clients' paths and on ours, counted once, told apart."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import pytest

from gateway.config.api_keys import hash_key
from policy_store.connect import connect
from policy_store.report_records import Receipt
from policy_store.scripting import Call, Scripts
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, quick_settings, whole_gateway

TRACE: Final = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT: Final = f"00-{TRACE}-b7ad6b7169203331-01"
OURS: Final = "/v1/feedback"
SIGNALS: Final = {"thumb": 1, "score": 1, "copied": 0.5, "resolved": 1}


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway called with the key `web`; every request takes part."""
    config = gateway_config(
        api_base=upstream.api_base,
        auth={"client_keys": [hash_key("web")], "admin_keys": [hash_key("ops")]},
        promotion={"min_comparisons": 10_000},
        feedback={"signals": SIGNALS},
    )
    async with whole_gateway(config, quick_settings(embedded_url), key="web") as found:
        yield found


async def answered(gateway: Whole, **sent: Any) -> str:
    """The id of an answer."""
    reply = await gateway.ask(**sent)
    assert reply.status == 200, reply.body
    return str(reply.json["id"])


def shapes(answer: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """A report on an answer in each shape, with the path of its clients."""
    return {
        "tensorzero": (
            "/feedback",
            {"inference_id": answer, "metric_name": "thumb", "value": True, "tags": {"user": "a"}},
        ),
        "langfuse": (
            "/api/public/scores",
            {"traceId": answer, "name": "thumb", "value": 1, "dataType": "BOOLEAN", "comment": "Good."},
        ),
        "helicone": (f"/v1/request/{answer}/feedback", {"rating": True}),
        "portkey": (OURS, {"trace_id": answer, "value": 5, "weight": 0.5, "metadata": {"_user": "a"}}),
    }


# What the clients of each product find in the answer.
TOLD: Final[Mapping[str, set[str]]] = {
    "tensorzero": {"feedback_id"},
    "langfuse": {"id"},
    "helicone": {"data", "error"},
    "portkey": {"status", "message", "feedback_ids"},
}


@pytest.mark.parametrize("product", TOLD)
async def test_a_report_of_another_product_counts_on_its_clients_path(gateway: Whole, product: str) -> None:
    """The report counts once, and the reply has the fields that those clients read."""
    path, body = shapes(await answered(gateway))[product]

    first, again = [await gateway.call("POST", path, body) for _ in range(2)]

    assert first.status == 200, first.body
    assert set(first.json) == TOLD[product] | {"llmpo"}
    assert first.json["llmpo"]["status"] == "pending"
    assert again.json["llmpo"]["status"] == "duplicate"
    assert {name: again.json[name] for name in TOLD[product] - {"message"}} == {
        name: first.json[name] for name in TOLD[product] - {"message"}
    }


@pytest.mark.parametrize("product", TOLD)
async def test_the_shapes_are_told_apart_on_our_own_path(gateway: Whole, product: str) -> None:
    """Each shape is recognised by a field that no other shape has."""
    answer = await answered(gateway)
    _, body = shapes(answer)[product]
    if product == "helicone":
        body = {"helicone-id": answer, **body}

    reply = await gateway.call("POST", OURS, body)

    assert reply.json["llmpo"]["status"] == "pending", reply.body


async def test_a_report_that_mixes_shapes_is_refused(gateway: Whole) -> None:
    """The meaning of a mixed report is not clear; the error names the field that does not belong."""
    answer = await answered(gateway)
    reply = await gateway.feed(
        id=answer, signal="thumb", metric_name="thumb", value=True, inference_id=answer
    )
    assert (reply.status, reply.code) == (400, "invalid_body")
    assert "'signal'" in reply.error["message"]


@pytest.mark.parametrize(
    ("body", "counts"),
    [
        ({"name": "thumb", "value": 0}, True),
        ({"name": "thumb", "value": "True", "dataType": "BOOLEAN"}, True),
        ({"name": "score", "value": 0.5, "dataType": "NUMERIC"}, True),
        ({"name": "resolved", "value": 1, "dataType": "BOOLEAN"}, True),
        ({"name": "thumb", "value": 0.5}, False),
        ({"name": "score", "value": "good", "dataType": "CATEGORICAL"}, False),
        ({"name": "unheard", "value": 1}, False),
    ],
)
async def test_a_score_counts_as_what_it_says(gateway: Whole, body: dict[str, Any], counts: bool) -> None:
    """1 and 0 are true and false where the signal takes those; categories cannot be compared."""
    reply = await gateway.call("POST", "/api/public/scores", {"traceId": await answered(gateway), **body})
    assert (reply.status == 200) is counts, reply.body
    assert counts or reply.status == 422


@pytest.mark.parametrize(
    "said",
    [
        {"metric_name": "comment", "value": "Too long."},
        {"metric_name": "demonstration", "value": "Better."},
        {"metric_name": "thumb", "value": False, "dryrun": True},
    ],
    ids=["comment", "demonstration", "dry run"],
)
async def test_what_says_nothing_is_not_counted(gateway: Whole, said: dict[str, Any]) -> None:
    """A comment and a dry run are in order, and the vote that follows counts."""
    answer = await answered(gateway)

    silent = await gateway.feed(inference_id=answer, **said)

    assert silent.json["llmpo"]["reason"] == "nothing_said", silent.body
    assert (await gateway.feed(id=answer, signal="thumb", value=True)).json["status"] == "pending"


async def test_a_value_without_weight_is_not_counted(gateway: Whole) -> None:
    """A weight of 0 says that the value says nothing."""
    reply = await gateway.feed(trace_id=await answered(gateway), value=-3, weight=0)
    assert reply.json["llmpo"]["reason"] == "nothing_said"


async def test_langfuse_libraries_send_scores_in_batches(gateway: Whole) -> None:
    """Scores are counted; what is no score is an error of its own; the key is the password."""
    answer = await answered(gateway)
    score = {"traceId": answer, "name": "thumb", "value": 1}
    batch = [
        {"id": "e1", "timestamp": "2026-01-01T00:00:00Z", "type": "score-create", "body": score},
        {"id": "e2", "timestamp": "2026-01-01T00:00:00Z", "type": "trace-create", "body": {"id": "t"}},
        "nonsense",
    ]
    headers = {"authorization": "Basic " + b64encode(b"pk-lf-1:web").decode()}

    reply = await gateway.call("POST", "/api/public/ingestion", {"batch": batch}, headers=headers)

    assert reply.status == 207, reply.body
    assert reply.json["successes"] == [{"id": "e1", "status": 201}]
    assert [error["id"] for error in reply.json["errors"]] == ["e2", ""]
    assert (await gateway.feed(id=answer, signal="thumb", value=True)).json["status"] == "duplicate"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-portkey-api-key": "web"},
        {"helicone-auth": "Bearer web"},
        {"authorization": "Basic " + b64encode(b"public:web").decode()},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_reports_show_the_key_as_their_clients_do(gateway: Whole, headers: dict[str, str]) -> None:
    """The key is taken from the product's header, and a wrong key is refused like any other."""
    answer, stranger = await answered(gateway), Whole(gateway.url, gateway.session)
    body = {"id": answer, "signal": "thumb", "value": True}
    assert (await stranger.call("POST", OURS, body, headers=headers)).json["status"] == "pending"
    for wrong in ("Basic !", "Basic " + b64encode(b"public:wrong").decode()):
        refused = await stranger.call("POST", OURS, body, headers={"authorization": wrong})
        assert (refused.status, refused.code) == (401, "invalid_api_key")


async def test_several_reports_come_in_one_request(gateway: Whole) -> None:
    """Each report may have any shape and gets its own result; a wrong report stops no other."""
    answers = [await answered(gateway) for _ in range(3)]
    reports = [
        {"id": answers[0], "signal": "thumb", "value": True},
        {"id": answers[1], "signal": "applause", "value": True},
        {"inference_id": answers[2], "metric_name": "thumb", "value": True},
        {"id": answers[0], "signal": "thumb", "value": True},
        None,
    ]

    reply = await gateway.feed(reports=reports)

    assert reply.status == 200, reply.body
    first, wrong, third, again, none = reply.json["results"]
    assert first["status"] == "pending"
    assert wrong["error"]["code"] == "unknown_signal"
    assert third["llmpo"]["status"] in {"pending", "counted"}
    assert again["status"] == "duplicate"
    assert none["error"]["code"] == "invalid_body"


@pytest.mark.parametrize("reports", [[], [{}] * 101, {}, None], ids=["none", "too many", "object", "null"])
async def test_a_batch_is_a_list_of_one_to_a_hundred(gateway: Whole, reports: Any) -> None:
    """Anything else is refused as a whole."""
    reply = await gateway.feed(reports=reports)
    assert (reply.status, reply.code) == (400, "invalid_body")


async def test_reports_of_a_batch_on_one_answer_keep_their_order(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """The last word stands, although reports of a batch travel together, and nothing is counted twice."""
    feedback = {"changed_mind": "replace"}
    config = gateway_config(api_base=upstream.api_base, feedback=feedback)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        named = await answered(gateway)
        said = [(named, True), (named, False), (named, False), (named, True), (None, True), (named, False)]
        reports = [{"id": name, "signal": "thumb", "value": value} for name, value in said]
        results = (await gateway.feed(reports=reports)).json["results"]
        last = await gateway.feed(id=named, signal="thumb", value=False)
    found = [each.get("status") for each in results]
    assert found == ["pending", "replaced", "duplicate", "replaced", None, "replaced"]
    assert last.json["status"] == "duplicate"


async def test_a_batch_of_a_hundred_takes_a_few_trips_to_the_store(
    gateway: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each report is answered for itself, and in its place."""
    trips: list[int] = []
    together = Scripts.run_together

    async def counted(scripts: Scripts, calls: Sequence[Call]) -> list[Any]:
        trips.append(len(calls))
        return await together(scripts, calls)

    monkeypatch.setattr(Scripts, "run_together", counted)
    named = await answered(gateway)
    reports = [{"id": named, "signal": "thumb", "value": True}, *([{"id": "x"}] * 3)]
    units = [await answered(gateway) for _ in range(40)]
    reports += [{"id": each, "signal": "thumb", "value": True} for each in units]
    results = (await gateway.feed(reports=reports)).json["results"]
    assert ["error" in each for each in results] == [False, *([True] * 3), *([False] * 40)]
    assert sum(trips) == 41
    assert len(trips) <= 4


async def test_each_report_of_a_batch_counts_against_the_keys_limit(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """A key cannot vote faster in batches; what was counted before the limit stays counted."""
    auth = {"keys": {"slow": {"hash": hash_key("slow"), "limits": {"requests_per_minute": 4}}}}
    config = gateway_config(api_base=upstream.api_base, auth=auth)
    async with whole_gateway(config, quick_settings(embedded_url), key="slow") as gateway:
        answers = [await answered(gateway) for _ in range(2)]
        reports = [{"id": answer, "signal": "thumb", "value": True} for answer in (*answers, *answers)]
        reply = await gateway.feed(reports=reports)
        assert (reply.status, reply.code) == (429, "rate_limit_exceeded")
        counts = await embedded_store.counts(NAME, 1)
        assert sum(map(sum, counts.waiting.values())) + 2 * counts.comparisons == 2


NAMED: Final[Mapping[str, tuple[dict[str, str], dict[str, Any], str]]] = {
    "the body's trace": ({}, {"metadata": {"trace_id": "conversation-7/turn 3"}}, "conversation-7/turn 3"),
    "a traceparent": ({"traceparent": TRACEPARENT}, {}, TRACE),
    "a traceparent, whole": ({"traceparent": TRACEPARENT}, {}, TRACEPARENT),
    "Portkey's header": ({"x-portkey-trace-id": "order-17"}, {}, "order-17"),
    "Helicone's header": ({"helicone-request-id": "7f2a"}, {}, "7f2a"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("how", NAMED)
async def test_an_answer_is_named_by_the_callers_trace(gateway: Whole, how: str, stream: bool) -> None:
    """A caller that knows nothing else can vote; with the response's own id it is the same vote."""
    headers, fields, named = NAMED[how]
    reply = await gateway.ask(headers=headers, stream=stream, **fields)

    first = await gateway.feed(trace_id=named, signal="thumb", value=True)

    assert first.json["status"] == "pending", first.body
    own = reply.headers["x-llmpo-response-id"]
    assert (await gateway.feed(id=own, signal="thumb", value=True)).json["status"] == "duplicate"
    changed = await gateway.feed(id=named, signal="thumb", value=False)
    assert (changed.status, changed.code) == (422, "contradicting")


async def test_a_trace_with_several_answers_names_none(gateway: Whole) -> None:
    """A vote for the wrong answer is worse than none."""
    for _ in range(2):
        await gateway.ask(headers={"traceparent": TRACEPARENT})
    reply = await gateway.feed(id=TRACE, signal="thumb", value=True)
    assert (reply.status, reply.code) == (422, "ambiguous_id")


async def test_a_trace_of_another_key_names_nothing(upstream: FakeUpstream, embedded_url: str) -> None:
    """Only the key that got the answer may report by its trace, as with the response's id."""
    keys = {name: {"hash": hash_key(name)} for name in ("web", "app")}
    config = gateway_config(api_base=upstream.api_base, auth={"keys": keys})
    async with whole_gateway(config, quick_settings(embedded_url), key="web") as gateway:
        await gateway.ask(headers={"traceparent": TRACEPARENT})
        headers = {"authorization": "Bearer app"}
        body = {"trace_id": TRACE, "signal": "thumb", "value": True}
        reply = await gateway.call("POST", OURS, body, headers=headers)
        assert (reply.status, reply.code) == (404, "foreign_id")


async def test_the_store_holds_no_name_of_a_trace(gateway: Whole, embedded_url: str) -> None:
    """The store has only a keyed hash of a trace, and only as long as feedback on the answer counts."""
    await gateway.ask(headers={"traceparent": TRACEPARENT}, metadata={"trace_id": "my-own-trace"})
    await gateway.feed(id="my-own-trace", signal="thumb", value=True)
    redis = connect(embedded_url)
    keys = [key async for key in redis.scan_iter("llmpo:answer:*")]
    lives = [await redis.ttl(key) for key in keys]
    await redis.aclose()
    assert len(keys) == 4  # two names, each for the key and for administrators
    assert not any(TRACE in key or "my-own" in key for key in keys)
    assert all(0 < seconds <= 24 * 3600 for seconds in lives)


async def test_a_vote_may_come_before_the_answer_has_ended(gateway: Whole, upstream: FakeUpstream) -> None:
    """The id is in the headers and the first chunk; the rest of the stream goes on."""
    body = {"model": NAME, "stream": True, "messages": [{"role": "user", "content": "Hello?"}]}
    headers = {"authorization": "Bearer web", "content-type": "application/json", "traceparent": TRACEPARENT}
    async with gateway.session.post(
        f"{gateway.url}/v1/chat/completions", json=body, headers=headers
    ) as answer:
        told = await gateway.feed(trace_id=TRACE, signal="thumb", value=True)
        rest = await answer.read()
    assert told.json["status"] == "pending", told.body
    assert rest.rstrip().endswith(b"[DONE]")


JUNK: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 0.5, 10**18, -(10**30), 1e300, "", "x", "true", "ü" * 600, [], {}, [1]),
    *({"a": {"b": []}}, "chatcmpl-", TRACEPARENT, "preferred", "thumb", "score"),
)
FIELDS: Final = (
    *("id", "request_id", "trace_id", "signal", "value", "preferred", "comment", "idempotency_key"),
    *("inference_id", "episode_id", "metric_name", "dryrun", "tags", "traceId", "name", "dataType"),
    *("rating", "helicone-id", "weight", "metadata", "reports", "batch", "expires_in"),
)
PATHS: Final = (
    *(OURS, "/feedback", "/v1/feedback/links", "/v1/feedback/link", "/v1/request/x/feedback"),
    *("/api/public/scores", "/api/public/ingestion"),
)


def nonsense(draws: random.Random) -> tuple[str, dict[str, Any]]:
    """A body of random fields on any of the paths; it names no answer there is."""
    path, body = draws.choice(list(shapes("chatcmpl-" + "A" * 40).values()))
    body = {**body, **{draws.choice(FIELDS): draws.choice(JUNK) for _ in range(draws.randint(1, 4))}}
    body.pop(draws.choice(FIELDS), None)
    if draws.random() < 0.2:
        body = {draws.choice(("reports", "batch")): [body, draws.choice(JUNK)]}
    return draws.choice((path, *PATHS)), body


def spoilt(draws: random.Random, answer: str) -> tuple[str, dict[str, Any]]:
    """A report on a real answer, wrong in one respect that must keep it from being counted."""
    path, body = draws.choice(list(shapes(answer).values()))
    said = "rating" if "rating" in body else "value"
    wrongs: list[dict[str, Any]] = [
        {said: draws.choice(["", "maybe", [], {}, [True], 11, -10.5])},
        {"preferred": draws.choice([0, "tie"])},
        {"signal": "thumb"},
    ]
    wrongs += [{name: "applause"} for name in ("metric_name", "name") if name in body]
    wrongs += [{name: answer + "A"} for name in ("inference_id", "traceId", "trace_id") if name in body]
    return path, {**body, **draws.choice(wrongs)}


async def _fuzzed(gateway: Whole, seed: int, bodies: int) -> None:
    draws = random.Random(seed)
    answer = await answered(gateway)
    for number in range(bodies):
        path, body = spoilt(draws, answer) if number % 2 else nonsense(draws)
        reply = await gateway.call("POST", path, body)
        assert reply.status < 500, (path, body, reply.body)
        assert not any(f'"{word}"'.encode() in reply.body for word in Receipt), (path, body, reply.body)
    assert (await gateway.feed(id=answer, signal="thumb", value=True)).json["status"] == "pending"


async def test_damaged_reports_are_refused_without_a_fault(gateway: Whole) -> None:
    """A damaged report of any shape on any path is no 5xx and is not counted, and the true vote still is."""
    await _fuzzed(gateway, seed=1, bodies=200)


@pytest.mark.long
async def test_thousands_of_damaged_reports_are_refused_without_a_fault(gateway: Whole) -> None:
    """Thousands of damaged reports cause no 5xx and are not counted."""
    await _fuzzed(gateway, seed=2, bodies=6000)
