"""A whole gateway whose experiments stand as a test says: any plan, share or state, without the way there.

The gateway is that of `whole`, built by `create_app` from a configuration of models alone. The experiments
are put into the snapshot that its requests read, where the refresher would have put them; nothing is
registered in a store, so there need not be one.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.config.api_keys import hash_key
from gateway.config.experiments import PolicySpec
from gateway.config.gateway_file import GatewayConfig, ModelEntry
from gateway.experiments.policies import compile_policy
from gateway.experiments.response_ids import ResponseIds
from gateway.experiments.sealing_key import SealingKeyHolder, SealingKeys, key_from_secret
from gateway.experiments.snapshot import LiveExperiment, SnapshotHolder
from gateway.upstream.base import Timeouts
from policy_store.plan_records import PlannedPair, ProposedPlan, PublishedPlan
from policy_store.states import ExperimentState
from tests.gateway.building import NAME
from tests.gateway.whole import CHAT, Whole, quick_settings, whole_gateway

SECRET: Final = "the secret that seals the ids of tests"
NOW: Final = 1_800_000_000.0
NO_STORE: Final = "redis://127.0.0.1:9"
PATIENT: Final = Timeouts(connect=5, first_byte=10, total=20)


@dataclass
class Live(Whole):
    """A running gateway and what a test wants to look at or change inside."""

    holder: SnapshotHolder = field(kw_only=True)
    sealer: ResponseIds = field(kw_only=True)

    def change(self, name: str = NAME, **changes: Any) -> None:
        """Let an experiment stand otherwise, from the next request on."""
        current = self.holder.current
        live = replace(current.experiments[name], **changes)
        self.holder.current = replace(current, experiments={**current.experiments, name: live})


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
        "name": NAME,
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
async def live_gateway(
    experiments: Iterable[LiveExperiment],
    entries: Sequence[ModelEntry],
    *,
    store_url: str = NO_STORE,
    timeouts: Timeouts = PATIENT,
    client_keys: Sequence[str] = (),
    admin_keys: Sequence[str] = (),
    seed: int = 7,
    timer: Callable[[], float] = time.monotonic,
    http2: bool = False,
    **settings: Any,
) -> AsyncIterator[Live]:
    """The gateway, listening; closed again at the end. With `http2`, all models are asked over it."""
    if http2:
        entries = [entry.model_copy(update={"http2": True}) for entry in entries]
    # Not validated as a whole: some tests have models that no configuration file may have.
    config = GatewayConfig.model_construct(model_list=list(entries))
    run = quick_settings(
        store_url,
        **{
            "token_secret": SECRET,
            "refresh_seconds": 10.0,
            "max_body_bytes": 100_000,
            "connect_timeout_seconds": timeouts.connect,
            "first_byte_timeout_seconds": timeouts.first_byte,
            "stall_timeout_seconds": timeouts.stall,
            "upstream_timeout_seconds": timeouts.total,
            "request_timeout_seconds": 60.0,
            "client_keys": tuple(map(hash_key, client_keys)),
            "admin_keys": tuple(map(hash_key, admin_keys)),
            **settings,
        },
    )
    async with whole_gateway(config, run, seed=seed, clock=lambda: NOW, timer=timer) as whole:
        holder = whole.app.model_endpoints[CHAT]._deps.snapshots
        holder.current = replace(holder.current, experiments={live.name: live for live in experiments})
        keys = SealingKeyHolder(SealingKeys(key_from_secret(SECRET)))
        sealer = ResponseIds(keys, lambda: holder.current.experiments)
        yield Live(
            whole.url, whole.session, whole.key, whole.app, whole.observer, holder=holder, sealer=sealer
        )
