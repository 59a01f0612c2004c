"""Feedback that is not promoted on informs forecasts once its units can count no more, and no evidence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.catalogue import definitions_of
from gateway.experiments.definitions import Definition
from gateway.experiments.happenings import Generations
from gateway.experiments.plan_values import InformingSource
from gateway.experiments.store_history import StoreHistory
from gateway.learning.informing import Informing
from policy_store.connect import connect
from policy_store.errors import StoreUnavailableError
from policy_store.log_records import LoggedPlan, Result
from policy_store.moves import Move
from policy_store.names import Names
from policy_store.report_records import Report
from policy_store.roles import Role
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, config_fields, definition, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.judging.judges import judged_fields
from tests.gateway.whole import quick_settings, whole_gateway
from tests.policy_store.building import TERMS

_HELD = Names().experiment(NAME).generation(1, Role.IMPLICIT).held
_WINDOW = 3600


@pytest.fixture
def config(upstream: FakeUpstream) -> Any:
    """An experiment that only what users say decides."""
    return gateway_config(
        api_base=upstream.api_base,
        promote_on=["explicit"],
        feedback={"window": f"{_WINDOW}s"},
        promotion={"min_comparisons": 10_000},
    )


async def test_implicit_signals_inform_and_votes_count(
    config: Any, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """A copied answer informs two windows later; a thumb on the same answer still counts at once."""
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        answers = [(await gateway.ask()).json["id"] for _ in range(30)]
        copied = [(await gateway.feed(id=each, signal="copied")).json["status"] for each in answers]
        due = [at for _, at in await embedded_store._redis.zrange(_HELD, 0, -1, withscores=True)]
        rated = [(await gateway.feed(id=each, signal="thumb", value=True)).json["status"] for each in answers]
        now = (await embedded_store.counts(NAME, 1)).now
        early = await embedded_store.counts(NAME, 1, Role.IMPLICIT)
        await embedded_store._redis.zunionstore(_HELD, {_HELD: 0.5})
        await gateway.eventually(lambda: _has_informed(embedded_store), "what is due informs")
        counts = await embedded_store.counts(NAME, 1)
        said = await gateway.experiment()

    assert set(copied) == {"held"}
    assert {"counted"} <= set(rated) <= {"counted", "pending"}
    assert min(due) / 1e6 == pytest.approx(now + 2 * _WINDOW, abs=120)
    assert (early.comparisons, early.reports_held) == (0, 30)
    assert set(counts.by_source) == {"matched:thumb"}
    assert said["comparisons"] == counts.comparisons == rated.count("counted")


async def _has_informed(store: PolicyStore) -> bool:
    return (await store.counts(NAME, 1, Role.IMPLICIT)).comparisons > 0


async def test_same_signal_again_informs_once(config: Any, embedded_url: str) -> None:
    """Repetitions are recognised as those of votes are."""
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        answer = (await gateway.ask()).json["id"]
        received = [(await gateway.feed(id=answer, signal="copied")).json["status"] for _ in range(3)]
    assert received == ["held", "duplicate", "duplicate"]


async def test_planner_weighs_what_informs(
    config: Any, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """The plan says how likely its forecasts use each source, and follows new counts of a source alone."""
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        first = (await embedded_store.view(NAME)).plan
        for number in range(20):
            said = Report(NAME, 1, f"u{number}", 0, 1, "matched:copied", "win", 60, informs=Role.IMPLICIT)
            await embedded_store.record_preference(said, Result.WIN)
        await gateway.eventually(lambda: _is_used(embedded_store), "a plan that knows of it")
        then = (await embedded_store.view(NAME)).plan
        forecasts = await _forecast(embedded_store)
        shown = (await gateway.experiment())["sources"]
        believed = await gateway.metric("llmpo_experiment_informing_used", experiment=NAME, source="implicit")

    assert first is not None
    assert then is not None
    assert dict(first.proposal.used) == {}
    assert dict(then.proposal.used) == {"implicit": pytest.approx(0.7)}
    nothing = {"pairs": 0, "agreed": 0, "low": 0.0, "high": 1.0, "gained_nats": pytest.approx(0.0)}
    assert shown == [{"name": "implicit", "comparisons": 20, "used": pytest.approx(0.7), **nothing}]
    assert believed == pytest.approx(0.7)
    assert forecasts[-1] > forecasts[0] + 5_000


async def _is_used(store: PolicyStore) -> bool:
    plan = (await store.view(NAME)).plan
    informed = await store.counts(NAME, 1, Role.IMPLICIT)
    return plan is not None and bool(plan.proposal.used) and informed.comparisons == 20


async def _forecast(store: PolicyStore) -> list[int]:
    records, _ = await store.log(NAME, 1)
    return [record.forecasts[0][2] for record in records if isinstance(record, LoggedPlan)]


async def test_only_sources_that_the_file_has_are_read(embedded_store: PolicyStore) -> None:
    """Verdicts inform where there is a judge beside the traffic; without sources a look reads nothing."""
    plain, shadow = definition(), _defined(judged_fields())
    judged = _defined(judged_fields(traffic={"share": 1.0, "collect": "matched"}))
    await embedded_store.register(plain.experiment, plain.elimination_nano_nats)
    said = Report(NAME, 1, "judged", 0, 1, "judge", "win", 60, informs=Role.JUDGE)
    await embedded_store.record_preference(said, Result.WIN)
    view = await embedded_store.view(NAME)

    async def sources(store: PolicyStore, of: Definition) -> tuple[InformingSource, ...]:
        informing = Informing(store, Generations(store, StoreHistory()))
        return await informing.sources(of, view, await informing.counts(of, view), None)

    (found,) = await sources(embedded_store, judged)
    assert (found.name, found.comparisons) == ("judge", 1)
    away = PolicyStore(connect("redis://127.0.0.1:9"), timeout_seconds=5)
    assert await sources(away, plain) == ()
    assert await sources(away, shadow) == ()
    with pytest.raises(StoreUnavailableError):
        await sources(away, judged)


def _defined(fields: dict[str, Any]) -> Definition:
    return definitions_of(GatewayConfig.model_validate(fields))[NAME]


async def test_counts_of_a_run_inform_from_the_first_plan(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore, tmp_path: Any
) -> None:
    """They are in the stored definition, so that no replica needs the directory to plan."""
    plain = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(plain, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        prints = (await embedded_store.view(NAME)).experiment.policy_fingerprints
    header = {"experiment": {"policy_fingerprints": prints}, "certificate": {"wins": [[0, 30], [5, 0]]}}
    (tmp_path / "log.jsonl").write_text(json.dumps(header) + "\n", encoding="utf-8")
    informed = gateway_config(api_base=upstream.api_base, prior={"run": str(tmp_path)})
    async with whole_gateway(informed, quick_settings(embedded_url)) as gateway:
        await gateway.eventually(lambda: _used_run(embedded_store), "a plan that knows of the run")
        view = await embedded_store.view(NAME)

    assert json.loads(view.experiment.prior) == {"run": [[0, 30], [5, 0]]}
    assert view.generation == 2


async def _used_run(store: PolicyStore) -> bool:
    plan = (await store.view(NAME)).plan
    return plan is not None and "run" in plan.proposal.used


async def test_earlier_generation_informs_about_a_changed_policy(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """Its counts are no evidence for the changed policy, and forecasts know of them."""
    undecided = {"promotion": {"min_comparisons": 10_000}}
    plain = gateway_config(api_base=upstream.api_base, **undecided)
    async with whole_gateway(plain, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        for number in range(20):
            said = Report(NAME, 1, f"u{number}", 0, 1, "matched:thumb", "win", 60)
            await embedded_store.record_preference(said, Result.WIN)
    edited = {"plain": {"model": "plain"}, "warm": {"model": "warm", "system": "Be kind."}}
    fields = config_fields(api_base=upstream.api_base, prior={"earlier": True}, **undecided)
    fields["experiments"][NAME]["policies"] = edited
    changed = GatewayConfig.model_validate(fields)
    async with whole_gateway(changed, quick_settings(embedded_url)) as gateway:
        await gateway.eventually(lambda: _used_earlier(embedded_store), "a plan that knows of it")
        counts = await embedded_store.counts(NAME, 2)

    assert (counts.comparisons, counts.inherited) == (0, 0)


async def _used_earlier(store: PolicyStore) -> bool:
    plan = (await store.view(NAME)).plan
    return plan is not None and dict(plan.proposal.used) == {"earlier": pytest.approx(0.7)}


async def test_what_was_decided_informs_the_next_question(embedded_store: PolicyStore) -> None:
    """After a verdict no count is evidence any more; the number before may be that of a watch."""
    before = definition()
    await embedded_store.register(before.experiment, before.elimination_nano_nats)
    for number in range(20):
        said = Report(NAME, 1, f"u{number}", 0, 1, "matched:thumb", "win", 60)
        await embedded_store.record_preference(said, Result.WIN)
    fence = await embedded_store.acquire_lease(NAME, "planner", 60)
    assert fence is not None
    await embedded_store.decide(NAME, 1, fence, move=Move.PROMOTE, champion=1, certificate={})
    await embedded_store.begin_watch(NAME, 1, fence, TERMS, 10**9)
    after = definition(policies=("plain", "warm", "cold"), incumbent="warm", prior={"earlier": True})
    view = await embedded_store.register(after.experiment, after.elimination_nano_nats)
    counts = await embedded_store.counts(NAME, view.generation)
    informing = Informing(embedded_store, Generations(embedded_store, StoreHistory()))

    (found,) = await informing.sources(after, view, {}, counts.inherited_from)

    assert (view.generation, counts.comparisons) == (3, 0)
    assert (found.name, found.wins) == ("earlier", ((0, 0, 0), (0, 0, 20), (0, 0, 0)))


async def test_verdicts_go_on_informing_after_a_change_of_policies(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """Two replicas take up a file with another policy: the first plan knows what the judge said before."""
    beside = {"traffic": {"share": 0.5, "collect": "matched"}, "promotion": {"min_comparisons": 10_000}}
    before, after = (
        GatewayConfig.model_validate(judged_fields(api_base=upstream.api_base, policies=policies, **beside))
        for policies in (("plain", "warm"), ("plain", "warm", "cold"))
    )
    async with whole_gateway(before, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        for number in range(20):
            said = Report(NAME, 1, f"u{number}", 0, 1, "judge", "win", 60, informs=Role.JUDGE)
            await embedded_store.record_preference(said, Result.WIN)
    async with (
        whole_gateway(after, quick_settings(embedded_url)) as gateway,
        whole_gateway(after, quick_settings(embedded_url)),
    ):
        await gateway.eventually(lambda: _knows_the_judge(embedded_store), "a plan that knows of the judge")
        records, _ = await embedded_store.log(NAME, 2)
        shown = (await gateway.experiment())["sources"]

    plans = [record for record in records if isinstance(record, LoggedPlan)]
    _, _, plain_wins, warm_wins, *_ = next(each for each in plans[0].forecasts if each[:2] == (1, 2))
    assert plain_wins > warm_wins + 100_000
    assert [(each["name"], each["comparisons"]) for each in shown] == [("judge", 20)]


async def _knows_the_judge(store: PolicyStore) -> bool:
    view = await store.view(NAME)
    return view.generation == 2 and view.plan is not None and "judge" in view.plan.proposal.used
