"""A cap on the votes of a user over the whole experiment: who may vote, and what a certificate then says."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from gateway.cli.verify import integrity_sentences
from gateway.config.load import load_config
from gateway.errors import ConfigError
from gateway.experiments.integrity import ONE_EACH, SEVERAL_PAIRS
from gateway.proof.recorded import RecordedExperiment, read_log
from gateway.proof.verification import verify
from policy_store.store import PolicyStore
from tests.gateway.building import NAME, config_fields, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.process import Served
from tests.gateway.whole import JSON, Whole, quick_settings, whole_gateway

POLICIES: Final = ("plain", "warm", "witty")
ONE: Final[dict[str, Any]] = {"voter_cap_per_experiment": 1}
OVER: Final = ("not_counted", "voter_cap_per_experiment")
AT_ONCE: Final = {"min_duration": "0s", "min_comparisons": 10, "min_voters": 0}


def fields(upstream: FakeUpstream, feedback: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Three policies, and a decision far away unless a test asks for one."""
    return config_fields(
        api_base=upstream.api_base,
        policies=POLICIES,
        feedback=ONE if feedback is None else feedback,
        **{"promotion": {"min_comparisons": 10_000}, **more},
    )


@asynccontextmanager
async def served(upstream: FakeUpstream, url: str, **more: Any) -> AsyncIterator[Whole]:
    """A gateway with such an experiment."""
    config = gateway_config(**{"api_base": upstream.api_base, "policies": POLICIES, "feedback": ONE, **more})
    async with whole_gateway(config, quick_settings(url)) as gateway:
        await gateway.planned()
        yield gateway


async def voted(gateway: Whole, **request: Any) -> tuple[str, str | None]:
    """What becomes of a thumb on a fresh answer."""
    answer = await gateway.ask(**request)
    said = await gateway.feed(id=answer.json["id"], signal="thumb", value=True)
    return said.json["status"], said.json.get("reason")


async def test_a_user_votes_once_whichever_policies_answer(upstream: FakeUpstream, embedded_url: str) -> None:
    """Sessions are capped like users, votes without either are not; the metric says how many were refused."""
    async with served(upstream, embedded_url, promotion={"min_comparisons": 10_000}) as gateway:
        of_ann = [await voted(gateway, user="ann") for _ in range(8)]
        of_session = [await voted(gateway, metadata={"session_id": "s"}) for _ in range(4)]
        of_nobody = [await voted(gateway) for _ in range(4)]
        refused = await gateway.metric("llmpo_feedback_discarded_total", reason="voter_cap_per_experiment")

    assert of_ann[0][0] in {"pending", "counted"}
    assert of_ann[1:] == [OVER] * 7
    assert of_session[1:] == [OVER] * 3
    assert {status for status, _ in of_nobody} <= {"pending", "counted"}
    assert refused == 10


async def test_a_batch_holds_one_vote_of_a_user(upstream: FakeUpstream, embedded_url: str) -> None:
    """Reports that arrive together are counted one after another."""
    async with served(upstream, embedded_url, promotion={"min_comparisons": 10_000}) as gateway:
        ids = [(await gateway.ask(user="ann")).json["id"] for _ in range(6)]
        reply = await gateway.feed(reports=[{"id": each, "signal": "thumb", "value": True} for each in ids])

    reasons = Counter(each.get("reason") for each in reply.json["results"])
    assert reasons == {None: 1, "voter_cap_per_experiment": 5}


async def test_a_correction_takes_no_second_vote(upstream: FakeUpstream, embedded_url: str) -> None:
    """A changed mind replaces the one vote that a user has; a repetition is none either."""
    feedback = {**ONE, "changed_mind": "replace"}
    async with served(
        upstream, embedded_url, feedback=feedback, promotion={"min_comparisons": 10_000}
    ) as gateway:
        answer = (await gateway.ask(user="ann")).json["id"]
        became = [
            (await gateway.feed(id=answer, signal="thumb", value=value)).json["status"]
            for value in (True, True, False)
        ]
        assert await voted(gateway, user="ann") == OVER
        assert await voted(gateway, user="bob") != OVER

    assert became == ["pending", "duplicate", "replaced"]


async def test_two_answers_side_by_side_are_one_vote(upstream: FakeUpstream, embedded_url: str) -> None:
    """A preference between two answers uses up the vote as well."""
    more = {"traffic": {"share": 1.0, "collect": "side_by_side"}, "promotion": {"min_comparisons": 10_000}}
    async with served(upstream, embedded_url, **more) as gateway:
        became = []
        for user in ("ann", "ann", "ann", "bob"):
            answer = await gateway.ask(n=2, user=user)
            became.append((await gateway.feed(id=answer.json["id"], preferred=0)).json["status"])

    assert became == ["counted", "not_counted", "not_counted", "counted"]


async def test_held_votes_count_in_the_order_of_their_answers(
    upstream: FakeUpstream, embedded_url: str, embedded_store: PolicyStore
) -> None:
    """With a hold, the earliest answer has the vote, whenever its report came."""
    feedback = {**ONE, "hold": "1h"}
    async with served(
        upstream, embedded_url, feedback=feedback, promotion={"min_comparisons": 10_000}
    ) as gateway:
        assert [await voted(gateway, user="ann") for _ in range(3)] == [("held", None)] * 3
        held = embedded_store._names.experiment(NAME).generation(1).held
        await embedded_store._redis.zunionstore(held, {held: 0.5})

        async def is_counted() -> bool:
            return (await gateway.experiment())["reports_held"] == 0

        await gateway.eventually(is_counted, "the holds over")
        refused = await gateway.metric("llmpo_feedback_discarded_total", reason="voter_cap_per_experiment")
        waiting = (await embedded_store.counts(NAME, 1)).waiting
        assert await voted(gateway, user="ann") == OVER

    assert refused == 2
    assert sum(map(sum, waiting.values())) == 1


async def _decided(gateway: Whole, *, names_users: bool = True) -> RecordedExperiment:
    """The log of an experiment in which users prefer `warm`, each of them asked twice."""
    for number in range(3_000):
        reply = await gateway.ask(**({"user": f"user-{number // 2}"} if names_users else {}))
        await gateway.feed(id=reply.json["id"], signal="thumb", value=reply.text == "I am warm.")
        if number % 20 == 0 and (await gateway.experiment())["state"] == "promoted":
            break
    log = await gateway.call("GET", f"/v1/experiments/{NAME}/log")
    return read_log(log.body.splitlines())


def _differing(recorded: RecordedExperiment, **changes: Any) -> list[str]:
    """What verifying finds if the certificate's statement on its votes says something else."""
    certificate = json.loads(json.dumps(recorded.certificate))
    certificate["integrity"].update(changes)
    return [
        each
        for each in verify(replace(recorded, certificate=certificate)).differences
        if each.startswith("integrity")
    ]


async def test_the_certificate_says_that_each_voter_gave_one_vote(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """The log shows it: no voter is named twice, and a certificate that says otherwise is found."""
    async with served(upstream, embedded_url, promotion=AT_ONCE) as gateway:
        recorded = await _decided(gateway)

    found = verify(recorded)
    assert found.is_confirmed, found.differences
    assert found.champion == "warm"
    said = (recorded.certificate or {})["integrity"]
    assert (said["voter_cap"], said["voter_cap_per_experiment"], said["uncapped_votes"]) == (1, 1, 0)
    assert ONE_EACH in list(integrity_sentences(said, found.policies))
    voters = Counter(voter for each in recorded.own.comparisons for voter in each.voters)
    assert max(voters.values()) == 1
    assert _differing(recorded) == []
    for changes in (
        {"voter_cap_per_experiment": 2},
        {"voter_cap_per_experiment": None},
        {"uncapped_votes": 3},
        {"independence": "All is well."},
    ):
        assert _differing(recorded, **changes), changes


async def test_the_certificate_says_what_the_cap_does_not_cover(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Votes that name no user cannot be capped: they are counted, and the claim is made with that reserve."""
    async with served(upstream, embedded_url, promotion=AT_ONCE) as gateway:
        recorded = await _decided(gateway, names_users=False)

    assert verify(recorded).is_confirmed, verify(recorded).differences
    certificate = recorded.certificate or {}
    said = certificate["integrity"]
    assert said["uncapped_votes"] == said["anonymous_votes"] == 2 * certificate["comparisons"]
    assert f"{said['uncapped_votes']} of the votes named no user" in said["independence"]


async def test_without_the_cap_nothing_new_is_stored_and_verify_says_what_that_means(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Definition and certificate have no word of it; three policies are reason enough for a remark."""
    async with served(upstream, embedded_url, feedback={}, promotion=AT_ONCE) as gateway:
        recorded = await _decided(gateway)

    assert "voter_cap" not in recorded.own.experiment.outcome_rules
    said = (recorded.certificate or {})["integrity"]
    assert not {"voter_cap_per_experiment", "uncapped_votes", "independence"} & said.keys()
    assert SEVERAL_PAIRS in list(integrity_sentences(said, 3))
    assert SEVERAL_PAIRS not in list(integrity_sentences(said, 2))


async def test_two_processes_race_for_the_last_vote_of_a_user(
    upstream: FakeUpstream, embedded_url: str, tmp_path: Path
) -> None:
    """Twenty reports of one user at once through two gateways: one counts, and so after both were killed."""
    async with aiohttp.ClientSession(headers=JSON) as session:
        folders = [tmp_path / "one", tmp_path / "two"]
        for folder in folders:
            folder.mkdir()
        processes = [Served(folder, fields(upstream), session) for folder in folders]
        try:
            gateways = [await each.start(LLMPO_REDIS_URL=embedded_url) for each in processes]
            await gateways[0].planned()
            ids = [(await gateways[n % 2].ask(user="ann")).json["id"] for n in range(20)]

            async def report(number: int) -> str:
                said = await gateways[number % 2].feed(id=ids[number], signal="thumb", value=True)
                return str(said.json.get("reason") or said.json["status"])

            raced = Counter(await asyncio.gather(*map(report, range(20))))
            assert raced.pop("voter_cap_per_experiment") == 19
            assert raced.total() == 1

            for each in processes:
                await each.kill()
            gateways = [await processes[1].start(LLMPO_REDIS_URL=embedded_url)] * 2
            again = Counter([await report(number) for number in range(20)])
            assert again == {"duplicate": 1, "voter_cap_per_experiment": 19}
        finally:
            for each in processes:
                each.clean_up()


@pytest.mark.parametrize(
    ("feedback", "problem"),
    [
        ({"voter_cap": 3, "voter_cap_per_experiment": 2}, "only 2 in all"),
        ({"voter_cap_per_experiment": 0}, "voter_cap_per_experiment"),
        ({"voter_cap_per_experiment": "many"}, "voter_cap_per_experiment"),
    ],
)
def test_a_cap_that_makes_no_sense_is_refused(
    upstream: FakeUpstream, tmp_path: Path, feedback: dict[str, Any], problem: str
) -> None:
    """The file is refused with the value and what would be right."""
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(fields(upstream, feedback)))
    with pytest.raises(ConfigError, match=problem):
        load_config(file, {})
