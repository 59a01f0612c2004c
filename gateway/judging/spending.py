"""What a comparison costs: expected before it begins, and added up as answers come.

Prices are per token. Before anything is asked, tokens are estimated from characters, and an answer is taken
to be as long as its request allows. What providers report replaces the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from gateway.judging.prompt import SYSTEM
from gateway.judging.unseen import UnseenPair
from gateway.upstream.prices import TokenPrices
from gateway.upstream.usage import tokens_used
from policy_store.judging import NANO_USD

FEWEST_CHARACTERS_PER_TOKEN: Final = 3  # fewer than in most texts, so that estimates are rather too high
USUAL_ANSWER_TOKENS: Final = 1000  # of an answer whose request does not limit it
VERDICT_TOKENS: Final = 100  # of a verdict, on average, for estimates of a whole experiment
ORDERS: Final = 2
_LIMITS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_FREE: Final = TokenPrices(0.0, 0.0)
_MARKS: Final = 400  # characters around the quoted texts


class Bill:
    """What was spent on one comparison.

    Attributes:
        usd: The US dollars so far.
    """

    def __init__(self, prices: Mapping[str, TokenPrices]) -> None:
        self._prices = prices
        self.usd = 0.0

    def add(self, model: str, request: Mapping[str, Any], body: bytes = b"") -> None:
        """Add an answer of a model, estimated if its provider reports no tokens.

        Without an answer, because nobody waited for it any longer, what was asked is added.
        """
        used = tokens_used(body) or (tokens_of(len(str(request))), tokens_of(len(body)))
        self.usd += self._prices.get(model, _FREE).of(*used)


def expected_usd(unseen: UnseenPair, body: Mapping[str, Any], prices: Mapping[str, TokenPrices]) -> float:
    """What a comparison will cost at most, if tokens are as long as estimated.

    Args:
        unseen: What is to be compared.
        body: Its request, parsed.
        prices: The known prices, by model.
    """
    request, judge = len(unseen.request), unseen.judge
    total, answers = 0.0, 0
    for policy in unseen.pair:
        if policy in unseen.served:
            answers += tokens_of(len(unseen.served[policy]))
            continue
        compiled = unseen.experiment.policies[policy]
        params: Mapping[str, Any] = compiled.content["params"]
        longest = _longest(params if _limit(params) else body)
        prompt = request + len(compiled.system or "")
        answers += longest
        total += prices.get(compiled.model, _FREE).of(tokens_of(prompt), longest)
    prompt_tokens = tokens_of(request + len(SYSTEM) + len(judge.question) + _MARKS) + answers
    verdict = prices.get(judge.model, _FREE).of(prompt_tokens, _longest(judge.params))
    return total + ORDERS * verdict


def nano(usd: float) -> int:
    """Billionths of a US dollar, rounded up."""
    return math.ceil(usd * NANO_USD)


def tokens_of(characters: int) -> int:
    """About how many tokens so many characters are."""
    return math.ceil(characters / FEWEST_CHARACTERS_PER_TOKEN)


def _longest(params: Mapping[str, Any]) -> int:
    return _limit(params) or USUAL_ANSWER_TOKENS


def _limit(params: Mapping[str, Any]) -> int:
    """The longest answer that a request allows, in tokens; 0 if it does not say."""
    return min((params[name] for name in _LIMITS if isinstance(params.get(name), int)), default=0)
