"""Guardrails over HTTP: answers that fail, are refused or are rated badly, and what operators see of it."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.cli import main
from gateway.config.gateway_file import GatewayConfig
from gateway.proof.recorded import read_log
from gateway.proof.verification import UndecidedError, verify
from tests.gateway.building import NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream, answer, raw_stream, status
from tests.gateway.whole import Whole, quick_settings, whole_gateway

FAILS_OFTEN = [each for _ in range(300) for each in (status(500), answer())]
ERRORS = {"error_rate": {"worse_by": 0.01, "then": "eject"}}
OWN = {
    "toxicity": {"worse_by": 0.05, "then": "ask", "range": [0, 1]},
    "escalated": {"worse_by": "20%", "then": "pause", "range": "boolean"},
}
CLIENT, OTHER, ADMIN = (f"sk-{who}-{'0' * 32}" for who in ("client", "other", "admin"))


def config_of(upstream: FakeUpstream, guardrails: dict[str, Any], **changes: Any) -> Any:
    """One experiment with these guardrails, all of whose units are compared."""
    return gateway_config(api_base=upstream.api_base, guardrails=guardrails, **changes)


async def finding(gateway: Whole, guardrail: str) -> dict[str, Any]:
    """What the API shows of a guardrail."""
    shown = (await gateway.experiment())["guardrails"]
    return next(row for row in shown if row["guardrail"] == guardrail)


async def test_a_policy_that_fails_often_is_ejected_and_readmitted(
    upstream: FakeUpstream, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every surface says so, both replicas keep to it, and a person lets the policy answer again."""
    upstream.on("warm", *FAILS_OFTEN)
    config, settings = config_of(upstream, ERRORS), quick_settings(embedded_url)
    async with whole_gateway(config, settings) as one, whole_gateway(config, settings, seed=8) as other:

        async def is_ejected() -> bool:
            for _ in range(10):
                assert (await one.ask()).status == 200  # the incumbent answers for whoever fails
                await other.ask()
            return (await finding(one, "error_rate"))["did"] == "ejected"

        await one.eventually(is_ejected, "an ejected policy")
        found = await finding(other, "error_rate")
        assert (found["policy"], found["compared_with"], found["finding"]) == ("warm", "plain", "worse")
        assert found["number"] > found["usual"] == 0
        labels = {"experiment": NAME, "guardrail": "error_rate", "policy": "warm"}
        assert await other.metric("llmpo_guardrail_tripped", **labels, did="ejected") == 1
        nats, needed = [
            await one.metric(f"llmpo_guardrail_evidence_{what}", **labels) for what in ("nats", "needed_nats")
        ]
        assert nats >= needed
        event = (await one.experiment())["events"][-1]
        assert (event["kind"], event["detail"]["policy"], event["detail"]["reference"]) == (
            "guardrail_tripped",
            "warm",
            "plain",
        )
        assert "readmit" in (await one.experiment())["may"]

        await asyncio.sleep(0.1)  # more than the time between two refreshes of a replica
        calls = upstream.calls_of("warm")
        texts = {(await replica.ask()).text for _ in range(20) for replica in (one, other)}
        assert (texts, upstream.calls_of("warm")) == ({"I am plain."}, calls)

        assert await asyncio.to_thread(main, ["experiments", "show", NAME, "--url", other.url]) == 0
        assert "worse, ejected" in " ".join(capsys.readouterr().out.split())
        with pytest.raises(UndecidedError):  # nothing differs, and nothing is decided
            verify(read_log((await one.get(f"/v1/experiments/{NAME}/log")).body.splitlines()))

        upstream.on("warm", answer())
        words = ["experiments", "readmit", NAME, "--policy", "warm", "--reason", "fixed", "--url", one.url]
        assert await asyncio.to_thread(main, words) == 0

        async def answers_again() -> bool:
            return (await other.ask()).text == "I am warm."

        await other.eventually(answers_again, "warm answering again")
        assert (await finding(one, "error_rate"))["did"] is None
        assert (await other.experiment())["events"][-1]["detail"]["reason"] == "fixed"


async def test_answers_that_providers_mark_as_refused_are_measured(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Streamed and whole; a text that only speaks of refusals is none."""
    marked = b'data: {"choices":[{"index":0,"delta":{"refusal":"I cannot."},"finish_reason":null}]}\n\n'
    upstream.on("warm", raw_stream(marked, b"data: [DONE]\n\n"))
    upstream.on("plain", answer(text='He said {"refusal": "no", "finish_reason": "content_filter"}'))
    guardrails = {"refusal_rate": {"worse_by": 0.05, "then": "pause"}}
    async with whole_gateway(config_of(upstream, guardrails), quick_settings(embedded_url)) as gateway:

        async def is_paused() -> bool:
            await gateway.ask(stream=True)
            return (await gateway.experiment())["state"] == "paused"

        await gateway.eventually(is_paused, "a pause")
        found = await finding(gateway, "refusal_rate")
        assert (found["number"], found["usual"], found["did"]) == (1.0, 0.0, "paused")
        told = (await gateway.experiment())["by_hand"]["detail"]
        assert told["actor"] == "guardrail"
        assert told["reason"].startswith("refusal_rate: warm is worse than plain: 1 on average against 0 in ")


async def rate(gateway: Whole, **metric: Any) -> tuple[int, dict[str, Any]]:
    """Post a number; status and body."""
    reply = await gateway.call("POST", f"/v1/experiments/{NAME}/metrics", metric)
    return reply.status, reply.json


async def test_posted_metrics_are_counted_once_and_act(upstream: FakeUpstream, embedded_url: str) -> None:
    """The caller never learns which policy it rates; a signal pauses, and resuming is the answer."""
    async with whole_gateway(config_of(upstream, OWN), quick_settings(embedded_url)) as gateway:
        answered = (await gateway.ask()).json["id"]
        posted = {"id": answered, "metric": "toxicity", "value": 0.25}
        assert (await rate(gateway, **posted))[1]["status"] == "counted"
        assert (await rate(gateway, **posted))[1]["status"] == "duplicate"
        code, refused = await rate(gateway, **{**posted, "value": 0.5})
        assert (code, refused["error"]["code"]) == (422, "contradicting")
        assert "plain" not in str(refused)
        assert "warm" not in str(refused)

        became: list[tuple[str, ...]] = []

        async def is_paused() -> bool:
            reply = (await gateway.ask()).json
            is_warm = reply["choices"][0]["message"]["content"] == "I am warm."
            batch = [
                {"id": reply["id"], "metric": "toxicity", "value": 0.9 if is_warm else 0.1},
                {"id": reply["id"], "metric": "escalated", "value": False},
                {"id": reply["id"], "metric": "unheard", "value": 1},
            ]
            results = (await rate(gateway, metrics=batch))[1]["results"]
            became.append(tuple(each["status"] for each in results[:2]))
            assert results[2]["error"]["code"] == "unknown_metric"
            return (await gateway.experiment())["state"] == "paused"

        await gateway.eventually(is_paused, "a pause")
        while became[-1] == ("not_counted", "not_counted"):  # answers given in the pause
            became.pop()
        assert set(became) == {("counted", "counted")}
        assert (await finding(gateway, "toxicity"))["did"] == "asked"
        resume = await gateway.call("POST", f"/v1/experiments/{NAME}/resume", {"reason": "we know"})
        assert resume.json["state"] == "running"
        assert (await finding(gateway, "toxicity"))["did"] is None
        assert (await finding(gateway, "toxicity"))["pairs"] == 0


@pytest.mark.parametrize(
    ("posted", "code", "says"),
    [
        ({"metric": "toxicity", "value": 2}, 422, "from 0 to 1"),
        ({"metric": "toxicity", "value": True}, 422, "must be a number"),
        ({"metric": "escalated", "value": 1}, 422, "must be true or false"),
        ({"metric": "toxicity", "value": "high"}, 400, '"value" must be true, false or a finite number'),
        ({"metric": "toxicity"}, 400, '"value" is missing'),
        ({"metric": "toxicity", "value": 1, "choice": 0}, 422, "showed one answer"),
        ({"metric": "error_rate", "value": 1}, 422, "measures this metric itself"),
        ({"metric": "nonsense", "value": 1}, 422, "Declared: escalated, toxicity."),
        ({"metric": "toxicity", "value": 1, "id": "resp_made_up"}, 400, ""),
        (
            {"metric": "toxicity", "value": 1, "values": 1},
            400,
            "Unknown field 'values'. Did you mean 'value'?",
        ),
        ({"metrics": []}, 400, "list of 1 to 100"),
    ],
)
async def test_posting_nonsense_says_what_is_wrong(
    upstream: FakeUpstream, embedded_url: str, posted: dict[str, Any], code: int, says: str
) -> None:
    """In OpenAI's form, with the field at fault, and nothing is changed."""
    async with whole_gateway(config_of(upstream, {**OWN, **ERRORS}), quick_settings(embedded_url)) as gateway:
        answered = (await gateway.ask()).json["id"]
        said = posted if "metrics" in posted else {"id": answered, **posted}
        reply = await gateway.call("POST", f"/v1/experiments/{NAME}/metrics", said)
        assert reply.status == code, reply.body
        assert reply.code
        assert says in reply.error["message"]
        assert (await gateway.call("POST", "/v1/experiments/other/metrics", said)).status == 404


async def test_only_the_key_that_got_an_answer_posts_about_it(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """As with feedback: other client keys get a 404, and answers outside of comparisons do not count."""
    settings = quick_settings(embedded_url, client_keys=f"{CLIENT},{OTHER}", admin_keys=ADMIN)
    config = config_of(upstream, OWN, traffic={"share": 0.5, "collect": "matched"})
    async with whole_gateway(config, settings, key=CLIENT) as gateway:
        bearer = {"authorization": f"Bearer {OTHER}"}
        seen = set()
        for _ in range(20):
            said = {"id": (await gateway.ask()).json["id"], "metric": "toxicity", "value": 0}
            path = f"/v1/experiments/{NAME}/metrics"
            foreign = await gateway.call("POST", path, said, headers=bearer)
            assert (foreign.status, foreign.code) == (404, "foreign_id")
            seen.add((await gateway.call("POST", path, said)).json.get("reason", "counted"))
        assert seen == {"counted", "unassigned_id"}
        assert (await gateway.call("POST", path, said, headers={"authorization": "Bearer x"})).status == 401


async def test_a_guardrail_on_costs_without_prices_is_warned_about(
    upstream: FakeUpstream, embedded_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would never find anything, so the log, the check of the file and the experiment's page say so."""
    guardrails = {"cost": {"worse_by": "25%", "then": "ask", "up_to": 0.05}}
    fields = config_fields(api_base=upstream.api_base, guardrails=guardrails)
    priced = fields["model_list"][0]["litellm_params"]
    priced.update(input_cost_per_token=1e-6, output_cost_per_token=1e-6)
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(fields))
    with capture_logs() as lines:
        config = GatewayConfig.model_validate(fields)
        async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
            await gateway.planned()
            (row,) = (await gateway.experiment())["guardrails"]
    assert row["unpriced"] == ["warm"]
    (warned,) = [line for line in lines if line["event"] == "guardrail_without_prices"]
    assert (warned["experiment"], warned["models"]) == (NAME, ["warm"])

    assert await asyncio.to_thread(main, ["config", "check", str(file)]) == 0
    assert f"warning: experiment {NAME}: its guardrail on cost measures no answer of warm" in (
        capsys.readouterr().err
    )


async def test_an_experiment_without_guardrails_shows_and_stores_none(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Nothing is counted for it, and posting says that it declares none."""
    async with whole_gateway(config_of(upstream, {}), quick_settings(embedded_url)) as gateway:
        answered = (await gateway.ask()).json["id"]
        code, refused = await rate(gateway, id=answered, metric="toxicity", value=0.5)
        assert (code, refused["error"]["code"]) == (422, "unknown_metric")
        assert "declares none" in refused["error"]["message"]
        assert (await gateway.experiment())["guardrails"] == []
        await gateway.eventually(partial(_is_silent, gateway), "no series of guardrails")


async def _is_silent(gateway: Whole) -> bool:
    text = (await gateway.get("/metrics")).body.decode()
    return "llmpo_guardrail_pairs{" not in text
