"""The data plane on a real port over the fake provider, without the store and the app around it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import orjson
import uvicorn
from fastapi import FastAPI

from gateway.access.callers import Authenticator
from gateway.access.limiting import Limiter
from gateway.api.error_formats import reply_for
from gateway.api.errors import install_error_handlers
from gateway.api.inference import InferenceDeps, inference_endpoints, inference_routes
from gateway.config.experiments import PolicySpec
from gateway.config.gateway_file import ModelEntry
from gateway.experiments.policies import compile_policy
from gateway.experiments.response_ids import ResponseIds
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys
from gateway.experiments.snapshot import LiveExperiment, Snapshot, SnapshotHolder
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import (
    AttemptEnded,
    Ejected,
    FellBack,
    GatewayEvent,
    ModelFellBack,
    PolicyFailed,
    Readmitted,
    RequestFinished,
    RetryRefused,
    StickySkipped,
)
from gateway.serving.answering import Answering
from gateway.serving.attempts import Attempts
from gateway.serving.ejection import FAILURES_IN_A_ROW, EjectionBook
from gateway.serving.sticky import Sticky
from gateway.upstream.base import Timeouts
from gateway.upstream.dispatch import Upstreams
from gateway.upstream.relay import Relay
from gateway.upstream.retry_budget import RetryBudget
from gateway.upstream.targets import model_targets
from gateway.upstream.translating.upstream import LitellmUpstream
from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.limits import LimitStore
from policy_store.models import PlannedPair, ProposedPlan, PublishedPlan
from policy_store.states import ExperimentState
from tests.pace import PATIENCE_SECONDS

KEY = bytes(range(32))
JSON = {"content-type": "application/json"}
NOW = 1_800_000_000.0
EXPERIMENT = "support"
NO_STORE = "redis://127.0.0.1:9"
PATIENT = Timeouts(connect=5, first_byte=10, total=20)
Kind = TypeVar("Kind")
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}


class Recorder:
    """A hook that remembers."""

    def __init__(self) -> None:
        self.events: list[GatewayEvent] = []

    def __call__(self, event: GatewayEvent) -> None:
        """Remember."""
        self.events.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def forget(self) -> None:
        """Begin anew."""
        self.events.clear()

    @property
    def finished(self) -> list[tuple[str, int]]:
        """The endpoint and status of every request."""
        return [(event.endpoint, event.status) for event in self.of(RequestFinished)]

    @property
    def overheads(self) -> list[float]:
        """What every answered request cost."""
        seconds = [event.overhead_seconds for event in self.of(RequestFinished)]
        return [each for each in seconds if each is not None]

    @property
    def answers(self) -> list[AttemptEnded]:
        """Attempts at policies that came to their end."""
        return [event for event in self.of(AttemptEnded) if event.policy and event.ending == "answered"]

    @property
    def answered(self) -> list[tuple[str, str, str | None]]:
        """Who gave them, as what."""
        return [(event.experiment, event.policy, event.role) for event in self.answers]

    @property
    def tokens(self) -> list[tuple[str, str, int, int]]:
        """What was reported of them."""
        return [(event.experiment, event.policy, *event.tokens) for event in self.answers if event.tokens]

    @property
    def failed(self) -> list[tuple[str, str, str]]:
        """Policies that failed."""
        return [(event.experiment, event.policy, event.reason) for event in self.of(PolicyFailed)]

    @property
    def fallbacks(self) -> list[tuple[str, str]]:
        """Requests another policy answered."""
        return [(event.experiment, event.reason) for event in self.of(FellBack)]

    @property
    def model_failures(self) -> list[tuple[str, str]]:
        """Failures of models asked by their names."""
        return [
            (event.model, event.reason)
            for event in self.of(AttemptEnded)
            if event.ending == "failed" and not event.policy
        ]

    @property
    def model_fallbacks(self) -> list[tuple[str, str, str]]:
        """Requests a model's fallback answered."""
        return [(event.model, event.fallback, event.reason) for event in self.of(ModelFellBack)]

    @property
    def skipped(self) -> list[str]:
        """Experiments whose sessions were assigned without the store."""
        return [event.experiment for event in self.of(StickySkipped)]

    @property
    def ejected(self) -> list[Ejected]:
        """Whom requests were led away from."""
        return self.of(Ejected)

    @property
    def readmitted(self) -> list[Readmitted]:
        """Who came back."""
        return self.of(Readmitted)

    @property
    def refused_retries(self) -> int:
        """How many there were."""
        return len(self.of(RetryRefused))


class UnitMemory:
    """A `UnitStore` in memory, that can be told to be away."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int, str], str] = {}
        self.is_away = False
        self.calls = 0

    async def assign_unit(
        self, name: str, generation: int, unit: str, proposal: str, ttl_seconds: int
    ) -> str:
        """The first proposal wins."""
        self.calls += 1
        if self.is_away:
            raise StoreUnavailableError("away")
        return self.kept.setdefault((name, generation, unit), proposal)

    async def assigned_unit(self, name: str, generation: int, unit: str) -> str | None:
        """What was kept."""
        self.calls += 1
        if self.is_away:
            raise StoreUnavailableError("away")
        return self.kept.get((name, generation, unit))


@dataclass
class Gateway:
    """A running data plane and what a test wants to look at."""

    url: str
    holder: SnapshotHolder
    observer: Recorder
    units: UnitMemory
    sealer: ResponseIds
    session: aiohttp.ClientSession

    async def ask(
        self, model: str = EXPERIMENT, *, headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Reply:
        """One chat completion, read to its end."""
        return await self.post(orjson.dumps({"model": model, **QUESTION, **fields}), headers=headers)

    async def compare(self, **fields: Any) -> Reply:
        """One chat completion of a caller who takes two choices."""
        return await self.ask(n=2, **fields)

    async def post(self, body: bytes, *, headers: Mapping[str, str] | None = None) -> Reply:
        """These bytes as a request, and the answer read to its end."""
        async with self.session.post(
            f"{self.url}/v1/chat/completions", data=body, headers=dict(headers or {})
        ) as response:
            headers_seen = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, headers_seen, await response.read())


@dataclass(frozen=True)
class Reply:
    """A complete answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        """The body, parsed."""
        answer: dict[str, Any] = orjson.loads(self.body)
        return answer

    @property
    def error(self) -> dict[str, Any]:
        """The error it reports."""
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def text(self) -> str:
        """What the first choice says."""
        said: str = self.json["choices"][0]["message"]["content"]
        return said

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON events of a stream."""
        return [orjson.loads(data) for data in self._data() if data != b"[DONE]"]

    @property
    def is_done(self) -> bool:
        """Whether a stream ended with `[DONE]`."""
        return self._data()[-1:] == [b"[DONE]"]

    def said(self, index: int = 0) -> str:
        """The streamed text of one choice."""
        return "".join(
            choice["delta"].get("content") or ""
            for event in self.events
            for choice in event.get("choices", [])
            if choice["index"] == index
        )

    def _data(self) -> list[bytes]:
        lines = self.body.splitlines()
        return [line[5:].strip() for line in lines if line.startswith(b"data:")]


def entry(name: str, api_base: str, *, provider: str = "openai", **params: Any) -> ModelEntry:
    """A `model_list` entry served by the fake provider under its own name."""
    return ModelEntry.model_validate(
        {
            "model_name": name,
            "litellm_params": {
                "model": f"{provider}/{name}",
                "api_base": api_base,
                "api_key": "sk-provider",
                **params,
            },
        }
    )


def plan(pairs: Sequence[tuple[int, int, float]] = ((0, 1, 1.0),), version: int = 3) -> PublishedPlan:
    """A plan that draws these pairs."""
    proposal = ProposedPlan(
        comparisons=0,
        pairs=tuple(PlannedPair(*pair) for pair in pairs),
        leader=0,
        evidence_nats=(0.0, 0.0),
        needed_nats=(3.0, 3.0),
        expected_remaining=None,
        duration_seconds=0.1,
    )
    return PublishedPlan(proposal, version=version, fence=1, created_at=NOW)


def experiment(
    api_base: str,
    policies: Mapping[str, Mapping[str, Any]] | None = None,
    **changes: Any,
) -> LiveExperiment:
    """A running experiment of `alpha` (incumbent, model `small`) against `beta` (model `large`)."""
    specs = policies or {
        "alpha": {"model": "small", "system": "You are alpha."},
        "beta": {"model": "large", "system": "You are beta."},
    }
    compiled = tuple(
        compile_policy(name, PolicySpec.model_validate(spec), entry(spec["model"], api_base))
        for name, spec in specs.items()
    )
    fields: dict[str, Any] = {
        "name": EXPERIMENT,
        "policies": compiled,
        "generation": 1,
        "state": ExperimentState.RUNNING,
        "incumbent": 0,
        "plan": plan(),
        "share": 1.0,
        "collect": "matched",
        "unit": "request",
        "window_seconds": 3600.0,
        "signals": {"thumb": 1.0},
        "tie_margin": 0.0,
    }
    return LiveExperiment(**{**fields, **changes})


@asynccontextmanager
async def running_gateway(
    experiments: Sequence[LiveExperiment],
    entries: Sequence[ModelEntry],
    *,
    timeouts: Timeouts = PATIENT,
    authenticator: Authenticator | None = None,
    max_body_bytes: int = 100_000,
    seed: int = 7,
    total_seconds: float = 60.0,
    ejection_clock: Callable[[], float] = time.monotonic,
    eject_after: int = FAILURES_IN_A_ROW,
    budget: RetryBudget | None = None,
    http2: bool = False,
) -> AsyncIterator[Gateway]:
    """The data plane, listening; closed again at the end. With `http2`, all models are asked over it."""
    if http2:
        entries = [entry.model_copy(update={"http2": True}) for entry in entries]
    snapshot = Snapshot(
        {live.name: live for live in experiments},
        model_targets(list(entries), {}),
    )
    holder, observer, units = SnapshotHolder(snapshot), Recorder(), UnitMemory()
    hooks = Hooks(observer)
    keys = SealingKeyHolder(SealingKeys(KEY))
    sealer = ResponseIds(keys, lambda: holder.current.experiments)
    budget = budget or RetryBudget()
    upstream = Upstreams(Relay(timeouts, budget), LitellmUpstream(timeouts))
    ejections = EjectionBook(hooks, ejection_clock, failures=eject_after)
    answering = Answering(
        attempts=Attempts(upstream, ejections, budget, hooks, total_seconds=total_seconds),
        response_ids=sealer,
        sticky=Sticky(units, keys, hooks),
        hooks=hooks,
        draws=random.Random(seed),
        clock=lambda: NOW,
    )
    app = FastAPI()
    install_error_handlers(app, reply_for)
    deps = InferenceDeps(
        snapshots=holder,
        answering=answering,
        authenticator=authenticator or Authenticator([]),
        hooks=hooks,
        max_body_bytes=max_body_bytes,
        limiter=Limiter(LimitStore(connect(NO_STORE), timeout_seconds=1), "test", hooks),
    )
    app.router.routes.extend(inference_routes(inference_endpoints(deps)))
    try:
        async with _served(app) as url, aiohttp.ClientSession(headers=JSON) as session:
            yield Gateway(url, holder, observer, units, sealer, session)
    finally:
        await upstream.aclose()


@asynccontextmanager
async def _served(app: FastAPI) -> AsyncIterator[str]:
    config = uvicorn.Config(app, port=0, lifespan="off", log_level="critical", access_log=False, ws="none")
    config.load()
    server = uvicorn.Server(config)
    # The steps of `serve` without its main loop, which would look only every 0.1 s whether to stop.
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.force_exit = True
        await server.shutdown()


async def eventually(is_true: Any, what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as the condition holds; fail saying what never happened."""
    async with asyncio.timeout(seconds):
        while not is_true():
            await asyncio.sleep(0.002)
    assert is_true(), what
