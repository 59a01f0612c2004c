"""How many answers and tokens were measured of each policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from policy_store.scripting import StorePart


@dataclass(frozen=True, slots=True)
class Usage:
    """How many answers of a policy were measured, and the total tokens that providers reported for them."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """The sum of both."""
        return Usage(
            self.answers + other.answers,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


class UsageStore(StorePart):
    """The part of the store for the use of policies."""

    async def add_usage(self, name: str, used: Mapping[str, Usage]) -> None:
        """Add measured answers and tokens, by a policy's fingerprint; all of them or none."""
        words: list[str | int] = []
        for fingerprint, usage in used.items():
            for field in fields(usage):
                words += (f"{fingerprint}:{field.name}", getattr(usage, field.name))
        await self._scripts.run("add_usage", (self._names.experiment(name).usage,), *words)

    async def usage(self, name: str) -> dict[str, Usage]:
        """Measured answers and tokens by a policy's fingerprint, including earlier generations."""
        kept = await self._answer(self._redis.hgetall(self._names.experiment(name).usage))
        prints = {field.partition(":")[0] for field in kept}
        names = [field.name for field in fields(Usage)]
        return {each: Usage(*(int(kept.get(f"{each}:{name}", 0)) for name in names)) for each in prints}
