"""What scripts and the console read: the promised shapes, for admins only."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest

from gateway.cli import main
from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.proof.recorded import read_log
from gateway.proof.verification import verify
from tests.gateway.building import NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.live import NO_STORE
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway

SIDE_BY_SIDE = {"share": 1.0, "collect": "side_by_side"}


async def test_list_shows_every_experiment(upstream: FakeUpstream, embedded_url: str) -> None:
    """Each entry has name, state, generation, incumbent, leader and comparisons, and no other keys."""
    config = gateway_config(api_base=upstream.api_base, traffic=SIDE_BY_SIDE)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        reply = await gateway.get("/v1/experiments")

    assert reply.json == {
        "data": [
            {
                "name": NAME,
                "state": "running",
                "generation": 1,
                "incumbent": "plain",
                "leader": "plain",
                "comparisons": 0,
            }
        ],
        "config_hash": gateway.app.catalogue.current.config_hash,
    }


@pytest.mark.parametrize("shown", ["full", "names"])
async def test_policies_are_shown_in_api_certificate_and_terminal(
    upstream: FakeUpstream, embedded_url: str, capsys: pytest.CaptureFixture[str], shown: str
) -> None:
    """What won stays known when the file has changed; `policies_shown: names` keeps prompts to itself."""
    fields = config_fields(
        api_base=upstream.api_base,
        traffic=SIDE_BY_SIDE,
        max_comparisons=1,
        promotion={"min_comparisons": 0},
    )
    fields["policies_shown"] = shown
    fields["experiments"][NAME]["policies"]["warm"] |= {"system": "Be warm.", "params": {"temperature": 1}}
    config = GatewayConfig.model_validate(fields)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)
        await eventually(partial(_is_decided, gateway), "the end")
        found = await gateway.experiment()
        log = (await gateway.get(f"/v1/experiments/{NAME}/log")).body.splitlines()
        assert await asyncio.to_thread(main, ["experiments", "show", NAME, "--url", gateway.url]) == 0
    printed = capsys.readouterr().out

    assert found["policy_details"] == found["certificate"]["policies"]
    warm = found["policy_details"][1]
    assert (warm["name"], len(warm["fingerprint"])) == ("warm", 64)
    if shown == "full":
        assert warm["content"]["system"] == "Be warm."
        assert "openai/warm, temperature 1.0" in printed
    else:
        assert warm["content"] is None
    assert ("Be warm." in printed) is (shown == "full")
    assert ("Be warm." in json.dumps(found)) is (shown == "full")
    assert verify(read_log(log)).is_confirmed


async def _is_decided(gateway: Whole) -> bool:
    return (await gateway.experiment())["certificate"] is not None


async def test_detail_has_the_promised_fields(upstream: FakeUpstream, embedded_url: str) -> None:
    """Scripts rely on these names and shapes."""
    config = gateway_config(
        api_base=upstream.api_base, policies=("a", "b", "c"), traffic=SIDE_BY_SIDE, delta=0.1, epsilon=0.03
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)
        found = await gateway.experiment()

    assert found["policies"] == ["a", "b", "c"]
    assert sum(map(sum, found["wins"])) == 1
    assert found["ties"] == [[0, 0, 0]] * 3
    assert [row["policy"] for row in found["evidence"]] == ["a", "b", "c"]
    assert all(set(row) == {"policy", "nats", "needed", "eliminated_at"} for row in found["evidence"])
    assert set(found["plan"]) == {
        "pairs",
        "probabilities",
        "version",
        "age_seconds",
        "expected_remaining",
        "expected_seconds",
    }
    assert all(pair == sorted(pair) and set(pair) <= {"a", "b", "c"} for pair in found["plan"]["pairs"])
    assert sum(found["plan"]["probabilities"]) == pytest.approx(1.0)
    assert found["plan"]["age_seconds"] >= 0
    assert found["certificate"] is None
    assert [event["kind"] for event in found["events"]] == ["started"]
    assert (found["delta"], found["epsilon"], found["collect"], found["share"]) == (
        0.1,
        0.03,
        "side_by_side",
        1.0,
    )
    assert (found["min_comparisons"], found["max_comparisons"]) == (10, None)
    assert found["started_at"] == found["events"][0]["at"]


async def test_log_streams_the_whole_story(upstream: FakeUpstream, embedded_url: str) -> None:
    """Each line is one JSON object: the experiment, then plans, comparisons and events in order."""
    config = gateway_config(api_base=upstream.api_base, traffic=SIDE_BY_SIDE)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        await gateway.feed(id=(await gateway.compare()).json["id"], preferred="tie")
        reply = await gateway.get(f"/v1/experiments/{NAME}/log")

    rows = [json.loads(line) for line in reply.body.splitlines()]
    assert reply.headers["content-type"].startswith("application/x-ndjson")
    assert (rows[0]["type"], rows[0]["name"], rows[0]["certificate"]) == ("experiment", NAME, None)
    assert [row["type"] for row in rows[1:4]] == ["event", "plan", "comparison"]
    assert rows[3]["result"] == "tie"


async def test_what_was_never_read_from_the_store_says_where_to_look(upstream: FakeUpstream) -> None:
    """The store may be away, or the gateway may not follow it; only /readyz knows."""
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, quick_settings(NO_STORE)) as gateway:
        reply = await gateway.get(f"/v1/experiments/{NAME}")

    assert reply.status == 503
    assert "/readyz" in reply.json["error"]["message"]


async def test_unknown_experiment_names_the_known_ones(upstream: FakeUpstream, embedded_url: str) -> None:
    """The error is a 404 that lists the known experiments."""
    async with whole_gateway(
        gateway_config(api_base=upstream.api_base), quick_settings(embedded_url)
    ) as gateway:
        for path in ("/v1/experiments/nothing", "/v1/experiments/nothing/log"):
            reply = await gateway.get(path)
            assert (reply.status, reply.code) == (404, "unknown_experiment")
            assert NAME in reply.json["error"]["message"]


async def test_models_lists_experiments_and_models(upstream: FakeUpstream, embedded_url: str) -> None:
    """The list has OpenAI's and Anthropic's fields, so any client can read it; an unknown model is a 404."""
    async with whole_gateway(
        gateway_config(api_base=upstream.api_base), quick_settings(embedded_url)
    ) as gateway:
        listed = (await gateway.get("/v1/models")).json
        one = (await gateway.get(f"/v1/models/{NAME}")).json
        none = await gateway.get("/v1/models/gpt-9")

    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == [NAME, "plain", "warm"]
    assert one == listed["data"][0]
    of_openai, of_anthropic = {"object", "created", "owned_by"}, {"type", "display_name", "created_at"}
    assert {"id"} | of_openai | of_anthropic <= set(one)
    assert (none.status, none.code) == (404, "model_not_found")


async def test_keys_decide_who_sees_what(upstream: FakeUpstream, embedded_url: str) -> None:
    """Clients call models and give feedback; experiments and numbers are for admins; health is for all."""
    config = gateway_config(
        api_base=upstream.api_base,
        auth={"client_keys": [hash_key("client")], "admin_keys": [hash_key("admin")]},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        seen = {
            key: [(await _with_key(gateway, key).get(path)).status for path in PATHS]
            for key in (None, "wrong", "client", "admin")
        }
        feedback = {
            key: (await _with_key(gateway, key).feed(id="x", preferred=0)).status
            for key in (None, "wrong", "client", "admin")
        }

    assert seen == {
        None: [401, 401, 401, 401, 401, 200, 200],
        "wrong": [401, 401, 401, 401, 401, 200, 200],
        "client": [403, 403, 403, 403, 200, 200, 200],
        "admin": [200, 200, 200, 200, 200, 200, 200],
    }
    assert feedback == {None: 401, "wrong": 401, "client": 400, "admin": 400}


PATHS = (
    "/v1/experiments",
    f"/v1/experiments/{NAME}",
    f"/v1/experiments/{NAME}/log",
    "/metrics",
    "/v1/models",
    "/healthz",
    "/readyz",
)


async def test_metrics_can_be_opened(upstream: FakeUpstream, embedded_url: str) -> None:
    """A Prometheus without a key can read the metrics if the operator allows it."""
    config = gateway_config(api_base=upstream.api_base, auth={"admin_keys": [hash_key("admin")]})
    async with whole_gateway(config, quick_settings(embedded_url, metrics_public=True)) as gateway:
        assert (await gateway.get("/metrics")).status == 200
        assert (await gateway.get("/v1/experiments")).status == 401


def _with_key(gateway: Whole, key: str | None) -> Whole:
    return Whole(gateway.url, gateway.session, key)


async def test_interface_describes_itself(upstream: FakeUpstream, embedded_url: str) -> None:
    """The OpenAPI document names the control plane's paths and what feedback may say."""
    async with whole_gateway(
        gateway_config(api_base=upstream.api_base), quick_settings(embedded_url)
    ) as gateway:
        document = (await gateway.get("/openapi.json")).json

    assert {"/v1/feedback", "/v1/experiments", "/v1/experiments/{name}", "/healthz"} <= set(document["paths"])
    feedback = document["paths"]["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    ours = feedback["anyOf"][0]
    assert set(ours["properties"]) == {
        "id",
        "signal",
        "value",
        "preferred",
        "comment",
        "idempotency_key",
        "request_id",
        "trace_id",
    }


@pytest.mark.parametrize(("space", "p_value"), [("bradley_terry", 1.0), ("unstructured", None)])
async def test_structure_shows_how_well_it_fits(
    upstream: FakeUpstream, embedded_url: str, space: str, p_value: float | None
) -> None:
    """A structured experiment has a p-value and no warning at first; an unstructured one has neither."""
    config = gateway_config(api_base=upstream.api_base, traffic=SIDE_BY_SIDE, space=space)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        found = await gateway.experiment()
        metrics = (await gateway.get("/metrics")).body.decode()

    assert (found["fit_p_value"], found["warnings"]) == (p_value, [])
    assert ("llmpo_experiment_misfit{" in metrics) == (p_value is not None)
