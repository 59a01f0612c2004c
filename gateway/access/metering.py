"""What the answer to a limited request took.

The provider's report counts. Without one, the estimate of the prompt counts, and the part of the answer that
was passed on, where an event of a stream is about a token. A request that was not answered took nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.access.key_account import Grant
from gateway.access.limits import Standing
from gateway.access.token_estimate import CHARACTERS_PER_TOKEN, Estimate
from gateway.upstream.usage import Tokens

_EVENT: Final = b"data:"


class Metered:
    """One request that went ahead.

    Args:
        grant: The grant to settle.
        estimate: Tokens it may take, or None where tokens are not limited.
    """

    __slots__ = ("_estimate", "_grant", "_passed")

    def __init__(self, grant: Grant, estimate: Estimate | None) -> None:
        self._grant = grant
        self._estimate = estimate
        self._passed = 0

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How far the key has got, this request included."""
        return self._grant.standings

    def pass_whole(self, body: bytes) -> None:
        """A whole answer goes to the caller."""
        self._passed += len(body) // CHARACTERS_PER_TOKEN

    def pass_block(self, block: bytes) -> None:
        """A block of a stream's events goes to the caller."""
        self._passed += block.count(_EVENT)

    def settle(self, usages: Sequence[Tokens | None]) -> None:
        """The request has ended. Repeating it changes nothing.

        Args:
            usages: What was reported for each answer that began; empty where the request was not answered.
        """
        taken = 0
        if self._estimate is not None and usages:
            reported = [sum(tokens) for tokens in usages if tokens is not None]
            is_complete = len(reported) == len(usages)
            taken = sum(reported) if is_complete else self._estimate.prompt + self._passed
        self._grant.settle(taken)
