"""Experiments on matched signals: one policy answers, and the id knows which."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.config.values import PromptTemplate
from gateway.experiments.response_ids import Assignment, Unassigned
from policy_store.states import ExperimentState
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, raw, raw_stream
from tests.gateway.live import NOW, Live, entry, experiment, live_gateway, plan

POLICY_OF_SIDE = {0: ("alpha", "small"), 1: ("beta", "large")}


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_the_id_says_which_policy_answered(
    gateway: Live, upstream: FakeUpstream, is_streamed: bool
) -> None:
    """Opening the id gives the pair and the side whose model answered; both sides turn up."""
    sides = set()
    for _ in range(12):
        reply = await gateway.ask(stream=is_streamed)
        response_id = reply.events[0]["id"] if is_streamed else reply.json["id"]
        assignment = gateway.sealer.open(response_id)
        policy, model = POLICY_OF_SIDE[assignment.side]
        text = reply.said() if is_streamed else reply.text
        assert text.strip() == f"I am {model}."
        assert reply.headers["x-llmpo-policy"] == policy
        assert (assignment.experiment, assignment.generation, assignment.plan_version) == (NAME, 1, 3)
        assert assignment.expires_at == NOW + 3600
        sides.add(assignment.side)
    assert sides == {0, 1}


async def test_every_answer_is_its_own_unit(gateway: Live) -> None:
    """No two answers share a unit unless sessions are units, and the store is never asked."""
    units = {gateway.sealer.open((await gateway.ask()).json["id"]).unit for _ in range(5)}
    assert len(units) == 5
    assert gateway.observer.skipped == []  # as there would be, for there is none


async def test_only_id_and_model_change(gateway: Live, upstream: FakeUpstream) -> None:
    """All else of the provider's bytes arrives as it was sent, unknown fields included."""
    body = (
        b'{"choices": [{"index":0,"message":{"id":"call","model":"y"}}],\n'
        b'\t"model" : "z","odd":[1.10],"id":"chatcmpl-1"}'
    )
    upstream.on("small", raw(body))
    upstream.on("large", raw(body))
    reply = await gateway.ask()
    ours = reply.json["id"].encode()
    assert reply.body == body.replace(b'"chatcmpl-1"', b'"%b"' % ours).replace(b'"z"', b'"support"')


async def test_every_event_of_a_stream_is_relabelled(gateway: Live, upstream: FakeUpstream) -> None:
    """One id and the experiment's name throughout; choices and usage untouched; [DONE] at the end."""
    reply = await gateway.ask(stream=True, stream_options={"include_usage": True})
    assert {event["id"] for event in reply.events} == {reply.events[0]["id"]}
    assert {event["model"] for event in reply.events} == {NAME}
    assert reply.events[-1]["usage"]["total_tokens"] == 12
    assert reply.is_done


async def test_a_provider_that_changes_its_id_is_followed(gateway: Live, upstream: FakeUpstream) -> None:
    """Some send a first event with an empty id; later ones must not leak theirs."""
    parts = [
        b'data: {"id":"","model":"","choices":[]}\n\n',
        b'data: {"id":"chatcmpl-real","model":"real","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n',
        b'data: {"id":"chatcmpl-real","model":"real","choices":[{"index":0,"delta":{"content":"b"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"c"}}],"model":"real","id":"chatcmpl-real"}\n\n',
        b"data: [DONE]\n\n",
    ]
    upstream.on("small", raw_stream(*parts))
    upstream.on("large", raw_stream(*parts))
    reply = await gateway.ask(stream=True)
    assert b"real" not in reply.body
    assert len({event["id"] for event in reply.events}) == 1
    assert reply.said() == "abc"


async def test_the_policys_prompt_and_params_are_used(upstream: FakeUpstream) -> None:
    """The system prompt goes first, the policy's parameters win, metadata of the gateway stays here."""
    base = upstream.api_base
    live = experiment(
        base,
        {
            "alpha": {"model": "small", "system": "Be brief.", "params": {"temperature": 0.1}},
            "beta": {"model": "small", "system": "Be brief!"},
        },
        share=0.0,
    )
    async with live_gateway([live], [entry("small", base)]) as gateway:
        await gateway.ask(temperature=0.9, top_p=0.5, metadata={"tier": "gold"})
    (seen,) = upstream.seen
    assert seen.body == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
        "temperature": 0.1,
        "top_p": 0.5,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"share": 0.0},
        {"plan": plan(())},
        {"state": ExperimentState.PROMOTED},
        {"matches_store": False},
    ],
    ids=["outside the share", "no pairs to draw", "decided", "another definition in the store"],
)
async def test_otherwise_the_incumbent_answers_unassigned(gateway: Live, changes: dict[str, object]) -> None:
    """Feedback on such an answer gets the reply that it belongs to no comparison."""
    gateway.change(**changes)
    reply = await gateway.ask()
    assert reply.text == "I am small."
    assert gateway.sealer.open(reply.json["id"]) == Unassigned(NAME)


async def test_a_promotion_is_served_by_the_next_request(gateway: Live) -> None:
    """Swapping the snapshot is all it takes."""
    gateway.change(state=ExperimentState.PROMOTED, incumbent=1)
    assert (await gateway.ask()).text == "I am large."


async def test_the_share_is_kept(gateway: Live) -> None:
    """About the declared share of the requests takes part."""
    gateway.change(share=0.3)
    assigned = 0
    for _ in range(200):
        assigned += isinstance(gateway.sealer.open((await gateway.ask()).json["id"]), Assignment)
    assert 40 <= assigned <= 80


async def test_answers_and_tokens_are_counted_by_policy(gateway: Live, upstream: FakeUpstream) -> None:
    """Streamed and whole answers are counted with the role that the policy played."""
    gateway.change(share=0.0)
    await gateway.ask()
    await gateway.ask(stream=True, stream_options={"include_usage": True})
    assert gateway.observer.answered == [(NAME, "alpha", "incumbent")] * 2
    assert gateway.observer.tokens == [(NAME, "alpha", 5, 7)] * 2
    gateway.change(share=0.0, incumbent=1)
    await gateway.ask()
    assert gateway.observer.answered[-1] == (NAME, "beta", "incumbent")


async def test_a_template_that_fails_is_replaced_by_the_incumbent(upstream: FakeUpstream) -> None:
    """A request the template was not written for is still answered."""
    base = upstream.api_base
    live = experiment(base)
    broken = experiment(
        base,
        {
            "alpha": {"model": "small", "system": "x"},
            "beta": {"model": "large", "template": PromptTemplate("x.j2", "{{ metadata.name }}")},
        },
    )
    async with live_gateway(
        [replace(live, policies=broken.policies)], [entry("small", base), entry("large", base)], seed=1
    ) as gateway:
        texts = {(await gateway.ask()).text for _ in range(8)}
        assert texts == {"I am small."}
        assert (NAME, "template") in gateway.observer.fallbacks
        assert (NAME, "beta", "template") in gateway.observer.failed


@pytest.mark.parametrize(
    "asked",
    [
        {"prompt_logprobs": 0},
        {"return_token_ids": True},
        {"enable_response_messages": True},
        {"echo": True},
        {"debug": {"echo_upstream_body": True}},
    ],
    ids=lambda asked: next(iter(asked)),
)
async def test_a_policys_prompt_cannot_be_asked_for(
    gateway: Live, upstream: FakeUpstream, asked: dict[str, object]
) -> None:
    """Fields with which servers show what they were sent are refused by name; turned off, they pass."""
    reply = await gateway.ask(**asked)
    assert (reply.status, reply.json["error"]["param"]) == (400, next(iter(asked)))
    assert upstream.seen == []
    assert (await gateway.ask(**dict.fromkeys(asked, False))).status == 200
