"""The layout of the store's data: which keys there are and what they hold (`names.py`).

The store says its layout in its identity. A gateway refuses one that is newer than its own, and brings an
older one up to date, one migration after the other: each is a script for one experiment, may be repeated, and
leaves data that gateways of the version before can still use, because they may run while an upgrade is under
way. The store says the new layout only after the last one.

    1   stores that do not say
    2   each promoted generation says who answered before it (`previous`), and each outcome that waits says
        since when; before, both were worked out whenever they were needed
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

from policy_store.backup_records import ledgers
from policy_store.errors import NewerVersionError
from policy_store.scripting import StorePart

LAYOUT: Final = 2
UNSAID_LAYOUT: Final = 1
_FIELD: Final = "layout"


class LayoutKeeper(StorePart):
    """Reads the layout and brings it up to date. Every call may be repeated."""

    async def bring_up_to_date(self) -> int:
        """The layout that the store had, which is this version's now.

        Raises:
            NewerVersionError: A newer version wrote the data; nothing was changed.
        """
        had = await self.read()
        if had < LAYOUT:
            for name in await self._answer(self._redis.smembers(self._names.experiments)):
                await self.migrate(name)
            await self._scripts.run("raise_layout", (self._names.identity,), LAYOUT)
        return had

    async def read(self) -> int:
        """The layout that the store has.

        Raises:
            NewerVersionError: A newer version wrote the data.
        """
        layout = int(await self._answer(self._redis.hget(self._names.identity, _FIELD)) or UNSAID_LAYOUT)
        check_layout(layout)
        return layout

    async def migrate(self, name: str) -> None:
        """Bring one experiment up to date."""
        keys = self._names.experiment(name)
        control: dict[str, str] = await self._answer(self._redis.hgetall(keys.control))
        for own, policies in ledgers(keys, control):
            queues = [queue for pair in combinations(range(policies), 2) for queue in own.queues(*pair)]
            number = own.prefix.removeprefix(f"{keys.prefix}:").partition(":")[0]
            await self._scripts.run("migrate_to_2", (keys.control, *queues), number)


def check_layout(layout: int) -> None:
    """Refuse a layout that is newer than this version's.

    Raises:
        NewerVersionError: It is.
    """
    if layout > LAYOUT:
        raise NewerVersionError(
            f"A newer version wrote the store's data: their layout is {layout}, and this version knows "
            f"{LAYOUT}. Run the newer version, or restore a backup made before it."
        )
