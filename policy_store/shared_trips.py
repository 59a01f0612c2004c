"""Lets scripts that are asked for at the same time share a round trip to the server.

A call's round trip costs this process several times what the script costs the server. While one trip is under
way, further calls wait, and all that have gathered go together. Each call has its answer only after the
server's own reply to it, so nothing is acknowledged earlier than by a trip of its own.

A trip that hangs holds up no others: those that wait set out beside it once their patience is over. They are
the more patient the longer trips take. A server that is only slow answers nobody earlier because more trips
are under way, and if there were ever more, they would wait at the server for longer than each one's limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from policy_store.scripting import Call, Scripts, checked

PATIENCE_SECONDS: Final = 0.02
"""How long a call waits for an earlier trip to end, at least."""
PATIENCE_SHARE: Final = 0.25
"""The part of the last trip's time that it waits if that is longer. So about four trips go side by side."""
MOST_TOGETHER: Final = 32
"""Most calls of one trip. The server runs them in a row, and other clients wait for that long."""


class SharedTrips:
    """Runs scripts, those that arrive together in one round trip, in the order of their arrival.

    Args:
        scripts: Runs them.
    """

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._waiting: list[tuple[Call, asyncio.Future[list[Any]]]] = []
        self._trips: set[asyncio.Task[None]] = set()
        self._latest: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._patience_seconds = PATIENCE_SECONDS

    def run(self, name: str, keys: Sequence[str], *arguments: str | int) -> asyncio.Future[list[Any]]:
        """The script's reply, or error, as from `Scripts.run`.

        A call that is cancelled may run all the same.
        """
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(((name, keys, arguments), answer))
        if self._latest is None:
            self._depart()
        elif self._patience is None:
            self._be_patient()
        return answer

    def _be_patient(self) -> None:
        self._patience = asyncio.get_running_loop().call_later(self._patience_seconds, self._depart)

    def _depart(self) -> None:
        """Begin a trip, which takes those along that wait when it sets out."""
        self._end_patience()  # which may run out in this turn of the loop
        trip = self._latest = asyncio.get_running_loop().create_task(self._trip())
        self._trips.add(trip)
        trip.add_done_callback(self._returned)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    async def _trip(self) -> None:
        self._end_patience()
        party, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
        if self._waiting:
            self._be_patient()
        party = [(call, answer) for call, answer in party if not answer.cancelled()]
        for (_, answer), reply in zip(party, await self._replies([call for call, _ in party]), strict=True):
            if answer.done():
                continue
            if isinstance(reply, Exception):
                answer.set_exception(reply)
            else:
                _settle(answer, reply)

    async def _replies(self, calls: Sequence[Call]) -> Sequence[Any]:
        """What each call comes to: the server's reply, or an error."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        replies: Sequence[Any]
        try:
            replies = await self._scripts.run_together(calls)
            took = loop.time() - begun
        except Exception as error:  # noqa: BLE001 - each caller has it raised
            replies, took = [error] * len(calls), 0.0
        self._patience_seconds = max(PATIENCE_SECONDS, PATIENCE_SHARE * took)
        return replies

    def _returned(self, trip: asyncio.Task[None]) -> None:
        self._trips.discard(trip)
        if trip is self._latest:
            self._latest = None
            if self._waiting:
                self._depart()


def _settle(answer: asyncio.Future[list[Any]], reply: Any) -> None:
    """Give a call the script's reply, or the error that it says."""
    try:
        answer.set_result(checked(reply))
    except Exception as error:  # noqa: BLE001 - the caller has it raised
        answer.set_exception(error)
