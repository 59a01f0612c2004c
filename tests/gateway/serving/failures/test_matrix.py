"""Truth under failure, in one table: who fails, when, and what the caller then gets.

Every fault of `faults.py`, before and after the first byte the caller would see, streamed and not, for
whoever can fail: over the whole app and a provider that really misbehaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson
import pytest
import pytest_asyncio

from gateway.config.gateway_file import GatewayConfig
from policy_store.connect import connect
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.protocols import PROVIDERS
from tests.gateway.serving.failures.faults import FAULTS, SAID_BEFORE_BREAKING, Fault, slow
from tests.gateway.whole import Reply, Whole, eventually, quick_settings, whole_gateway
from tests.pace import PATIENCE_SECONDS, impatient
from tests.servers import EmbeddedServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

Moment = Literal["whole", "before", "after"]

# Who fails (the name callers use, the model that misbehaves) and who stands behind.
WHO: dict[str, tuple[str, str, str | None]] = {
    "a candidate": ("contested", "shaky", "steady"),
    "an incumbent": ("alone", "shaky", None),
    "an incumbent with a fallback": ("backed", "backed-shaky", "spare"),
    "a model": ("shaky", "shaky", None),
    "a model with a fallback": ("backed-shaky", "backed-shaky", "spare"),
}
# The rule. A whole answer has shown the caller nothing until it is complete, whatever the provider sent.
RULE: dict[tuple[Moment, bool], str] = {
    # when it fails, and whether there is a fallback
    ("whole", True): "somebody else answers",
    ("whole", False): "an error",
    ("before", True): "somebody else answers",
    ("before", False): "an error",
    ("after", True): "the stream says that it broke",
    ("after", False): "the stream says that it broke",
}


# Who fails over which protocol: what stands behind whom is decided far above it.
BY_PROTOCOL: dict[str, tuple[str, ...]] = {"HTTP/1.1": tuple(WHO), "HTTP/2": ("a candidate", "a model")}


class Case(NamedTuple):
    """Who fails, how and when."""

    protocol: str
    who: str
    fault_name: str
    moment: Moment


def cases() -> Iterator[Any]:
    """Every fault at every moment for every kind of target."""
    for protocol, failing in BY_PROTOCOL.items():
        for fault_name, fault in FAULTS.items():
            for moment in ("whole", "before", "after"):
                if getattr(fault, moment) is not None:
                    for who in failing:
                        name = f"{who} {fault_name}, {moment}, {protocol}"
                        yield pytest.param(protocol, Case(protocol, who, fault_name, moment), id=name)


@dataclass
class Stage:
    """The gateway between its callers, a provider that fails and one that does not."""

    patient: Whole
    impatient: dict[Moment, Whole]
    failing: FakeUpstream
    sound: FakeUpstream

    def gateway_for(self, fault: Fault, moment: Moment) -> Whole:
        """Impatient where the provider falls silent: whatever else it does may take as long as it takes."""
        return self.impatient[moment] if fault.code == "upstream_timeout" else self.patient

    async def ask(self, gateway: Whole, who: str, *, is_streamed: bool) -> Reply:
        """Ask until what is to fail was asked: a candidate is drawn for about half the requests."""
        name, model, _ = WHO[who]
        while True:
            self.failing.seen.clear()
            self.sound.seen.clear()
            reply = await gateway.ask(name, **({"stream": True} if is_streamed else {}))
            was_drawn = self.failing.calls_of(model) or "x-llmpo-fallback" in reply.headers
            if who != "a candidate" or was_drawn:
                return reply


def entry(name: str, upstream: FakeUpstream, **more: Any) -> dict[str, Any]:
    """A model that its provider knows by the same name."""
    params = {"model": f"openai/{name}", "api_base": upstream.api_base, "api_key": "k"}
    return {"model_name": name, "litellm_params": params, "http2": upstream.is_http2, **more}


def configuration(failing: FakeUpstream, sound: FakeUpstream) -> GatewayConfig:
    """One experiment whose candidate fails, and two whose incumbent does."""

    def experiment(incumbent: str, other: str, share: float) -> dict[str, Any]:
        return {
            "incumbent": incumbent,
            "policies": {name: {"model": name} for name in (incumbent, other)},
            "traffic": {"share": share},
        }

    return GatewayConfig.model_validate(
        {
            "model_list": [
                entry("shaky", failing),
                entry("backed-shaky", failing, fallbacks=["spare"]),
                entry("steady", sound),
                entry("spare", sound),
            ],
            "experiments": {
                "contested": experiment("steady", "shaky", 1.0),
                "alone": experiment("shaky", "steady", 0.0),
                "backed": experiment("backed-shaky", "steady", 0.0),
            },
        }
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(embedded_server: EmbeddedServer, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Three gateways with different timeouts for all cases of a protocol, without ejection."""
    provider = PROVIDERS[request.param]
    redis = connect(embedded_server.url)
    await redis.flushall()
    await redis.aclose()

    @asynccontextmanager
    async def gateway(**timeouts: float) -> AsyncIterator[Whole]:
        settings = quick_settings(
            embedded_server.url,
            store_timeout_seconds=60.0,
            refresh_seconds=0.5,
            plan_interval_seconds=0.5,
            eject_after_failures=1000,
            **{
                "first_byte_timeout_seconds": PATIENCE_SECONDS,
                "stall_timeout_seconds": PATIENCE_SECONDS,
                "upstream_timeout_seconds": PATIENCE_SECONDS,
                **timeouts,
            },
        )
        async with whole_gateway(configuration(failing, sound), settings) as whole:
            await eventually(lambda: _has_plan(whole), "a plan for the contested experiment")
            yield whole

    async with (
        provider() as failing,
        provider() as sound,
        gateway() as patient,
        gateway(
            first_byte_timeout_seconds=impatient(0.25), upstream_timeout_seconds=impatient(0.6)
        ) as before,
        gateway(stall_timeout_seconds=impatient(0.25)) as after,
    ):
        impatient_ones: dict[Moment, Whole] = {"whole": before, "before": before, "after": after}
        yield Stage(patient, impatient_ones, failing, sound)


async def _has_plan(gateway: Whole) -> bool:
    return (await gateway.experiment("contested"))["plan"] is not None


# The scope is named because pytest would build a stage for every case: parameters that are not all those of
# fixtures count as the test's own. Each case is one value, and no two are equal, because pytest brings equal
# values together.
@pytest.mark.parametrize(("stage", "case"), list(cases()), indirect=["stage"], scope="module")
async def test_what_the_caller_gets(stage: Stage, case: Case) -> None:
    """The caller gets what the rule says; nothing is duplicated, and no target is asked more than once."""
    _, who, fault_name, moment = case
    fault = FAULTS[fault_name]
    _, model, stand_in = WHO[who]
    stage.failing.on(model, getattr(fault, moment))
    # On a connection kept from the case before, an unanswered request may be sent once more.
    await stage.failing.refuse()
    if fault_name != "refuses connections":
        await stage.failing.accept()
    try:
        reply = await stage.ask(stage.gateway_for(fault, moment), who, is_streamed=moment != "whole")
    finally:
        await stage.failing.accept()

    outcome = RULE[moment, stand_in is not None]
    {
        "somebody else answers": answered_by_another,
        "an error": refused,
        "the stream says that it broke": broke_off,
    }[outcome](reply, fault, stand_in, moment)
    assert len(stage.failing.seen) <= 1
    asked_besides = [stand_in] if outcome == "somebody else answers" else []
    assert [seen.body["model"] for seen in stage.sound.seen] == asked_besides


def answered_by_another(reply: Reply, _fault: Fault, stand_in: str | None, moment: Moment) -> None:
    """The whole of the other's answer and nothing else; admins see who it was."""
    assert reply.status == 200, reply.body
    assert said(reply, moment) == f"I am {stand_in}."
    assert (moment == "whole") or data(reply)[-1] == b"[DONE]"
    assert reply.headers["x-llmpo-model"] == stand_in
    assert reply.headers["x-llmpo-fallback"]


def refused(reply: Reply, fault: Fault, _stand_in: str | None, _moment: Moment) -> None:
    """A status the caller can act on, OpenAI's shape, and the provider's own wish when to come back."""
    assert (reply.status, reply.code) == (fault.status, fault.code)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers.get("retry-after") == ("3" if fault.status == 429 else None)
    is_operators = fault.code == "upstream_status_4xx"
    assert reply.headers.get("x-should-retry") == ("false" if is_operators else None)
    assert b"shaky" not in reply.body


def broke_off(reply: Reply, fault: Fault, _stand_in: str | None, moment: Moment) -> None:
    """What came is kept, one error event follows, and no [DONE] is made up."""
    assert reply.status == 200
    *events, last = data(reply)
    assert said(reply, moment) == SAID_BEFORE_BREAKING
    assert len(events) == 2
    assert orjson.loads(last)["error"]["code"] == fault.code
    assert b"[DONE]" not in reply.body


def data(reply: Reply) -> list[bytes]:
    """The data of a stream's events."""
    return [line[5:].strip() for line in reply.body.splitlines() if line.startswith(b"data:")]


def said(reply: Reply, moment: Moment) -> str:
    """The text of an answer."""
    if moment == "whole":
        return str(reply.json["choices"][0]["message"]["content"])
    events = [orjson.loads(one) for one in data(reply) if one != b"[DONE]"]
    words = [event["choices"][0]["delta"].get("content") or "" for event in events if "choices" in event]
    return "".join(words).removesuffix(" ") if data(reply)[-1] == b"[DONE]" else "".join(words)


@pytest.mark.parametrize("moment", ["whole", "before"])
@pytest.mark.parametrize(
    ("stage", "who"),
    [(protocol, who) for protocol, failing in BY_PROTOCOL.items() for who in failing],
    indirect=["stage"],
    scope="module",
)
async def test_slow_but_within_bounds_is_no_failure(stage: Stage, who: str, moment: Moment) -> None:
    """Each wait is short enough, so the answer is awaited however long it takes in total."""
    model = WHO[who][1]
    stage.failing.on(model, slow())
    reply = await stage.ask(stage.impatient[moment], who, is_streamed=moment != "whole")
    assert (reply.status, said(reply, moment)) == (200, "one two three four")
    assert reply.headers["x-llmpo-model"] == model
    assert "x-llmpo-fallback" not in reply.headers
    assert stage.sound.seen == []
