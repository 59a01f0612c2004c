"""Counts the tokens that the answer to a limited request took.

The provider's report counts. Without one, the estimate of the prompt counts, plus the part of the answer
that was passed on; each event of a stream counts as one token. A request that was not answered took nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.access.key_account import Grant
from gateway.access.limits import LimitUse
from gateway.access.token_estimate import CHARACTERS_PER_TOKEN, Estimate
from gateway.upstream.usage import Tokens

_EVENT: Final = b"data:"


class Metered:
    """One request that went ahead.

    Args:
        grant: The grant to settle.
        estimate: Tokens it may take, or None if tokens are not limited.
    """

    __slots__ = ("_estimate", "_grant", "_passed")

    def __init__(self, grant: Grant, estimate: Estimate | None) -> None:
        self._grant = grant
        self._estimate = estimate
        self._passed = 0

    @property
    def standings(self) -> tuple[LimitUse, ...]:
        """How much of its limits the key has used, this request included."""
        return self._grant.standings

    def pass_whole(self, body: bytes) -> None:
        """Note a whole answer that goes to the caller."""
        self._passed += len(body) // CHARACTERS_PER_TOKEN

    def pass_block(self, block: bytes) -> None:
        """Note a block of a stream's events that goes to the caller."""
        self._passed += block.count(_EVENT)

    def settle(self, usages: Sequence[Tokens | None]) -> None:
        """Settle the request after it has ended. Repeating it changes nothing.

        Args:
            usages: The reported usage of each answer that began; empty if the request was not answered.
        """
        taken = 0
        if self._estimate is not None and usages:
            reported = [sum(tokens) for tokens in usages if tokens is not None]
            is_complete = len(reported) == len(usages)
            taken = sum(reported) if is_complete else self._estimate.prompt + self._passed
        self._grant.settle(taken)
