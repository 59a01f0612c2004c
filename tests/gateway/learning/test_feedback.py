"""What users say is counted once; what cannot be counted is refused by name and changes nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.api.feedback_models import parse_feedback
from gateway.errors import InvalidFeedbackError
from gateway.learning.acknowledging import DISCARD_REASONS, NotCounted
from gateway.learning.given_feedback import preference_result
from gateway.learning.signals import signal_value
from policy_store.log_records import Result
from tests.gateway.building import NAME, gateway_config
from tests.gateway.fake_upstream import FakeUpstream
from tests.gateway.whole import Reply, Whole, quick_settings, whole_gateway
from tests.pace import PATIENCE_SECONDS


async def discarded(gateway: Whole, reason: str) -> float:
    """How much feedback was refused for this reason."""
    assert reason in DISCARD_REASONS
    return await gateway.metric("llmpo_feedback_discarded_total", reason=reason)


async def comparisons(gateway: Whole) -> int:
    """How many were counted."""
    count: int = (await gateway.experiment())["comparisons"]
    return count


# Side by side


async def test_preference_is_a_comparison_at_once(side_by_side: Whole) -> None:
    """The user saw both, so nothing has to be waited for."""
    reply = await side_by_side.feed(id=(await side_by_side.compare()).json["id"], preferred=1)

    assert reply.status == 200
    assert reply.json["status"] == "counted"
    assert await comparisons(side_by_side) == 1


async def test_tie_and_both_bad_are_ties(side_by_side: Whole) -> None:
    """Neither says which is better."""
    for verdict in ("tie", "both_bad"):
        await side_by_side.feed(id=(await side_by_side.compare()).json["id"], preferred=verdict)

    found = await side_by_side.experiment()
    assert found["ties"] == [[0, 2], [2, 0]]
    assert found["wins"] == [[0, 0], [0, 0]]


async def test_the_named_choice_wins_whatever_the_order_shown(side_by_side: Whole) -> None:
    """The order of the choices is drawn anew each time, and the count follows the policies."""
    shown = set()
    for _ in range(12):
        answer = (await side_by_side.compare()).json
        texts = [choice["message"]["content"] for choice in answer["choices"]]
        shown.add(texts[0])
        await side_by_side.feed(id=answer["id"], preferred=texts.index("I am warm."))

    found = await side_by_side.experiment()
    assert shown == {"I am plain.", "I am warm."}
    assert found["policies"] == ["plain", "warm"]
    assert found["wins"] == [[0, 0], [12, 0]]


# Matched


async def test_first_outcome_waits_and_the_other_policys_completes_it(matched: Whole) -> None:
    """Two users' outcomes, one per policy, make one comparison."""
    replies: dict[str, Any] = {}
    while len(replies) < 2:
        answer = (await matched.ask()).json
        text = answer["choices"][0]["message"]["content"]
        if text not in replies:
            replies[text] = (
                await matched.feed(id=answer["id"], signal="thumb", value=text == "I am warm.")
            ).json

    assert [reply["status"] for reply in replies.values()] == ["pending", "counted"]
    assert (await matched.experiment())["wins"] == [[0, 0], [1, 0]]


async def test_action_needs_no_value(matched: Whole) -> None:
    """Reporting that an answer was copied says that it was."""
    reply = await matched.feed(id=(await matched.ask()).json["id"], signal="copied")
    assert reply.json["status"] == "pending"


# Once


async def test_same_feedback_again_is_counted_once(side_by_side: Whole) -> None:
    """A repeated report counts once, even if both copies arrive at the same time."""
    answer = (await side_by_side.compare()).json
    replies = await asyncio.gather(*(side_by_side.feed(id=answer["id"], preferred=0) for _ in range(8)))

    assert sorted(reply.json["status"] for reply in replies) == ["counted"] + ["duplicate"] * 7
    assert await comparisons(side_by_side) == 1
    assert await side_by_side.metric("llmpo_feedback_total", status="duplicate") == 7


async def test_idempotency_key_and_comment_are_accepted_and_change_nothing(side_by_side: Whole) -> None:
    """A repeated report is a duplicate, whatever key it carries."""
    answer = (await side_by_side.compare()).json
    first = await side_by_side.feed(id=answer["id"], preferred=0, idempotency_key="a", comment="Nice.")
    again = await side_by_side.feed(id=answer["id"], preferred=0, idempotency_key="b")

    assert (first.json["status"], again.json["status"]) == ("counted", "duplicate")


async def test_contradicting_feedback_is_refused(side_by_side: Whole) -> None:
    """The first report stands."""
    answer = (await side_by_side.compare()).json
    await side_by_side.feed(id=answer["id"], preferred=0)
    before = await side_by_side.experiment()

    reply = await side_by_side.feed(id=answer["id"], preferred=1)

    assert (reply.status, reply.code) == (422, "contradicting")
    assert (await side_by_side.experiment())["wins"] == before["wins"]
    assert await discarded(side_by_side, "contradicting") == 1


# Refused


# Not counted


def not_counted(reply: Reply, reason: NotCounted) -> bool:
    """Whether the report was in order and the answer says that it changes nothing, and why."""
    assert {*reply.json} == {"status", "reason", "experiment", "detail"}, reply.body
    return (reply.status, reply.json["status"], reply.json["reason"]) == (200, "not_counted", reason)


async def test_feedback_for_a_finished_experiment_is_not_counted(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """An answer given before the decision may be rated after it; no application can know of the decision."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        promotion={"min_comparisons": 1},
        max_comparisons=1,
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        late, last = (await gateway.compare()).json, (await gateway.compare()).json
        await gateway.feed(id=last["id"], preferred="tie")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await gateway.experiment())["state"] == "running":
                await asyncio.sleep(0.005)

        reply = await gateway.feed(id=late["id"], preferred=0)

        assert not_counted(reply, NotCounted.FINISHED)
        assert await comparisons(gateway) == 1
        assert await discarded(gateway, "finished") == 1
        again = await gateway.feed(id=last["id"], preferred="tie")
        assert again.json["status"] == "duplicate"


async def test_forged_truncated_and_foreign_ids_are_refused(side_by_side: Whole) -> None:
    """An id counts only if this gateway issued it and it arrives unchanged."""
    real = (await side_by_side.compare()).json["id"]
    middle = len(real) // 2
    forged = real[:middle] + ("A" if real[middle] != "A" else "B") + real[middle + 1 :]
    refusals = {
        forged: (400, "forged_id"),
        real[:-6]: (400, "malformed_id"),
        "chatcmpl-9a8b7c": (400, "malformed_id"),
        "x": (400, "malformed_id"),
    }
    for response_id, expected in refusals.items():
        reply = await side_by_side.feed(id=response_id, preferred=0)
        assert (reply.status, reply.code) == expected

    assert await comparisons(side_by_side) == 0
    assert await discarded(side_by_side, "forged_id") == 1
    assert await discarded(side_by_side, "malformed_id") == 3


async def test_feedback_after_the_window_is_not_counted(upstream: FakeUpstream, embedded_url: str) -> None:
    """Up to its last second it is; a later word changes nothing, and the application did no wrong."""
    now = [1_800_000_000.0]
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "collect": "side_by_side"},
        feedback={"window": "1h"},
    )
    async with whole_gateway(config, quick_settings(embedded_url), clock=lambda: now[0]) as gateway:
        await gateway.planned()
        answer, late = (await gateway.compare()).json, (await gateway.compare()).json
        now[0] += 3600
        in_time = await gateway.feed(id=answer["id"], preferred=0)
        now[0] += 1

        reply = await gateway.feed(id=late["id"], preferred=0)

        assert in_time.json["status"] == "counted"
        assert not_counted(reply, NotCounted.EXPIRED)
        assert await comparisons(gateway) == 1
        assert await discarded(gateway, "expired_id") == 1


async def test_feedback_on_an_answer_outside_any_comparison_is_not_counted(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """Most answers are such ones and look like any other, so an application reports on them as well."""
    config = gateway_config(api_base=upstream.api_base, traffic={"share": 0.0})
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        reply = await gateway.feed(id=(await gateway.ask()).json["id"], signal="thumb", value=True)
        assert not_counted(reply, NotCounted.UNASSIGNED)
        assert reply.json["experiment"] == NAME
        assert await discarded(gateway, "unassigned_id") == 1
        assert await gateway.metric("llmpo_feedback_total") == 0


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"signal": "stars", "value": 5}, "unknown_signal"),
        ({"signal": "thumb", "value": 1}, "invalid_value"),
        ({"preferred": 0}, "wrong_kind"),
    ],
)
async def test_a_wrong_report_is_refused_whichever_answer_it_is_about(
    upstream: FakeUpstream, embedded_url: str, said: dict[str, Any], code: str
) -> None:
    """An application's mistake shows at its first report, not only on the share of answers that take part."""
    config = gateway_config(api_base=upstream.api_base, traffic={"share": 0.0})
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        reply = await gateway.feed(id=(await gateway.ask()).json["id"], **said)
        assert (reply.status, reply.code) == (422, code)


async def test_one_answer_cannot_be_preferred(matched: Whole) -> None:
    """A preference needs two; the refusal says what to send instead."""
    reply = await matched.feed(id=(await matched.ask()).json["id"], preferred=0)

    assert (reply.status, reply.code) == (422, "wrong_kind")
    assert '"signal"' in reply.json["error"]["message"]


async def test_two_answers_cannot_share_a_signal(side_by_side: Whole) -> None:
    """A thumb could be for either of the two; the refusal says what to send instead."""
    answer = (await side_by_side.compare()).json
    reply = await side_by_side.feed(id=answer["id"], signal="thumb", value=True)

    assert (reply.status, reply.code) == (422, "wrong_kind")
    assert '"preferred"' in reply.json["error"]["message"]


async def test_another_signal_of_a_settled_answer_is_no_contradiction(matched: Whole) -> None:
    """An answer that was liked and then copied has one outcome; the application did nothing wrong."""
    answer = (await matched.ask()).json
    await matched.feed(id=answer["id"], signal="thumb", value=True)

    reply = await matched.feed(id=answer["id"], signal="copied")
    other = await matched.feed(id=answer["id"], signal="thumb", value=False)

    assert (reply.status, reply.json["status"]) == (200, "duplicate")
    assert "settled" in reply.json["detail"]
    assert (other.status, other.code) == (422, "contradicting")


async def test_another_answer_of_a_settled_session_is_no_contradiction(
    upstream: FakeUpstream, embedded_url: str
) -> None:
    """A session has one outcome; liking its first answer and not its second is no fault of the caller's."""
    config = gateway_config(
        api_base=upstream.api_base,
        traffic={"share": 1.0, "unit": "session"},
        promotion={"min_comparisons": 10_000},
    )
    async with whole_gateway(config, quick_settings(embedded_url)) as gateway:
        await gateway.planned()
        one, two = [(await gateway.ask(metadata={"session_id": "s"})).json["id"] for _ in range(2)]
        first = await gateway.feed(id=one, signal="thumb", value=True)

        other = [await gateway.feed(id=two, signal="thumb", value=liked) for liked in (False, True)]
        again = await gateway.feed(id=one, signal="thumb", value=True)
        contradiction = await gateway.feed(id=one, signal="thumb", value=False)

        assert first.json["status"] == "pending"
        assert [reply.json["status"] for reply in (*other, again)] == ["duplicate"] * 3
        assert "settled" in other[0].json["detail"]
        assert (contradiction.status, contradiction.code) == (422, "contradicting")


async def test_refused_feedback_is_counted_by_reason_and_changes_nothing(matched: Whole) -> None:
    """Each wrong report gets a 4xx of OpenAI's shape: wrong types or values, unknown signals, broken JSON."""
    response_id = (await matched.ask()).json["id"]
    unknown_before = await discarded(matched, "unknown_signal")
    value = await matched.feed(id=response_id, signal="thumb", value=1)
    signal = await matched.feed(id=response_id, signal="stars", value=5)
    bodies = [await matched.call("POST", "/v1/feedback", raw=raw) for raw in MALFORMED]

    assert (value.status, value.code) == (422, "invalid_value")
    assert (signal.status, signal.code) == (422, "unknown_signal")
    assert {(reply.status, reply.code) for reply in bodies} == {(400, "invalid_body")}
    assert await discarded(matched, "invalid_value") == 1
    assert await discarded(matched, "unknown_signal") == unknown_before + 1
    assert await discarded(matched, "invalid_body") == len(MALFORMED)
    assert (await matched.feed(id=response_id, signal="thumb", value=True)).json["status"] == "pending"


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b'"x"',
    b'{"id": 5, "signal": "thumb", "value": true}',
    b'{"signal": "thumb", "value": true}',
    b'{"id": "x", "signal": "score", "value": NaN}',
    b'{"id": "x", "signal": "score", "value": 1e999}',
    b'{"id": "x", "signal": "score", "value": Infinity}',
    b"\xff\xfe",
    b'{"id": "\xed\xa0\x80"}',
    b"[" * 100_000,
]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"signal": "thumb", "value": "true"}, "value"),
        ({"signal": "thumb", "value": [True]}, "value"),
        ({"signal": 3, "value": True}, "signal"),
        ({"preferred": 2}, "preferred"),
        ({"preferred": True}, "preferred"),
        ({"preferred": 0.0}, "preferred"),
        ({"preferred": "left"}, "preferred"),
        ({}, None),
        ({"signal": "thumb", "value": True, "preferred": 0}, None),
        ({"preferred": 0, "value": True}, None),
        ({"signal": "thumb", "value": True, "comment": 5}, "comment"),
        ({"signal": "thumb", "value": True, "idempotency_key": 5}, "idempotency_key"),
        ({"signal": "thumb", "vaule": True}, "vaule"),
    ],
)
def test_body_of_another_form_is_refused_by_name(body: dict[str, Any], param: str | None) -> None:
    """Nothing is guessed: true is not 1, 0.0 not 0, and an unknown field is a mistake."""
    with pytest.raises(InvalidFeedbackError) as refused:
        parse_feedback({"id": "x", **body})
    assert (refused.value.reason, refused.value.param) == ("invalid_body", param)


def test_misspelt_field_is_told_its_name() -> None:
    """The refusal names the field that was meant."""
    with pytest.raises(InvalidFeedbackError, match="'value'"):
        parse_feedback({"id": "x", "signal": "thumb", "vaule": True})


async def test_oversized_body_is_refused(upstream: FakeUpstream, embedded_url: str) -> None:
    """A body past the limit is not read to its end."""
    settings = quick_settings(embedded_url, max_body_bytes=2048)
    async with whole_gateway(gateway_config(api_base=upstream.api_base), settings) as gateway:
        raw = json.dumps({"id": "x", "comment": "y" * 4096}).encode()
        reply = await gateway.call("POST", "/v1/feedback", raw=raw)

        assert reply.status == 413
        assert await discarded(gateway, "body_too_large") == 1


async def test_unknown_experiment_is_refused(upstream: FakeUpstream, embedded_url: str) -> None:
    """Feedback on an experiment that was taken out of the configuration."""
    settings = quick_settings(embedded_url)
    config = gateway_config(api_base=upstream.api_base)
    async with whole_gateway(config, settings) as gateway:
        await gateway.planned()
        answer = (await gateway.ask()).json
    async with whole_gateway(gateway_config(api_base=upstream.api_base, name="other"), settings) as gateway:
        reply = await gateway.feed(id=answer["id"], signal="thumb", value=True)
        assert (reply.status, reply.code) == (404, "unknown_experiment")


async def test_method_and_path_errors_have_openais_shape(matched: Whole) -> None:
    """Requests that reach no endpoint get errors of OpenAI's shape too."""
    assert (await matched.get("/v1/feedback")).status == 405
    assert (await matched.get("/v1/nothing")).status == 404
    for path in ("/v1/feedback", "/v1/nothing"):
        assert (await matched.get(path)).json["error"]["message"]


# Values


@pytest.mark.parametrize(
    ("signal", "value", "weight", "expected"),
    [
        ("thumb", True, 1.0, 1.0),
        ("thumb", False, 1.0, -1.0),
        ("score", 3, 1.0, 3.0),
        ("score", -0.5, 0.5, -0.25),
        ("edited", None, -0.25, -0.25),
        ("regenerated", True, -0.5, -0.5),
        ("copied", False, 0.5, -0.5),
        ("resolved", True, 1.0, 1.0),
        ("seconds", 12.5, -1.0, -12.5),
    ],
)
def test_signals_are_worth_their_weight(
    signal: str, value: bool | float | None, weight: float, expected: float
) -> None:
    """True is +1, false -1, a number itself; times what the operator declared."""
    assert signal_value(signal, value, {signal: weight}) == expected


@pytest.mark.parametrize(
    ("grade", "scale", "expected"),
    [
        (1, (1.0, 5.0), -1.0),
        (3, (1.0, 5.0), 0.0),
        (4, (1.0, 5.0), 0.5),
        (5, (1.0, 5.0), 1.0),
        (0.7e308, (-1e308, 0.7e308), 1.0),
    ],
)
def test_grades_are_spread_over_their_scale(
    grade: float, scale: tuple[float, float], expected: float
) -> None:
    """The worst grade is worth a thumb down, the best one a thumb up, times the weight."""
    assert signal_value("stars", grade, {"stars": 1.0}, {"stars": scale}) == pytest.approx(expected)
    assert signal_value("stars", grade, {"stars": -0.5}, {"stars": scale}) == pytest.approx(-expected / 2)


@pytest.mark.parametrize("grade", [0, 5.5, True, None, float("nan"), float("inf"), 10**400])
def test_grades_outside_of_their_scale_are_refused(grade: float | bool | None) -> None:
    """The sentence says what grades there are."""
    with pytest.raises(InvalidFeedbackError, match="a number from 1 to 5"):
        signal_value("stars", grade, {"stars": 1.0}, {"stars": (1.0, 5.0)})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_outcomes_are_finite(value: float) -> None:
    """Infinity would win every comparison, NaN none."""
    with pytest.raises(InvalidFeedbackError, match="finite"):
        signal_value("score", value, {"score": 1.0})


def test_unknown_signal_names_the_declared_ones() -> None:
    """The caller learns what to send."""
    with pytest.raises(InvalidFeedbackError, match="score, thumb"):
        signal_value("stars", 5, {"thumb": 1.0, "score": 1.0})


@pytest.mark.parametrize(
    ("preferred", "side", "expected"),
    [
        (0, 0, Result.WIN),
        (1, 0, Result.LOSS),
        (0, 1, Result.LOSS),
        (1, 1, Result.WIN),
        ("tie", 1, Result.TIE),
    ],
)
def test_preference_is_translated_back_through_the_order_shown(
    preferred: Any, side: int, expected: Result
) -> None:
    """`side` 1 means that choice 0 showed the pair's second policy."""
    assert preference_result(preferred, side) is expected


async def test_comments_are_neither_stored_nor_logged(
    side_by_side: Whole, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a user wrote stays with the caller."""
    await side_by_side.feed(id=(await side_by_side.compare()).json["id"], preferred=0, comment="tell-tale")

    log = await side_by_side.get(f"/v1/experiments/{NAME}/log")
    assert b"tell-tale" not in log.body
    assert "tell-tale" not in "".join(capfd.readouterr())
