"""The gateway's interface to providers: the `Upstream` protocol and its values.

`relay.py` asks providers that speak the requested format and passes their bytes on; `translating/` asks all
others through litellm. Both answer in the requested format and raise only `UpstreamError`, so callers cannot
tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from math import inf
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, Protocol

from gateway.upstream.surfaces import CHAT, Surface

RawHeaders = tuple[tuple[bytes, bytes], ...]
NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
# Headers of the caller that mean the same to every provider, whatever its format.
TRACE_HEADERS: Final = frozenset({"traceparent", "tracestate"})


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """One entry of `model_list`, ready to be called.

    Attributes:
        name: The `model_name` that clients and policies use.
        wire: The format that the provider speaks, if it is known: requests in this format are relayed byte
            for byte, others are translated. `litellm`: all requests are translated.
        provider: litellm's name for the provider.
        model: The provider's own name of the model.
        api_base: The provider's address, without a trailing slash; None only for `litellm`.
        api_key: The operator's key; never shown to a caller.
        timeout_seconds: Total time one answer may take, or None for the gateway's default.
        first_byte_seconds: Longest time until a stream's first event, or None for the default.
        stall_seconds: Longest silence within a stream, or None for the default.
        speaks_messages: Whether its server also answers Anthropic's messages.
        http2: Whether relayed requests use HTTP/2 if the provider speaks it.
        merges_system: Whether a policy's prompt is merged with the caller's into one message.
        headers: Extra request headers the operator configured.
        options: Further arguments for litellm (API version, cloud credentials).
        secrets: The parts of this target that must not be shown: keys and the values of headers.
        fallbacks: The targets to ask if this one fails, in order, including their own fallbacks.
    """

    name: str
    wire: Literal["openai", "anthropic", "litellm"]
    provider: str
    model: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout_seconds: float | None = None
    first_byte_seconds: float | None = None
    stall_seconds: float | None = None
    speaks_messages: bool = False
    http2: bool = False
    merges_system: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    fallbacks: tuple[ModelTarget, ...] = field(default=(), repr=False)

    def speaks(self, surface: Surface) -> bool:
        """Whether requests of this kind are relayed to it unchanged."""
        return self.wire == surface.wire or (self.speaks_messages and surface.wire == "anthropic")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a provider may take, in seconds.

    Attributes:
        connect: To accept a connection.
        first_byte: To send the first event of a stream, connecting included. An answer that is not streamed
            arrives all at once when it is finished, so only `total` bounds it.
        stall: Between two pieces of a stream after that.
        total: For the whole answer.
    """

    connect: float = 10.0
    first_byte: float = 60.0
    stall: float = 60.0
    total: float = 600.0


@dataclass(frozen=True, slots=True)
class PolicyPart:
    """The part of a request that a policy put there. Callers neither answer for it nor may see it.

    Attributes:
        prompts: The policy's texts.
        fields: Names of the fields that it fixed, with dots between the names of nested ones.
        is_beside_system: Its prompt stands before a system or developer message of the caller's.
    """

    prompts: tuple[str, ...] = field(default=(), repr=False)
    fields: frozenset[str] = frozenset()
    is_beside_system: bool = False


NO_POLICY: Final = PolicyPart()


class UpstreamRequest(NamedTuple):
    """One call of one provider.

    Attributes:
        target: The model to call.
        payload: The request in the surface's format; its `model` becomes the target's.
        surface: The kind of request.
        headers: Headers of a relayed request besides the target's own, which take precedence; a translated
            request has only the trace among them.
        limit_seconds: Longest time for the whole answer, if that is less than the target's own limit.
        policy_part: The part of the payload that a policy put there.
    """

    target: ModelTarget
    payload: Mapping[str, Any]
    surface: Surface = CHAT
    headers: Mapping[str, str] = NO_HEADERS
    limit_seconds: float = inf
    policy_part: PolicyPart = NO_POLICY

    def policys_own(self) -> dict[str, Any]:
        """The fields that a policy fixed, without other fields of the same objects."""
        own: dict[str, Any] = {}
        for name in self.policy_part.fields:
            holder, _, inside = name.rpartition(".")
            if holder:
                own.setdefault(holder, {})[inside] = self.payload[holder][inside]
            else:
                own[name] = deepcopy(self.payload[name])
        return own


class UpstreamAnswer(NamedTuple):
    """A whole answer.

    Attributes:
        body: A JSON object in the surface's format.
        headers: The provider's rate limits, if it reports them.
    """

    body: bytes
    headers: RawHeaders = ()


class AnswerStream(Protocol):
    """A streamed answer, in blocks of one or more whole server-sent events.

    It is deliberately not an iterator: a cancelled generator would hold its connection until it is
    collected, and costs more per block.
    """

    @property
    def headers(self) -> RawHeaders:
        """The provider's rate limits, if it reports them and the caller may see them."""
        ...

    async def read(self) -> bytes:
        """The next block; empty after the one that holds the stream's last event.

        Raises:
            UpstreamError: With reason `cut` if the stream stops before its end. Nothing more can be read
                then.
        """
        ...

    async def aclose(self) -> None:
        """Release the providers at once. May be called at any time and repeatedly."""
        ...


class Upstream(Protocol):
    """A way to call providers."""

    async def complete(self, request: UpstreamRequest) -> UpstreamAnswer:
        """The whole answer. Raises UpstreamError."""
        ...

    async def stream(self, request: UpstreamRequest) -> AnswerStream:
        """The answer as a stream whose first event has arrived. Raises UpstreamError if none arrives."""
        ...

    def keep(self, targets: Mapping[str, ModelTarget]) -> None:
        """Let go of what is kept for other targets than these, by name; requests under way end on theirs."""
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
