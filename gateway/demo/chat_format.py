"""The form of a provider's chat completions on the wire, whole and as events of a stream.

All providers in this repository use it: the simulated one of the demo, the scripted one of the tests and the
canned one of the benchmarks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

STREAM_DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ChatOrigin:
    """The fields of an answer and its chunks that say where they come from."""

    id: str
    created: int
    model: str
    system_fingerprint: str

    def whole(self, text: str, usage: dict[str, int]) -> dict[str, Any]:
        """A complete answer of one choice."""
        message = {"role": "assistant", "content": text, "refusal": None}
        return {
            **self._head("chat.completion"),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": usage,
        }

    def chunk(self, delta: dict[str, Any] | None, finish_reason: str | None = None) -> dict[str, Any]:
        """One part of a streamed answer; without a delta, one that belongs to no choice."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._head("chat.completion.chunk"), "choices": [] if delta is None else [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """The usage of an answer."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def event(chunk: dict[str, Any]) -> bytes:
    """A chunk as one event of a stream."""
    return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
