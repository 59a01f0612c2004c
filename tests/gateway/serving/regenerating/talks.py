"""A caller that talks: it keeps the conversation, resends it with each request, and may ask again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.gateway.building import NAME
from tests.gateway.whole import Whole

BOTH: Final = {"I am plain.", "I am warm."}


@dataclass
class Talk:
    """One conversation of a caller who sends nothing but messages.

    Attributes:
        gateway: Whom it talks to.
        messages: What was said so far.
        fields: Further fields of each request.
        headers: Headers of each request.
    """

    gateway: Whole
    messages: list[dict[str, Any]] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(self, text: Any, **headers: str) -> str:
        """Put a question; the answer."""
        self.messages.append({"role": "user", "content": text})
        return await self.again(**headers)

    async def again(self, **headers: str) -> str:
        """Put the same question again; the answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = await self.gateway.ask(
            NAME, messages=self.messages, headers={**self.headers, **named}, **self.fields
        )
        assert reply.status == 200, reply.body
        return (reply.said() if self.fields.get("stream") else reply.text).strip()

    async def keep(self, answer: str, go_on: str = "Thanks. And then?") -> str:
        """Go on from an answer."""
        self.messages.append({"role": "assistant", "content": answer})
        return await self.ask(go_on)

    async def two(self, text: str = "Which way is north?") -> tuple[str, str]:
        """Put a question and put it again; both answers."""
        return await self.ask(text), await self.again()


def counted(experiment: Mapping[str, Any]) -> tuple[int, int, int]:
    """How often the first policy was preferred, how often the second, and how many ties there are."""
    wins, ties = experiment["wins"], experiment["ties"]
    return wins[0][1], wins[1][0], ties[0][1]
