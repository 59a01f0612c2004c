"""`POST /v1/config/reload`: another file in force at once, or every fault of it and nothing changed."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.config.api_keys import hash_key
from gateway.upstream.http.http1 import Http1Client
from gateway.upstream.relay import Relay
from tests.gateway.building import NAME
from tests.gateway.fake_upstream import FakeUpstream, status
from tests.gateway.reloading.conftest import KEYS, Filed, Opener

Configured = Callable[..., dict[str, Any]]
SECRETS = ("former secret of these tests 1234", "latter secret of these tests 5678")


def of(said: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    """The reported changes of one part of the file."""
    found: dict[str, Any] = next(
        change for change in said["changes"] if (change["kind"], change["name"]) == (kind, name)
    )
    return found


async def test_experiments_come_go_and_start_anew_as_at_a_restart(
    filed: Filed, configured: Configured
) -> None:
    """What changed is answered, and in force by then: requests and feedback follow at once."""
    fields = configured(delta=0.01)
    fields["experiments"]["sales"] = fields["experiments"]["support"]

    said = await filed.take_up(fields)

    assert of(said, "experiment", "support")["evidence"] == "anew"
    assert of(said, "experiment", "sales")["evidence"] == "begins"
    assert (said["loses_evidence"], said["loses_traffic"]) == (True, False)
    assert (await filed.gateway.ask("sales")).status == 200
    assert (await filed.gateway.experiment())["generation"] == 2

    del fields["experiments"]["support"]
    said = await filed.take_up(fields)
    assert of(said, "experiment", "support")["evidence"] == "unused"
    assert said["loses_traffic"]
    assert (await filed.gateway.ask("support")).status == 404


async def test_the_file_before_brings_its_evidence_back(filed: Filed, configured: Configured) -> None:
    """A file that was a mistake is put back without loss."""
    await filed.take_up(configured(delta=0.01))
    said = await filed.take_up(configured())

    assert of(said, "experiment", "support")["evidence"] == "resumed"
    assert (await filed.gateway.experiment())["generation"] == 1


async def test_a_reload_of_the_same_file_changes_nothing(filed: Filed, configured: Configured) -> None:
    """No experiment is registered again, and no object is replaced."""
    before = filed.gateway.app.catalogue.current

    said = await filed.take_up(configured())

    after = filed.gateway.app.catalogue.current
    assert (said["changed"], said["changes"], said["needs_restart"]) == (False, [], [])
    assert after.definitions["support"] is before.definitions["support"]
    assert after.models["plain"] is before.models["plain"]


FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no_keys": lambda fields: fields.pop("auth"),
    "unknown_field": lambda fields: fields.update(colour="red"),
    "unknown_model": lambda fields: fields["experiments"][NAME]["policies"]["warm"].update(model="none"),
    "missing_variable": lambda fields: fields["model_list"][0]["litellm_params"].update(
        api_key="os.environ/LLMPO_TESTS_HAVE_NO_SUCH_VARIABLE"
    ),
    "missing_template": lambda fields: fields["experiments"][NAME]["policies"]["warm"].update(
        template="no-such.j2"
    ),
    "caps_that_cannot_be": lambda fields: fields["experiments"][NAME]["policies"]["plain"].update(
        max_share=0.1
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_file_with_a_fault_is_refused_and_changes_nothing(
    filed: Filed, configured: Configured, fault: str
) -> None:
    """The answer says what is wrong; what was in force goes on, and readiness and metrics say so."""
    before, fields = filed.gateway.app.catalogue.current, configured()
    FAULTS[fault](fields)
    filed.write(fields)

    reply = await filed.reload()

    assert (reply.status, reply.code) == (422, "invalid_configuration")
    assert filed.gateway.app.catalogue.current is before
    assert (await filed.gateway.ask()).status == 200
    assert "faults" in (await filed.gateway.get("/readyz")).json["config_detail"]
    assert await filed.gateway.metric("llmpo_config_last_reload_successful") == 0

    await filed.take_up(configured())
    assert "config_detail" not in (await filed.gateway.get("/readyz")).json


@pytest.mark.parametrize(
    "text", ["", "experiments: [", "- one\n- two\n", "\xff"], ids=["empty", "cut", "list", "bytes"]
)
async def test_a_file_that_is_no_configuration_is_refused(filed: Filed, text: str) -> None:
    """Half a file, as an editor may leave it, is a fault like any other."""
    filed.file.write_bytes(text.encode("latin-1"))
    assert (await filed.reload()).status == 422
    filed.file.unlink()
    assert (await filed.reload()).status == 422
    assert (await filed.gateway.ask()).status == 200


async def test_every_fault_is_told_at_once(filed: Filed, configured: Configured) -> None:
    """The faults include those of settings that are in files."""
    fields = configured(delta=2.0, epsilon=0.9)
    filed.write(fields)

    message = (await filed.reload()).error["message"]

    assert "experiments.support.delta" in message
    assert "experiments.support.epsilon" in message


async def test_only_admins_may_reload_or_see_the_configuration(filed: Filed) -> None:
    """A client key is refused, and nothing is read."""
    client = replace(filed.gateway, key="app")
    assert (await client.call("POST", "/v1/config/reload")).status == 403
    assert (await client.get("/v1/config")).status == 403
    assert (await replace(filed.gateway, key=None).call("POST", "/v1/config/reload")).status == 401


async def test_a_client_key_rotates(filed: Filed, configured: Configured) -> None:
    """The answer says who is refused from now on; the former key is, and the latter passes."""
    keys = {**KEYS, "app": {"hash": hash_key("latter")}}

    said = await filed.take_up(configured(auth={"keys": keys}))

    assert of(said, "key", "app")["lost"] == ["Callers with the former key app are refused."]
    assert (await replace(filed.gateway, key="app").ask()).status == 401
    assert (await replace(filed.gateway, key="latter").ask()).status == 200


async def test_a_provider_secret_rotates_with_its_variable(
    opened: Opener, configured: Configured, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """References are looked up anew. The answer names the model, and no secret."""
    monkeypatch.setenv("PROVIDER", "sk-first")
    fields = configured()
    fields["model_list"][0]["litellm_params"]["api_key"] = "os.environ/PROVIDER"
    async with opened(fields) as filed:
        await filed.gateway.ask("plain")
        monkeypatch.setenv("PROVIDER", "sk-second")

        reply = await filed.reload()
        await filed.gateway.ask("plain")

    assert [each.headers["authorization"] for each in upstream.seen] == [
        "Bearer sk-first",
        "Bearer sk-second",
    ]
    assert (reply.json["rotated"], reply.json["changes"]) == (["plain"], [])
    assert b"sk-" not in reply.body


async def test_the_sealing_secret_rotates_with_its_file(
    opened: Opener, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids sealed before open while the previous secret is set, and no longer."""
    (newest, previous), (former, latter) = (tmp_path / "newest", tmp_path / "previous"), SECRETS
    newest.write_text(former)
    previous.write_text("another secret that sealed nothing")
    monkeypatch.setenv("LLMPO_TOKEN_SECRET_FILE", str(newest))
    monkeypatch.setenv("LLMPO_PREVIOUS_TOKEN_SECRET_FILE", str(previous))
    fields = configured(traffic={"share": 1.0, "collect": "matched"})
    async with opened(fields, token_secret=former) as filed:
        gateway = filed.gateway
        await gateway.planned()
        ids = [(await gateway.ask()).json["id"] for _ in range(2)]
        newest.write_text(latter)
        previous.write_text(former)

        said = await filed.take_up(fields)
        assert said["settings"] == ["LLMPO_PREVIOUS_TOKEN_SECRET", "LLMPO_TOKEN_SECRET"]
        assert (await gateway.feed(id=ids[0], signal="thumb", value=True)).status == 200

        previous.write_text(latter)
        await filed.take_up(fields)
        assert (await gateway.feed(id=ids[1], signal="thumb", value=True)).code == "forged_id"
        assert (await gateway.thumb(good=True)).status == 200


async def test_what_takes_a_restart_is_named(
    filed: Filed, configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the store, for example, is reported instead of silently ignored."""
    (tmp_path / "store").write_text("redis://127.0.0.1:9")
    monkeypatch.setenv("LLMPO_REDIS_URL_FILE", str(tmp_path / "store"))

    said = await filed.take_up(configured())

    assert said["needs_restart"] == ["LLMPO_REDIS_URL"]


async def test_a_setting_whose_file_is_gone_is_a_fault(
    filed: Filed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that was not mounted must not pass for none."""
    monkeypatch.setenv("LLMPO_CLIENT_KEYS_FILE", str(tmp_path / "no-such"))
    assert "LLMPO_CLIENT_KEYS_FILE" in (await filed.reload()).error["message"]


async def test_an_ejected_model_that_leaves_the_file_is_forgotten(
    filed: Filed, configured: Configured, upstream: FakeUpstream
) -> None:
    """No metric shows it any more."""
    upstream.on("extra", status(500))
    fields = configured()
    fields["model_list"].append({**fields["model_list"][0], "model_name": "extra"})
    fields["model_list"][-1]["litellm_params"] = {
        **fields["model_list"][0]["litellm_params"],
        "model": "openai/extra",
    }
    await filed.take_up(fields)
    for _ in range(5):
        await filed.gateway.ask("extra")
    assert await filed.gateway.metric("llmpo_ejected", model="extra") == 1

    await filed.take_up(configured())

    assert await filed.gateway.metric("llmpo_ejected", model="extra") == 0


async def test_fifty_reloads_leave_nothing_behind(filed: Filed, configured: Configured) -> None:
    """No task, connection, target or respondent of a former file is kept."""
    await filed.gateway.ask()
    await filed.reload()
    tasks, clients = len(asyncio.all_tasks()), _kept_clients()

    for number in range(50):
        fields = configured(promotion={"min_comparisons": 10 + number})
        fields["model_list"][0]["litellm_params"]["api_key"] = f"key-{number}"
        fields["model_list"].append({**fields["model_list"][0], "model_name": f"extra-{number}"})
        filed.write(fields)
        await filed.reload()
        assert (await filed.gateway.ask(f"extra-{number}")).status == 200

    # A planner renews its lease in a task of its own while it plans.
    await filed.gateway.eventually(lambda: len(asyncio.all_tasks()) <= tasks, "no more tasks than before")
    assert _kept_clients() == clients


def _kept_clients() -> tuple[int, int]:
    """How many HTTP clients there are, and how many relays know ways to more than the three models."""
    gc.collect()
    found = gc.get_objects()  # asked for their type alone: proxies of libraries load what they stand for
    clients = [each for each in found if type(each) is Http1Client]
    relays = [each for each in found if type(each) is Relay]
    return len(clients), sum(len(relay._destinations) > 3 for relay in relays)


async def test_segments_come_and_go_while_evidence_stays(filed: Filed, configured: Configured) -> None:
    """They change no evidence, and answers given before a change are counted in what both files name."""
    gateway = filed.gateway
    traffic = {"share": 1.0, "collect": "side_by_side"}
    common = {"traffic": traffic, "promotion": {"min_comparisons": 10_000}}

    async def ask() -> str:
        reply = await gateway.compare(metadata={"plan": "pro", "country": "de"})
        return str(reply.json["id"])

    async def counted(response_id: str, comparisons: int) -> dict[str, int]:
        await gateway.feed(id=response_id, preferred=0)

        async def is_shown() -> bool:
            return bool((await gateway.experiment())["comparisons"] == comparisons)

        await gateway.eventually(is_shown, f"comparison {comparisons}")
        found: list[dict[str, Any]] = (await gateway.experiment())["segments"]
        return {f"{each['path']} {each['value']}": each["comparisons"] for each in found}

    await filed.take_up(configured(**common))
    generation = (await gateway.experiment())["generation"]
    before = await ask()
    said = await filed.take_up(configured(**common, segments=["metadata.plan"]))
    change = of(said, "experiment", "support")
    assert (change["evidence"], change["what"]) == ("kept", ["segments: - -> metadata.plan"])
    assert await counted(before, 1) == {}
    assert await counted(await ask(), 2) == {"metadata.plan pro": 1}

    late = await ask()
    said = await filed.take_up(configured(**common, segments=["metadata.country"]))
    assert not said["loses_evidence"]
    assert await counted(late, 3) == {"metadata.plan pro": 1}
    assert await counted(await ask(), 4) == {"metadata.plan pro": 1, "metadata.country de": 1}
    assert (await gateway.experiment())["generation"] == generation
