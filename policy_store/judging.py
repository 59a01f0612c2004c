"""What a judge beside live traffic has spent and said, added up over all replicas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

from policy_store.scripting import StorePart

NANO_USD: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class JudgeTally:
    """What a judge's calls came to in one generation.

    Attributes:
        agreed: Verdicts that were the same in both orders, declared ties included.
        tied: Those of them that were ties.
        same_text: Pairs of answers with the same text: ties without a call.
        first_shown: Pairs in which it preferred the answer shown first in both orders.
        second_shown: Pairs in which it preferred the answer shown second in both orders.
        disagreed: Pairs with other contradictions between the orders.
        unreadable: Pairs with a verdict that could not be read.
        dropped: Requests that were drawn for the judge and have no verdict.
        nano_usd: Money spent on answers and verdicts, in billionths of a US dollar.
    """

    agreed: int = 0
    tied: int = 0
    same_text: int = 0
    first_shown: int = 0
    second_shown: int = 0
    disagreed: int = 0
    unreadable: int = 0
    dropped: int = 0
    nano_usd: int = 0

    @property
    def asked(self) -> int:
        """Pairs of answers that the judge saw in both orders."""
        return self.agreed + self.first_shown + self.second_shown + self.disagreed + self.unreadable

    @property
    def usd(self) -> float:
        """Money spent, in US dollars."""
        return self.nano_usd / NANO_USD


@dataclass(frozen=True, slots=True)
class JudgeAccount:
    """What is kept of a judge.

    Attributes:
        tally: What it said in a generation.
        day: The last day on which money was spent, in days since 1970; 0 for none.
        usd_that_day: The US dollars spent or set aside on that day, in all generations.
        refused_day: The last day whose limit did not pay for a comparison; 0 for none.
        usd_refused: The US dollars that would have been set aside for that comparison.
    """

    tally: JudgeTally
    day: int
    usd_that_day: float
    refused_day: int = 0
    usd_refused: float = 0.0


class JudgeStore(StorePart):
    """The part of the store for judges."""

    async def reserve(self, name: str, generation: int, nano_usd: int, most_a_day: int) -> int | None:
        """Set money aside for a comparison, as far as the day's limit allows.

        What is set aside counts as spent until `settle` gives back the rest, so a process that dies meanwhile
        leaves too little to spend, never too much.

        Returns:
            The day on whose account it is, in days since 1970 by the server's clock in UTC; None if the
            limit does not allow it.
        """
        reply = await self._scripts.run(
            "reserve_spending", (self._names.experiment(name).judging,), generation, nano_usd, most_a_day
        )
        return int(reply[1]) if reply[0] == "ok" else None

    async def settle(
        self, name: str, generation: int, day: int, reserved: int, spent: int, tally: Mapping[str, int]
    ) -> None:
        """Note what a comparison cost in the end, and what came of it.

        Args:
            name: Experiment.
            generation: The generation it was made for.
            day: The day on whose account money was set aside.
            reserved: What had been set aside.
            spent: What it cost.
            tally: The fields of a `JudgeTally` to add to, without the money.
        """
        said = {**tally, "nano_usd": spent}
        words = [word for field, amount in said.items() for word in (f"{generation}:{field}", amount)]
        key = self._names.experiment(name).judging
        await self._scripts.run("settle_spending", (key,), day, spent - reserved, *words)

    async def judging(self, name: str, generation: int) -> JudgeAccount:
        """What the judge said in a generation, and what was spent on the last day."""
        kept = await self._answer(self._redis.hgetall(self._names.experiment(name).judging))
        counted = {field.name: int(kept.get(f"{generation}:{field.name}", 0)) for field in fields(JudgeTally)}
        return JudgeAccount(
            JudgeTally(**counted),
            int(kept.get("day", 0)),
            int(kept.get("spent", 0)) / NANO_USD,
            int(kept.get("refused_day", 0)),
            int(kept.get("refused", 0)) / NANO_USD,
        )
