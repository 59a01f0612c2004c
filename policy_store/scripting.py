"""Runs the Lua transitions in `scripts/` and turns every fault of the server into a `StoreError`.

The first line of a script names what has to be put before it: files of `scripts/shared/` by name, and tables
by names in capitals. The tables come from `states`, `moves` and `events`, so Lua and Python use the
same ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import chain
from typing import Any, Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from policy_store.clients import StoreClient
from policy_store.confirming import TOLD_AS_DONE, Command, Confirmation
from policy_store.errors import (
    AfterHoldError,
    ContradictingOutcomeError,
    DecisionConflictError,
    ExperimentFinishedError,
    KeyNameTakenError,
    OverCapError,
    RestoreError,
    StaleFenceError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    UnconfirmedError,
    UnknownExperimentError,
)
from policy_store.events import EventKind
from policy_store.moves import MOVES
from policy_store.refusals import REFUSALS, word_of
from policy_store.states import INITIAL, STATES
from policy_store.view import VIEW_FIELDS, WATCH_FIELDS

# Scripts that only read are sent as read-only, so a server that refuses writes still answers them.
READS: Final = frozenset(
    {
        *("api_keys", "counts", "due_reports", "field_of_each", "glances", "view"),
        *("dead_letters", "due_deliveries", "read_fields", "read_parts", "webhook_standing"),
    }
)
# Scripts that only operators' commands run. Gateways do without what they need, so no pulse tries it.
BY_COMMANDS: Final = frozenset({"put_parts", "restore_experiment", "stage_part"})
_READING: Final = ("EVALSHA_RO", "EVAL_RO")
_WRITING: Final = ("EVALSHA", "EVAL")
_NEEDS: Final = "-- NEEDS: "
_CLOSED: Final = "the handler is closed"
_REFUSALS: Final[dict[str, tuple[type[StoreError], str]]] = {
    "unknown": (UnknownExperimentError, "The store holds no such experiment or generation."),
    "finished": (ExperimentFinishedError, "The experiment, or this generation of it, has finished."),
    "contradicting": (ContradictingOutcomeError, "A different outcome was reported before; it stands."),
    "over_cap": (OverCapError, "The voter or its API key has given all votes allowed."),
    "after_hold": (AfterHoldError, "The unit reported after the end of its hold."),
    "stale": (StaleFenceError, "Another process took over with fencing number"),
    "name_taken": (KeyNameTakenError, "Another key has the name."),
    "moved_on": (RestoreError, "The experiment changed during the restore; revisions now and before are"),
    "interrupted": (
        RestoreError,
        "The restore took too long, and what it had written expired; run it again.",
    ),
    "conflict": (
        DecisionConflictError,
        "The move does not start from the present state; state and current generation are",
    ),
}


Call = tuple[str, Sequence[str], Sequence[str | int]]
"""A script's name, its keys and its arguments."""


@asynccontextmanager
async def answered_within(redis: StoreClient, seconds: float) -> AsyncIterator[None]:
    """Raise StoreUnavailableError for any fault of the server and for an answer later than `seconds`.

    If the server's error word says that another connection may help, all idle ones are closed. After any
    other fault of a cluster its nodes are discovered anew.

    One deadline over waiting for a connection, connecting and reading: the driver's own time-outs start
    anew for each of these. Time for which this process itself did nothing is not the server's, whose answer
    may have arrived meanwhile, so it is added once.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as limit:
            due = loop.time() + seconds
            timer = loop.call_at(due, lambda: limit.reschedule(2 * loop.time() - due))
            try:
                yield
            finally:
                timer.cancel()
    except TimeoutError as error:
        redis.suspect()
        raise StoreUnavailableError(f"The store did not answer within {seconds:g} s.") from error
    except (MasterNotFoundError, RedisError, RedisClusterException, OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _CLOSED not in str(error):
            raise
        raise await _fault(redis, error) from error


async def _fault(redis: StoreClient, error: Exception) -> StoreUnavailableError:
    """What a fault of the server or the driver is for callers, after what it asks of the client."""
    if isinstance(error, MasterNotFoundError):
        return StoreUnavailableError("No Sentinel names a primary of this service.")
    word = word_of(error) if isinstance(error, RedisError) else None
    if word is None:
        redis.suspect()
        if isinstance(error, RuntimeError):
            # uvloop's word for a connection that was closed between taking it and writing to it
            return StoreUnavailableError("The store closed the connection.")
        return StoreUnavailableError(f"The store failed: {type(error).__name__}: {error}")
    if REFUSALS[word].reconnects:
        await redis.reconnect()
    return StoreRefusedError(f"The store refused: {word}, {REFUSALS[word].meaning}.", word=word)


def _states(fact: str) -> dict[str, Any]:
    return {state.value: True for state, facts in STATES.items() if getattr(facts, fact)}


_TABLES: Final[dict[str, Any]] = {
    "INITIAL_STATE": INITIAL.value,
    "COUNTING_STATES": _states("counts_outcomes"),
    "PLANNED_STATES": _states("is_planned"),
    "CONTINUED_STATES": _states("may_be_continued"),
    "KEPT_STATES": _states("is_kept"),
    "CERTIFIED_STATES": _states("has_certificate"),
    "CHAMPION_STATES": {state.value: True for state, facts in STATES.items() if facts.serves == "champion"},
    "MOVES": {
        move.value: {
            "sources": {state.value: True for state in rule.sources},
            "target": rule.target.value,
            "certifies": rule.certifies,
            "installs": rule.installs.value,
            "event": rule.event.value,
        }
        for move, rule in MOVES.items()
    },
    "VIEW_FIELDS": VIEW_FIELDS,
    "WATCH_FIELDS": WATCH_FIELDS,
    "EVENTS": {kind.name: kind.value for kind in EventKind},
}


def _as_lua(value: Any) -> str:
    """Words, booleans, lists and tables as Lua. Words are our own names, which need no escaping."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, tuple):
        return "{" + ", ".join(map(_as_lua, value)) + "}"
    return "{" + ", ".join(f"{name} = {_as_lua(each)}" for name, each in sorted(value.items())) + "}"


@cache
def _texts() -> dict[str, str]:
    """Every transition in full, by name."""
    folder = files("policy_store") / "scripts"
    library = {name: f"local {name} = {_as_lua(value)}\n" for name, value in _TABLES.items()}
    library |= _read(folder / "shared")
    return {name: _with_needs(text, library) for name, text in _read(folder).items()}


@cache
def _digest(name: str) -> str:
    """The server's name for the transition."""
    return sha1(_texts()[name].encode(), usedforsecurity=False).hexdigest()


def _read(folder: Traversable) -> dict[str, str]:
    paths = (path for path in folder.iterdir() if path.name.endswith(".lua"))
    return {path.name.removesuffix(".lua"): path.read_text() for path in paths}


def _with_needs(text: str, library: Mapping[str, str]) -> str:
    """The script with everything it needs before it, each part once and after the parts that it needs."""
    parts: dict[str, str] = {}

    def add(needing: str) -> None:
        first = needing.partition("\n")[0]
        for name in first.removeprefix(_NEEDS).split(", ") if first.startswith(_NEEDS) else ():
            if name not in parts:
                add(library[name])
                parts[name] = library[name]

    add(text)
    return "\n".join([*parts.values(), text])


class StorePart:
    """A part of the store in Redis or Valkey. Every method may raise StoreUnavailableError.

    Args:
        redis: A client from `policy_store.connect.connect`; its owner closes it.
        timeout_seconds: Longest time for one call to the server, including connecting.
    """

    def __init__(self, redis: StoreClient, *, timeout_seconds: float = 1.0) -> None:
        self._redis = redis
        self._names = redis.names
        self._timeout_seconds = timeout_seconds
        self._scripts = Scripts(redis, timeout_seconds)

    async def _answer(self, call: Awaitable[Any]) -> Any:
        async with answered_within(self._redis, self._timeout_seconds):
            return await call

    async def _confirmed(self, key: str, *command: str | int) -> Any:
        """A command's answer, once replicas have all that its server did until then, if that is asked for."""
        if not self._redis.confirming_replicas:
            return await self._answer(self._scripts.ask(*command))
        (reply,), fault = await self._scripts.in_a_row(key, [command])
        if isinstance(reply, Exception):
            raise await _fault(self._redis, reply)
        if fault is not None:
            raise fault
        return reply


class Scripts:
    """The transitions. Each is sent by its hash, and in full only to a server that does not know it yet.

    Those in `TOLD_AS_DONE` have their reply once replicas have all that the reply rests on, if the client
    asks for that.
    """

    def __init__(self, redis: StoreClient, timeout_seconds: float) -> None:
        self._redis = redis
        self.ask: Callable[..., Awaitable[Any]] = redis.execute_command
        self._timeout_seconds = timeout_seconds
        self._confirmation = Confirmation(redis.confirming_replicas, timeout_seconds)

    async def run(self, name: str, keys: Sequence[str], *arguments: str | int) -> list[Any]:
        """The script's reply: a status word, then what it returned.

        Raises:
            StoreError: The error for a refusing status; StoreUnavailableError for faults.
        """
        if self._confirmation.replicas and name in TOLD_AS_DONE:
            (reply,) = await self.run_together([(name, keys, arguments)])
            if isinstance(reply, Exception):
                raise reply
            return checked(reply)
        async with answered_within(self._redis, self._timeout_seconds):
            reply = await self._run(name, keys, arguments)
        return checked(reply)

    async def run_together(self, calls: Sequence[Call]) -> list[Any]:
        """What the server replies to each of several scripts, sent at once and run in this order.

        Returns:
            A reply for each, before `checked`; or a StoreUnavailableError, if the server refused it or its
            replicas did not confirm it.

        Raises:
            StoreUnavailableError: The server failed; some of them may have run.
        """
        if self._confirmation.replicas and not TOLD_AS_DONE.isdisjoint(name for name, _, _ in calls):
            return await self._run_confirmed(calls)
        async with answered_within(self._redis, self._timeout_seconds):
            replies = await self._run_all(calls)
        for index, reply in enumerate(replies):
            if isinstance(reply, Exception):
                replies[index] = await _fault(self._redis, reply)
        return replies

    async def _run_confirmed(self, calls: Sequence[Call]) -> list[Any]:
        """The reply to each of several scripts, or its error, once replicas confirmed all of them."""
        key = calls[0][1][0]
        replies, fault = await self.in_a_row(key, [_said(call, in_full=False) for call in calls])
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            in_full = [_said(calls[index], in_full=True) for index in unknown]
            again, later_fault = await self.in_a_row(key, in_full)
            fault = fault or later_fault
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        for index, reply in enumerate(replies):
            if isinstance(reply, Exception):
                replies[index] = await _fault(self._redis, reply)
            elif fault is not None:
                replies[index] = fault
        return replies

    async def in_a_row(
        self, key: str, commands: Sequence[Command]
    ) -> tuple[list[Any], UnconfirmedError | None]:
        """The replies to commands to the server of a key, and whether replicas have all that it did.

        Returns:
            A reply or the server's error for each; and the error if too few replicas confirmed in time.

        Raises:
            StoreUnavailableError: The server failed; some of them may have run.
        """
        asking = self._confirmation.commands(self._redis.names, key)
        async with answered_within(self._redis, self._timeout_seconds):
            *replies, marked, confirmed = await self._redis.in_a_row(key, (*commands, *asking))
        error = next((each for each in (marked, confirmed) if isinstance(each, Exception)), None)
        if error is not None:
            why = await _fault(self._redis, error)
            return replies, UnconfirmedError(f"Written, but no replica was asked to confirm it. {why}")
        return replies, self._confirmation.fault(confirmed)

    async def run_each(self, name: str, groups: Sequence[Sequence[str]], *arguments: str | int) -> list[Any]:
        """What a script that refuses nothing replies about each of many groups of keys.

        The keys of a group share a slot. There are as few calls as the servers allow, all sent at once.

        Raises:
            StoreUnavailableError: The server failed; of a script that writes, some calls may have run.
        """
        size = self._redis.groups_at_once
        calls: list[Call] = [
            (name, tuple(chain.from_iterable(groups[start : start + size])), arguments)
            for start in range(0, len(groups), size)
        ]
        async with answered_within(self._redis, self._timeout_seconds):
            replies = await self._run_all(calls)
            if (fault := next((each for each in replies if isinstance(each, Exception)), None)) is not None:
                raise fault
        return [found for reply in replies for found in reply[1:]]

    async def _run_all(self, calls: Sequence[Call]) -> list[Any]:
        """The reply or the server's error to each of several scripts."""
        if len(calls) < 2:  # noqa: PLR2004 - a pipeline is for several
            return [await self._run(*call) for call in calls]
        pipeline = self._redis.pipeline(transaction=False)
        for call in calls:
            pipeline.execute_command(*_said(call, in_full=False))
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for index, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[index] = await self._run(*calls[index])
        return replies

    async def _run(self, name: str, keys: Sequence[str], arguments: Sequence[str | int]) -> list[Any]:
        call = name, keys, arguments
        reply: list[Any]
        try:
            reply = await self.ask(*_said(call, in_full=False))
        except NoScriptError:
            # Sent in full only to the server with the keys, because on a cluster each server knows its own
            # scripts.
            reply = await self.ask(*_said(call, in_full=True))
        return reply


def _said(call: Call, *, in_full: bool) -> Command:
    """The command that runs a script, which it names by its hash or has in full."""
    name, keys, arguments = call
    word = (_READING if name in READS else _WRITING)[in_full]
    return word, _texts()[name] if in_full else _digest(name), len(keys), *keys, *arguments


def checked(reply: list[Any]) -> list[Any]:
    """A script's reply, if its status refuses nothing. Raises the StoreError of one that does."""
    if reply[0] in _REFUSALS:
        error, sentence = _REFUSALS[reply[0]]
        if error is OverCapError:
            raise OverCapError(sentence, cap=str(reply[1]))
        if error is ContradictingOutcomeError:
            raise ContradictingOutcomeError(sentence, reported=str(reply[1]))
        raise error(" ".join([sentence, *map(str, reply[1:])]))
    return reply
