"""`llmpo verify` and `llmpo experiments` against a running gateway, its store and an exported log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from gateway.cli import main
from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from policy_store.connect import connect
from tests.gateway.building import NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Whole, eventually, quick_settings, whole_gateway
from tests.servers import free_port


@pytest.fixture(autouse=True)
def _quiet_gateway() -> Iterator[None]:
    """The gateway's log lines go to the same terminal here; outside of tests it is another process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


async def run(*arguments: str) -> int:
    """The command's exit status; beside the gateway, which runs on this loop."""
    return await asyncio.to_thread(main, arguments)


@pytest.fixture
async def gateway(upstream: FakeUpstream, embedded_url: str) -> AsyncIterator[Whole]:
    """A gateway with an experiment under way."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        max_comparisons=3,
        promotion={"min_comparisons": 0},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        yield gateway


@pytest.fixture
async def decided(gateway: Whole) -> Whole:
    """The experiment after its budget was spent."""
    for _ in range(3):
        await gateway.feed(id=(await gateway.compare()).json["id"], preferred="tie")

    async def is_decided() -> bool:
        return (await gateway.experiment())["certificate"] is not None

    await eventually(is_decided, "the end of the budget")
    return gateway


async def test_certificate_is_confirmed_from_every_source(
    decided: Whole, embedded_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verdict is the same over HTTP, from the store and from a file."""
    log = tmp_path / "log.jsonl"
    log.write_bytes((await decided.get(f"/v1/experiments/{NAME}/log")).body)

    for source in (("--url", decided.url), ("--redis-url", embedded_url), ("--log", str(log))):
        assert await run("verify", NAME, *source) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("confirmed")
        assert "3 comparisons" in shown


async def test_false_certificate_names_each_difference(
    decided: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1, and the differences are shown for people and for scripts."""
    log = tmp_path / "log.jsonl"
    text = (await decided.get(f"/v1/experiments/{NAME}/log")).body.decode()
    log.write_text(text.replace('"result":"tie"', '"result":"win"', 1))

    assert await run("verify", NAME, "--log", str(log)) == 1
    assert "not confirmed" in (shown := capsys.readouterr().out)
    assert "wins" in shown
    assert await run("verify", NAME, "--log", str(log), "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["confirmed"] is False
    assert found["differences"]


async def test_json_is_one_document(decided: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints one JSON document for scripts."""
    assert await run("verify", NAME, "--url", decided.url, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["outcome"], found["confirmed"]) == (NAME, "inconclusive", True)


async def test_running_experiment_has_nothing_to_verify(
    gateway: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    """The result is neither confirmed nor false, and has an exit status of its own."""
    assert await run("verify", NAME, "--url", gateway.url) == 2
    assert "no certificate" in capsys.readouterr().err


async def test_unreachable_and_unknown_are_said_plainly(
    gateway: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each error is one line without a traceback."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    for arguments, words in [
        (("verify", NAME, "--url", nowhere), "No gateway answers"),
        (("experiments", "list", "--url", nowhere), "No gateway answers"),
        (("verify", NAME, "--url", "localhost:8080"), "is not the address"),
        (("verify", NAME, "--url", "http://[::1"), "Invalid IPv6 URL"),
        (("verify", "other", "--url", gateway.url), "no experiment 'other'"),
        (("experiments", "show", "other", "--url", gateway.url), "no experiment 'other'"),
        (("verify", NAME, "--log", str(tmp_path / "none")), "cannot be read"),
        (("verify", NAME, "--redis-url", f"redis://127.0.0.1:{free_port()}"), "store"),
    ]:
        assert await run(*arguments) == (2 if arguments[0] == "verify" else 1)
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error


async def test_sources_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Two sources could disagree, and then which one was verified?"""
    assert await run("verify", NAME, "--url", "http://x", "--log", "y") == 2
    assert "one source" in capsys.readouterr().err


async def test_experiments_are_listed_and_shown(decided: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    """The terminal shows the figures of the console."""
    assert await run("experiments", "list", "--url", decided.url) == 0
    listed = capsys.readouterr().out
    assert await run("experiments", "show", NAME, "--url", decided.url) == 0
    shown = capsys.readouterr().out

    assert NAME in listed
    assert "inconclusive" in listed
    assert f"{NAME} is inconclusive (generation 1)" in shown
    assert "plain serves after 3 comparisons." in shown
    assert "warm" in shown


async def test_it_is_shown_who_is_preferred_in_each_segment(
    upstream: FakeUpstream, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each pair, with its interval; without segments there is no table."""
    config = gateway_config(
        api_base=upstream.api_base,
        segments=["metadata.plan"],
        traffic={"share": 1.0, "collect": "side_by_side"},
        promotion={"min_comparisons": 1_000},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        for plan in ("pro", "[red]"):
            reply = await gateway.compare(metadata={"plan": plan})
            await gateway.feed(id=reply.json["id"], preferred="tie")

        async def are_counted() -> bool:
            return len((await gateway.experiment())["segments"]) == 2

        await gateway.eventually(are_counted, "two segments")
        assert await run("experiments", "show", NAME, "--url", gateway.url) == 0

    lines = capsys.readouterr().out.splitlines()
    told = [line.split() for line in lines if line.startswith("metadata.plan")]
    assert [line[1] for line in told] == ["pro", "(other)"]
    assert {" ".join(line[4:]) for line in told} == {"- 0% to 100% 0 0 1"}


async def test_events_have_times_and_name_policies(
    upstream: FakeUpstream, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What happened when, in words that still mean something when the policies have changed."""
    plain = gateway_config(api_base=upstream.api_base)
    fields = config_fields(api_base=upstream.api_base)
    fields["experiments"][NAME]["incumbent"] = "warm"
    async with whole_gateway(plain, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
    async with whole_gateway(GatewayConfig.model_validate(fields), quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        assert await run("experiments", "show", NAME, "--url", gateway.url) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  started: generation 1$", shown, re.MULTILINE)
    assert re.search(r"\d\d  incumbent changed: .*policy warm", shown)


async def test_no_reason_passes_for_another_line_or_steers_the_terminal(
    gateway: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a person or a hook wrote stays in its line, in events, on the experiment's page and in a proof."""
    path, forged = f"/v1/experiments/{NAME}", "2026-01-01 00:00:00  promoted: champion warm"
    moved = await gateway.call(
        "POST", f"{path}/promote", {"policy": "warm", "reason": f"tone\n{forged}\x1b[2K\u202e"}
    )
    assert moved.status == 200

    for shows in (("experiments", "events"), ("experiments", "show"), ("verify",)):
        assert await run(*shows, NAME, "--url", gateway.url) == 0
        shown = capsys.readouterr().out
        in_one_line = " ".join(shown.split())  # a terminal breaks lines between words
        assert " ".join(f"tone\\n{forged}\\x1b[2K\\u202e".split()) in in_one_line
        assert not {"\x1b", "\u202e"} & set(shown)

    log = tmp_path / "log.jsonl"
    text = (await gateway.get(f"{path}/log")).body.decode()
    log.write_text(text.replace('"champion_name":"warm"', '"champion_name":"\\r\\u001b[2Kconfirmed"'))
    assert await run("verify", NAME, "--log", str(log)) == 1
    assert not {"\x1b", "\r"} & set(capsys.readouterr().out)


async def test_a_dearer_winner_is_seen_with_its_cost_and_its_gain(
    upstream: FakeUpstream, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Certificate, API, metrics and terminal say what an answer costs, and how sure the gain is."""
    fields = config_fields(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        epsilon=0.2,
        promotion={"min_comparisons": 30},
    )
    for entry, price in zip(fields["model_list"], (1e-6, 16.7e-6), strict=True):
        entry["litellm_params"] |= {"input_cost_per_token": price, "output_cost_per_token": price}
    async with whole_gateway(
        GatewayConfig.model_validate(fields), quick_settings(embedded_url), seed=3
    ) as gateway:
        await gateway.planned()
        for _ in range(20):
            await _prefer_warm(gateway)
        await eventually(lambda: _costs_are_known(gateway), "costs to be measured")
        ahead = await gateway.experiment()
        for _ in range(40):
            await _prefer_warm(gateway)
        await eventually(lambda: _is_promoted(gateway), "the promotion")
        found = await gateway.experiment()
        dear = await gateway.metric("llmpo_experiment_cost_per_answer", policy="warm", source="measured")
        least = await gateway.metric("llmpo_experiment_gain", policy="warm", bound="low")
        assert await run("experiments", "show", NAME, "--url", gateway.url) == 0
        shown = capsys.readouterr().out
        assert await run("verify", NAME, "--url", gateway.url) == 0
        verified = capsys.readouterr().out

    claim = "no other policy is preferred to {} by more than 20 points in 100"
    assert f"Promised with 95% confidence: {claim.format('the promoted policy')}." in " ".join(shown.split())
    assert f"promised: {claim.format('warm')}" in verified
    assert ahead["gain"]["policy"] == "warm"
    proof = found["certificate"]
    assert proof["costs"] == pytest.approx([12e-6, 200e-6])
    assert proof["answer_costs"]["source"] == "measured"
    assert proof["answer_costs"]["per_answer"] == pytest.approx([12e-6, 200.4e-6])
    assert (proof["gain"]["policy"], proof["gain"]["incumbent"]) == ("warm", "plain")
    assert 0.5 < proof["gain"]["low"] < proof["gain"]["preference"] == 1.0
    assert found["gain"]["cost_ratio"] == pytest.approx(16.7)
    assert any("16.7 times" in warning for warning in found["warnings"])
    assert dear == pytest.approx(200.4e-6)
    assert 0.5 < least < 1.0
    assert "An answer costs (measured): warm 0.0002 USD, plain 1.2e-05 USD." in shown
    for text in (shown, verified):
        assert "warm is preferred to plain in 100%, between " in text


async def _prefer_warm(gateway: Whole) -> None:
    shown = await gateway.compare()
    first = shown.json["choices"][0]["message"]["content"]
    await gateway.feed(id=shown.json["id"], preferred=0 if "warm" in first else 1)


async def _costs_are_known(gateway: Whole) -> bool:
    costs = (await gateway.experiment())["answer_costs"]["policies"]
    return all(row["answers"] >= 20 for row in costs)


async def _is_promoted(gateway: Whole) -> bool:
    return bool((await gateway.experiment())["state"] == "promoted")


async def test_all_places_say_alike_how_much_is_missing(
    upstream: FakeUpstream, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A decision with enough evidence still waits for `min_comparisons`, and all places agree."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        epsilon=0.2,
        promotion={"min_comparisons": 3000},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        for _ in range(40):
            await _prefer_warm(gateway)
        await eventually(lambda: _is_evidence_full(gateway), "evidence at the line")
        answer = await gateway.experiment()
        counted = await gateway.metric("llmpo_experiment_expected_remaining_comparisons")
        assert await run("experiments", "show", NAME, "--url", gateway.url) == 0

    assert (answer["comparisons"], answer["plan"]["expected_remaining"]) == (40, 2960)
    assert counted == 2960
    assert "about 2,960 more to a decision" in capsys.readouterr().out
    assert [event["kind"] for event in answer["events"]] == ["started"]
    assert [row["eliminated_at"] for row in answer["evidence"]] == [None, None]


async def _is_evidence_full(gateway: Whole) -> bool:
    answer = await gateway.experiment()
    return answer["comparisons"] == 40 and any(row["nats"] >= row["needed"] for row in answer["evidence"])


async def test_json_is_the_gateways_own_answer(decided: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` prints the gateway's own reply for scripts."""
    assert await run("experiments", "list", "--url", decided.url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["data"][0]["name"] == NAME
    assert await run("experiments", "show", NAME, "--url", decided.url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["comparisons"] == 3


async def test_admin_key_is_taken_from_option_or_environment(
    upstream: FakeUpstream,
    embedded_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without an admin key the command shows the gateway's refusal."""
    config = gateway_config(api_base=upstream.api_base, auth={"admin_keys": [hash_key("admin")]})
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        listing = ("experiments", "list", "--url", gateway.url)
        assert await run(*listing) == 1
        assert "No API key" in capsys.readouterr().err
        assert await run(*listing, "--api-key", "admin") == 0
        monkeypatch.setenv("LLMPO_API_KEY", "admin")
        assert await run(*listing) == 0


async def test_a_store_that_lost_something_is_shown_and_accepted(
    gateway: Whole, embedded_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What happened, what the server does with what it gets, and the word to go on."""
    redis = connect(embedded_url)
    await redis.flushall()
    await redis.aclose()

    async def is_held() -> bool:
        return (await gateway.get("/readyz")).json["store"] == "held"

    await eventually(is_held, "the loss noticed")
    assert await run("store", "show", "--url", gateway.url) == 0
    assert await run("store", "accept", "--url", gateway.url) == 0

    held, _, accepted, facts = capsys.readouterr().out.strip().splitlines()
    assert held.startswith("The store is held (keys_gone: ")
    assert accepted == "The store is up, epoch 2."
    assert facts == "Its server drops no keys and keeps its data on disk."
