"""Calls providers: a few at once, with retries after passing failures, counted and priced.

If a call fails for good, the policy or the provider is at fault. If the provider refuses a request as
invalid (too long, filtered), that is the policy's failure, and counts as an answer worse than any other. If
a provider does not answer or refuses the key, that says nothing about the policy, so the run ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import stamina

from gateway.errors import UpstreamError
from gateway.experiments.substance import Substance
from gateway.offline.errors import BudgetSpentError, CallFailedError
from gateway.upstream.base import ModelTarget, Upstream, UpstreamRequest
from gateway.upstream.surfaces import CHAT

TRANSIENT: Final = frozenset({"connect", "timeout", "status_5xx", "rate_limited", "cut"})
LONGEST_WAIT_SECONDS: Final = 60.0
_MILLION: Final = 1_000_000

Prices = Mapping[str, tuple[float, float]]
"""US dollars for a prompt token and for a completion token, by `model_name`."""


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A model's answer.

    Attributes:
        text: The answer; empty if there is none.
        is_refused: Whether the provider refused the request as invalid, so that there is no answer.
        prompt_tokens: Tokens of the request, as the provider reports them, or None.
        completion_tokens: Tokens of the answer, as the provider reports them, or None.
        usd: Its cost, or None if the price or the tokens are not known.
        is_whole: Whether the answer ended of itself, not empty and neither cut off, filtered nor refused.
    """

    text: str
    is_refused: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    usd: float | None = None
    is_whole: bool = True


@dataclass(slots=True)
class Spending:
    """The calls and money that a run has used, and its limits.

    Attributes:
        max_calls: Most calls, or None.
        max_usd: Most money, or None.
        calls: Calls begun, retries included.
        usd: Money spent on answers received, as far as prices are known.
        under_way: Calls that have not ended.
        dearest_usd: Cost of the most expensive call.
    """

    max_calls: int | None = None
    max_usd: float | None = None
    calls: int = 0
    usd: float = 0.0
    under_way: int = 0
    dearest_usd: float = 0.0

    def begin(self) -> None:
        """Count a call that is about to be made.

        The cost of a call is known only when it has ended, so each running call is assumed to cost as much
        as the most expensive one so far.

        Raises:
            BudgetSpentError: If it would exceed the budget.
        """
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise BudgetSpentError(f"The budget of {self.max_calls} calls is spent.", "calls")
        expected = self.usd + (self.under_way + 1) * self.dearest_usd
        if self.max_usd is not None and (self.usd >= self.max_usd or expected > self.max_usd):
            raise BudgetSpentError(
                f"{self.usd:.4f} of the budget of {self.max_usd:g} USD is spent; "
                "the next call could exceed it.",
                "usd",
            )
        self.calls += 1
        self.under_way += 1

    def end(self, usd: float | None) -> None:
        """Count the cost of a finished call."""
        self.under_way -= 1
        self.add(usd)

    def add(self, usd: float | None) -> None:
        """Count money without a running call."""
        if usd is not None:
            self.usd += usd
            self.dearest_usd = max(self.dearest_usd, usd)


@dataclass(slots=True)
class ModelClient:
    """Calls models.

    Attributes:
        upstream: The gateway's own way to providers.
        prices: The prices of tokens.
        spending: Counts calls and money.
        concurrency: Calls at once.
        attempts: Attempts at a call that fails for a passing reason.
        first_wait_seconds: The wait before the second attempt; it doubles each time, up to a minute.
    """

    upstream: Upstream
    prices: Prices
    spending: Spending
    concurrency: int = 8
    attempts: int = 5
    first_wait_seconds: float = 0.5
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.concurrency)

    async def ask(self, target: ModelTarget, payload: Mapping[str, Any]) -> ModelReply:
        """The model's reply to a chat request.

        Raises:
            CallFailedError: If it kept failing, or cannot be called at all.
            BudgetSpentError: If the budget does not allow the call.
        """
        request = UpstreamRequest(target, payload)
        async with self._slots:
            try:
                body = await self._tried(request)
            except UpstreamError as error:
                if error.is_callers_fault:
                    return ModelReply("", is_refused=True)
                raise CallFailedError(
                    f"Model {target.name} failed: {error} Correct this and continue with --resume; "
                    "everything counted is kept."
                ) from error
        return self._reply(target, body)

    async def _tried(self, request: UpstreamRequest) -> bytes:
        tries = stamina.retry_context(
            on=_backoff,
            attempts=self.attempts,
            timeout=None,
            wait_initial=self.first_wait_seconds,
            wait_max=LONGEST_WAIT_SECONDS,
            wait_jitter=self.first_wait_seconds,
        )
        async for attempt in tries:
            with attempt:
                self.spending.begin()
                usd = None
                try:
                    body, _ = await self.upstream.complete(request)
                    usd = self._usd(request.target.name, *_usage(orjson.loads(body)))
                finally:
                    self.spending.end(usd)
                return body
        raise AssertionError("the last attempt returns or raises")

    def _reply(self, target: ModelTarget, body: bytes) -> ModelReply:
        answer = orjson.loads(body)
        prompt, completion = _usage(answer)
        usd = self._usd(target.name, prompt, completion)
        if usd is None and self.spending.max_usd is not None:
            raise CallFailedError(
                f"Model {target.name} does not report the tokens it used, so a budget in USD cannot be kept. "
                "Use budget.calls instead."
            )
        try:
            content = answer["choices"][0]["message"].get("content")
        except (AttributeError, IndexError, KeyError, TypeError) as error:
            raise CallFailedError(
                f"Model {target.name} gave an answer without a message. Check its api_base."
            ) from error
        text = content if isinstance(content, str) else ""
        substance = Substance(CHAT)
        substance.take(answer)
        return ModelReply(text, False, prompt, completion, usd, substance.shortfall is None)

    def _usd(self, model: str, prompt: int | None, completion: int | None) -> float | None:
        price = self.prices.get(model)
        if price is None or prompt is None or completion is None:
            return None
        return prompt * price[0] + completion * price[1]


def _backoff(error: Exception) -> bool | float:
    """Whether to try again; or the seconds to wait, if the provider names them."""
    if not isinstance(error, UpstreamError) or error.reason not in TRANSIENT:
        return False
    try:
        return min(max(float(error.retry_after or ""), 0.0), LONGEST_WAIT_SECONDS)
    except ValueError:  # no such header, or one with a date
        return True


def _usage(answer: Any) -> tuple[int | None, int | None]:
    usage = answer.get("usage") if isinstance(answer, dict) else None
    if not isinstance(usage, dict):
        return None, None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None, None
    return prompt, completion


def per_token(prompt_per_million: float, completion_per_million: float) -> tuple[float, float]:
    """Prices per token, from prices per million tokens."""
    return prompt_per_million / _MILLION, completion_per_million / _MILLION
