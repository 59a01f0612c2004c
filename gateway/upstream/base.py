"""What the rest of the gateway knows about a provider: the `Upstream` protocol and its values.

`relay.py` speaks to providers of the OpenAI wire format and passes their bytes on; `litellm.py` translates
for all others. Both answer in the OpenAI wire format and raise nothing but `UpstreamError`, so whoever calls
them cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """One entry of `model_list`, ready to be called.

    Attributes:
        name: The `model_name` clients and policies use.
        wire: `openai` is relayed byte for byte, `litellm` is translated.
        model: The provider's own name of the model; for `litellm` with the provider's prefix.
        api_base: Where the provider answers, without a trailing slash; None only for `litellm`.
        api_key: The operator's key; never shown to a caller.
        timeout_seconds: Total time one answer may take, or None for the gateway's default.
        headers: Extra request headers the operator configured.
        options: Further arguments for litellm (API version, cloud credentials).
    """

    name: str
    wire: Literal["openai", "litellm"]
    model: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a provider may take, in seconds.

    Attributes:
        connect: To accept a connection.
        first_byte: To send the first event of a stream, and between its events. An answer that is not
            streamed arrives all at once when it is finished, so only `total` bounds it.
        total: For the whole answer.
    """

    connect: float = 10.0
    first_byte: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One call of one provider. The `model` of `payload`, an OpenAI chat request, becomes the target's."""

    target: ModelTarget
    payload: Mapping[str, Any]


class UpstreamStream(Protocol):
    """An answer being streamed, in blocks of one or more whole server-sent events.

    Not an iterator on purpose: a generator that is cancelled half-way would hold its connection until it is
    collected, and costs more per block.
    """

    async def read(self) -> bytes:
        """The next block; empty after the one that ends with `data: [DONE]`.

        Raises:
            UpstreamError: With reason `cut` if the stream stops before its end. There is no reading on then.
        """
        ...

    async def aclose(self) -> None:
        """Free the provider at once. May be called at any time, and again."""
        ...


class Upstream(Protocol):
    """A way to call providers."""

    async def complete(self, request: UpstreamRequest) -> bytes:
        """The whole answer, a JSON object in the OpenAI format. Raises UpstreamError."""
        ...

    async def stream(self, request: UpstreamRequest) -> UpstreamStream:
        """The answer as a stream, returned once its first event has arrived. Raises UpstreamError before."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
