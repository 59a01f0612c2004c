"""What the answer to a limited request took, read from its bytes as they pass.

What the provider reports counts. Where it reports nothing, the estimate of the prompt counts, and what was
received of the answer: an event of a stream is about a token. A request nobody answered took nothing.
"""

from __future__ import annotations

from typing import Final

from gateway.access.key_account import Admission
from gateway.access.limits import Standing
from gateway.access.token_estimate import CHARACTERS_PER_TOKEN, Estimate
from gateway.serving.calling import AnswerStream
from gateway.upstream.usage import mentions_usage, tokens_used

_EVENT: Final = b"data:"


class Metered:
    """One request that went ahead.

    Args:
        admission: To be settled.
        estimate: What it may take, or None where tokens are not limited.
    """

    __slots__ = ("_admission", "_estimate", "_taken")

    def __init__(self, admission: Admission, estimate: Estimate | None) -> None:
        self._admission = admission
        self._estimate = estimate
        self._taken = 0

    @property
    def standings(self) -> tuple[Standing, ...]:
        """How far the key has got, this request included."""
        return self._admission.standings

    def meter(self, content: bytes | AnswerStream) -> bytes | AnswerStream:
        """The answer, to be passed on."""
        if self._estimate is None:
            return content
        if isinstance(content, bytes):
            self.took(content, len(content) // CHARACTERS_PER_TOKEN)
            return content
        return MeteredStream(content, self)

    def took(self, usage: bytes, received: int) -> None:
        """So far the answer took this.

        Args:
            usage: The part of it that may report tokens.
            received: Tokens of the answer, about, in case it reports none.
        """
        if self._estimate is not None:
            used = tokens_used(usage)
            self._taken = self._estimate.prompt + received if used is None else sum(used)

    def settle(self) -> None:
        """The request has ended. Repeating it changes nothing."""
        self._admission.settle(self._taken)


class MeteredStream:
    """A stream whose tokens are counted."""

    __slots__ = ("_events", "_first_usage", "_metered", "_stream", "_usage")

    def __init__(self, stream: AnswerStream, metered: Metered) -> None:
        self._stream = stream
        self._metered = metered
        self._events = 0
        self._first_usage = self._usage = b""

    async def read(self) -> bytes:
        """See `AnswerStream.read`."""
        block = await self._stream.read()
        self._events += block.count(_EVENT)
        if mentions_usage(block):
            self._first_usage = self._first_usage or block
            self._usage = block
        return block

    async def aclose(self) -> None:
        """See `AnswerStream.aclose`."""
        self._metered.took(self._first_usage + self._usage, self._events)
        await self._stream.aclose()
