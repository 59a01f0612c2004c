"""Runs the Lua transitions in `scripts/` and turns every fault of the server into a `StoreError`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from policy_store.errors import (
    ContradictingOutcomeError,
    DecisionConflictError,
    ExperimentFinishedError,
    KeyNameTakenError,
    StaleFenceError,
    StoreError,
    StoreUnavailableError,
    UnknownExperimentError,
)

_REFUSALS: dict[str, tuple[type[StoreError], str]] = {
    "unknown": (UnknownExperimentError, "The store holds no such experiment or generation."),
    "finished": (ExperimentFinishedError, "The experiment, or this generation of it, has finished."),
    "contradicting": (ContradictingOutcomeError, "A different outcome was reported before; it stands."),
    "stale": (StaleFenceError, "Another planner took over with fencing number"),
    "name_taken": (KeyNameTakenError, "Another key has the name."),
    "conflict": (DecisionConflictError, "Not running any more; state and current generation are"),
}


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """Raises StoreUnavailableError for any fault of the server and for an answer later than `seconds`.

    One deadline over waiting for a connection, connecting and reading: the driver's own time-outs start
    anew for each of these.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise StoreUnavailableError(f"The store did not answer within {seconds:g} s.") from error
    except (RedisError, OSError) as error:
        raise StoreUnavailableError(f"The store failed: {type(error).__name__}: {error}") from error


@cache
def _texts() -> dict[str, str]:
    """Every transition in full, by name."""
    folder = files("policy_store") / "scripts"
    prelude = (folder / "prelude.lua").read_text()
    return {
        path.name.removesuffix(".lua"): f"{prelude}\n{path.read_text()}"
        for path in folder.iterdir()
        if path.name.endswith(".lua") and path.name != "prelude.lua"
    }


class Scripts:
    """The transitions, each sent by its hash and in full only to a server that does not know it yet."""

    def __init__(self, redis: Redis, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._scripts = {name: redis.register_script(text) for name, text in _texts().items()}

    async def run(self, name: str, keys: Sequence[str], *arguments: str | int) -> list[Any]:
        """The script's reply: a status word, then what it returned.

        Raises:
            StoreError: The one that fits a status that refuses, StoreUnavailableError for faults.
        """
        async with answered_within(self._timeout_seconds):
            reply: list[Any] = await self._scripts[name](keys=keys, args=arguments)
        if reply[0] in _REFUSALS:
            error, sentence = _REFUSALS[reply[0]]
            if error is ContradictingOutcomeError:
                raise ContradictingOutcomeError(sentence, reported=str(reply[1]))
            raise error(" ".join([sentence, *map(str, reply[1:])]))
        return reply
