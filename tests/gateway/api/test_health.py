"""What operators ask the gateway."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from gateway.config.gateway_file import GatewayConfig
from tests.gateway.building import NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import eventually, quick_settings, whole_gateway
from tests.servers import free_port

SIDE_BY_SIDE = {"share": 1.0, "collect": "side_by_side"}

# The names dashboards and alerts rely on, with the labels of each.
PROMISED = {
    "llmpo_requests_total": {"endpoint", "status"},
    "llmpo_requests_in_flight": {"endpoint"},
    "llmpo_build_info": {"version", "python", "revision"},
    "llmpo_key_requests_total": {"key", "model", "status"},
    "llmpo_key_tokens_total": {"key", "model", "kind"},
    "llmpo_key_cost_usd_total": {"key", "model"},
    "llmpo_model_requests_total": {"model"},
    "llmpo_model_latency_seconds_count": {"model"},
    "llmpo_model_tokens_total": {"model", "kind"},
    "llmpo_model_cost_usd_total": {"model"},
    "llmpo_time_to_first_token_seconds_count": {"experiment", "policy", "model"},
    "llmpo_policy_requests_total": {"experiment", "policy", "role"},
    "llmpo_policy_latency_seconds_count": {"experiment", "policy"},
    "llmpo_policy_tokens_total": {"experiment", "policy", "kind"},
    "llmpo_policy_cost_usd_total": {"experiment", "policy"},
    "llmpo_gateway_overhead_seconds_count": set(),
    "llmpo_feedback_total": {"experiment", "signal", "status"},
    "llmpo_feedback_discarded_total": {"reason"},
    "llmpo_store_up": set(),
    "llmpo_plan_duration_seconds": {"experiment"},
    "llmpo_plan_age_seconds": {"experiment"},
    "llmpo_plan_version": {"experiment"},
    "llmpo_experiment_state": {"experiment", "state"},
    "llmpo_experiment_generation": {"experiment"},
    "llmpo_experiment_promise": {"experiment", "promise"},
    "llmpo_experiment_comparisons": {"experiment"},
    "llmpo_experiment_reports_held": {"experiment"},
    "llmpo_experiment_log_entries": {"experiment"},
    "llmpo_spool_waiting_bytes": set(),
    "llmpo_spool_limit_bytes": set(),
    "llmpo_experiment_pair_comparisons": {"experiment", "first", "second", "result"},
    "llmpo_experiment_source_comparisons": {"experiment", "source"},
    "llmpo_experiment_win_rate": {"experiment", "policy", "rival"},
    "llmpo_experiment_allocation": {"experiment", "first", "second"},
    "llmpo_experiment_evidence_nats": {"experiment", "policy"},
    "llmpo_experiment_evidence_needed_nats": {"experiment", "policy"},
    "llmpo_experiment_incumbent": {"experiment", "policy"},
    "llmpo_experiment_leader": {"experiment", "policy"},
    "llmpo_experiment_expected_remaining_comparisons": {"experiment"},
    "llmpo_experiment_expected_remaining_seconds": {"experiment"},
    "llmpo_experiment_promotions_total": {"experiment"},
    "llmpo_experiment_cost_per_answer": {"experiment", "policy", "source"},
    "llmpo_experiment_gain": {"experiment", "policy", "bound"},
}


async def test_every_promised_series_is_there_with_its_labels(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Dashboards and alerts use these names: they are part of the outside interface."""
    fields = config_fields(
        api_base=upstream.api_base, traffic=SIDE_BY_SIDE, promotion={"min_comparisons": 10_000}
    )
    for entry in fields["model_list"]:
        entry["litellm_params"] |= {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6}
    config = GatewayConfig.model_validate(fields)
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        for _ in range(3):
            await gateway.feed(id=(await gateway.compare()).json["id"], preferred=0)
        await gateway.ask("warm", stream=True)
        await gateway.ask("warm")
        await gateway.feed(id="unknown", preferred=0)
        text = (await gateway.get("/metrics")).body.decode()

    labels = {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert {name: labels.get(name) for name in PROMISED} == PROMISED


async def test_time_to_decision_is_shown_once_decided(upstream: FakeUpstream, embedded_url: str) -> None:
    """The state then says how the experiment ended."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic=SIDE_BY_SIDE,
        max_comparisons=1,
        promotion={"min_comparisons": 0},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        await gateway.feed(id=(await gateway.compare()).json["id"], preferred="tie")

        async def is_decided() -> bool:
            return await gateway.metric("llmpo_experiment_state", state="inconclusive") == 1

        await eventually(is_decided, "the decided state in the metrics")
        assert await gateway.metric("llmpo_experiment_state", experiment=NAME, state="running") == 0
        text = (await gateway.get("/metrics")).body.decode()

    assert f'llmpo_experiment_seconds_to_decision{{experiment="{NAME}"}}' in text


async def test_the_certified_policy_is_shown_once_decided(upstream: FakeUpstream, embedded_url: str) -> None:
    """Who leads is an estimate; who is champion is proven."""
    config = gateway_config(
        api_base=upstream.api_base, traffic=SIDE_BY_SIDE, epsilon=0.2, promotion={"min_comparisons": 1}
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        assert "llmpo_experiment_champion{" not in (await gateway.get("/metrics")).body.decode()

        async def prefers_warm_until_decided() -> bool:
            answer = (await gateway.compare()).json
            texts = [choice["message"]["content"] for choice in answer["choices"]]
            if "I am warm." in texts[1:]:
                await gateway.feed(id=answer["id"], preferred=1)
            elif len(texts) > 1:
                await gateway.feed(id=answer["id"], preferred=0)
            return (await gateway.experiment())["certificate"] is not None

        await eventually(prefers_warm_until_decided, "a certificate")

        async def is_shown() -> bool:
            return await gateway.metric("llmpo_experiment_champion", policy="warm") == 1

        await eventually(is_shown, "the champion in the metrics")
        assert await gateway.metric("llmpo_experiment_champion", policy="plain") == 0


async def test_ready_without_a_store(upstream: FakeUpstream) -> None:
    """Load balancers must not take every replica out because Redis is away: the incumbents answer."""
    settings = quick_settings(f"redis://127.0.0.1:{free_port()}", store_timeout_seconds=0.2)
    async with whole_gateway(gateway_config(api_base=upstream.api_base), settings) as gateway:
        ready = await gateway.get("/readyz")
        assert (await gateway.get("/healthz")).status == 200
        assert (await gateway.call("HEAD", "/readyz")).status == 200
        assert await gateway.metric("llmpo_store_up") == 0
        assert (await gateway.ask()).json["choices"][0]["message"]["content"] == "I am plain."

    assert (ready.status, ready.json) == (200, {"status": "ready", "store": "down"})
