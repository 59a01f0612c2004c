"""Compares two policies' answers to a request whose caller has been served.

    unseen pair -> money set aside -> the answers that are missing -> the judge, in both orders -> counted

Providers are asked here without ejection, retries or fallbacks, and through clients of its own: what judging
does is part of no caller's limits and metrics, and takes nothing from live calls. A comparison that fails at
any step is lost; nothing of it is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

from gateway.errors import RenderError, UpstreamError
from gateway.experiments.formats import FORMATS
from gateway.instrumentation.hooks import Hooks
from gateway.instrumentation.records import JudgeCalled, JudgeRole, NotJudged, PairJudged
from gateway.judging.prompt import judge_messages
from gateway.judging.spending import Bill, expected_usd, nano
from gateway.judging.texts import conversation_text, finished_text_in, text_in
from gateway.judging.unkept import unkept
from gateway.judging.unseen import Dropped, UnseenPair
from gateway.judging.verdicts import Judged, ResultWord, both_of, judged
from gateway.upstream.base import Upstream, UpstreamRequest
from gateway.upstream.json_text import parsed
from gateway.upstream.prices import TokenPrices
from policy_store.errors import StoreError

_TIMEOUT: Final = "timeout"
_TEMPLATE: Final = "template"

Count = Callable[[UnseenPair, ResultWord], Awaitable[Dropped | None]]
"""Has a verdict counted once; returns why it was not."""


class SpendingAccount(Protocol):
    """The part of the store that keeps what judges spend and say."""

    async def reserve(self, name: str, generation: int, nano_usd: int, most_a_day: int) -> int | None:
        """Set money aside; the day on whose account it is, or None and note that. Raises StoreError."""
        ...

    async def settle(
        self, name: str, generation: int, day: int, reserved: int, spent: int, tally: Mapping[str, int]
    ) -> None:
        """Note what a comparison cost and came to. Raises StoreError."""
        ...


class NoVerdictError(Exception):
    """A comparison ends without a verdict."""

    def __init__(self, why: Dropped) -> None:
        super().__init__(why.value)
        self.why = why


class UnseenComparisons:
    """Has unseen pairs compared.

    Args:
        upstream: Asks providers.
        account: Keeps what is spent.
        prices: The known prices, by model.
        may_count: Why a verdict could not be counted now; None if it could.
        count: Has a verdict counted.
        hooks: Hear what comes of each pair.
        build_of: The digest of the build that an answer names.
    """

    def __init__(
        self,
        upstream: Upstream,
        account: SpendingAccount,
        prices: Callable[[], Mapping[str, TokenPrices]],
        may_count: Callable[[UnseenPair], Dropped | None],
        count: Count,
        hooks: Hooks,
        build_of: Callable[[bytes], bytes],
    ) -> None:
        self._upstream = upstream
        self._account = account
        self._prices = prices
        self._may_count = may_count
        self._count = count
        self._hooks = hooks
        self._build_of = build_of

    async def compare(self, unseen: UnseenPair) -> None:
        """Have one pair compared, if the experiment still counts verdicts and its money lasts."""
        name, prices = unseen.experiment.name, self._prices()
        generation, most = unseen.assignment.generation, nano(unseen.judge.spec.spend_per_day)
        if (why := self._may_count(unseen)) is not None:
            return self._hooks.tell(NotJudged(name, why.value))
        body: dict[str, Any] = parsed(unseen.request)
        reserved = nano(expected_usd(unseen, body, prices))
        try:
            day = await self._account.reserve(name, generation, reserved, most)
        except StoreError:
            return self._hooks.tell(NotJudged(name, Dropped.STORE_UNAVAILABLE.value))
        if day is None:
            return self._hooks.tell(NotJudged(name, Dropped.SPENT.value))
        bill = Bill(prices)
        became = await self._became(unseen, body, bill)
        self._tell(name, became, bill)
        with suppress(StoreError):  # what was set aside stays spent
            await self._account.settle(name, generation, day, reserved, nano(bill.usd), became.tally)
        return None

    async def _became(self, unseen: UnseenPair, body: dict[str, Any], bill: Bill) -> Judged | Dropped:
        try:
            verdict, served = await self._judged(unseen, body, bill)
        except NoVerdictError as error:
            return error.why
        return await self._count(served, verdict.result) or verdict

    async def _judged(
        self, unseen: UnseenPair, body: dict[str, Any], bill: Bill
    ) -> tuple[Judged, UnseenPair]:
        """The verdict, and the pair with the builds that served both answers."""
        question, request = _question(unseen, body), conversation_text(body, unseen.surface)
        if request is None:
            raise NoVerdictError(Dropped.NOT_TEXT)
        one, other = unseen.pair
        (first, first_build), (second, second_build) = await both_of(
            self._answer(unseen, body, one, bill), self._answer(unseen, body, other, bill)
        )

        async def ask(is_exchanged: bool) -> str:
            shown = (second, first) if is_exchanged else (first, second)
            asked = {"messages": judge_messages(question, request, *shown), **unseen.judge.params}
            call = UpstreamRequest(unseen.models[unseen.judge.model], asked, limit_seconds=_seconds(unseen))
            said = finished_text_in(await self._called(unseen, call, bill), call.surface)
            self._tell_called(unseen, "judge", "unfinished" if said is None else "answered")
            return said or ""

        verdict = await judged(first, second, ask)
        return verdict, unseen.served_by(first_build, second_build)

    async def _answer(
        self, unseen: UnseenPair, body: dict[str, Any], policy: int, bill: Bill
    ) -> tuple[str, bytes | None]:
        """A policy's answer, and the build that served it; None for one that the caller got."""
        if policy in unseen.served:
            return unseen.served[policy], None
        compiled, surface = unseen.experiment.policies[policy], unseen.surface
        try:
            payload, part = compiled.put_to(body, surface.name)
        except RenderError as error:
            self._tell_called(unseen, "policy", _TEMPLATE, compiled.name)
            raise NoVerdictError(Dropped.ANSWER_FAILED) from error
        payload = unkept(payload, surface)
        call = UpstreamRequest(
            *(unseen.models[compiled.model], payload, surface, unseen.headers, _seconds(unseen), part)
        )
        answer = await self._called(unseen, call, bill, compiled.name)
        self._tell_called(unseen, "policy", "answered", compiled.name)
        text = text_in(answer, surface)
        if text is None:
            raise NoVerdictError(Dropped.ANSWER_NOT_TEXT)
        return text, self._build_of(answer)

    async def _called(self, unseen: UnseenPair, call: UpstreamRequest, bill: Bill, policy: str = "") -> bytes:
        """A model's answer: that of a policy, or else the judge's."""
        try:
            body, _ = await self._upstream.complete(call)
        except UpstreamError as error:
            why = Dropped.JUDGE_FAILED
            if error.reason == _TIMEOUT:
                why = Dropped.JUDGE_TIMEOUT
                bill.add(call.target.name, call.payload)
            self._tell_called(unseen, "policy" if policy else "judge", error.reason, policy)
            raise NoVerdictError(Dropped.ANSWER_FAILED if policy else why) from error
        except asyncio.CancelledError:
            bill.add(call.target.name, call.payload)
            raise
        bill.add(call.target.name, call.payload, body)
        return body

    def _tell_called(self, unseen: UnseenPair, role: JudgeRole, outcome: str, policy: str = "") -> None:
        self._hooks.tell(JudgeCalled(unseen.experiment.name, role, outcome, policy))

    def _tell(self, name: str, became: Judged | Dropped, bill: Bill) -> None:
        if isinstance(became, Dropped):
            self._hooks.tell(NotJudged(name, became.value, bill.usd))
        else:
            self._hooks.tell(PairJudged(name, became.result, became.kind, bill.usd))


def _question(unseen: UnseenPair, body: dict[str, Any]) -> str:
    messages = FORMATS[unseen.surface.name].conversation(body)
    try:
        return unseen.judge.question_about(messages, body.get("metadata") or {})
    except Exception as error:
        raise NoVerdictError(Dropped.RUBRIC_FAILED) from error


def _seconds(unseen: UnseenPair) -> float:
    return unseen.judge.spec.timeout.total_seconds()
