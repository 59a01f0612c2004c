"""Experiments' shared state, which every replica reads and writes in atomic steps, one per method.

Every write may be repeated: a caller that got StoreUnavailableError cannot know whether its change was made,
and calls again. The driver itself never repeats a call (`connect.py`).
"""

from __future__ import annotations

import json
import math
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import chain
from typing import Any, Final, Literal

from policy_store import codec
from policy_store.errors import UnknownExperimentError
from policy_store.events import Decided, LoggedEvent, PlacedEvent, Stepped, encoded
from policy_store.models import (
    Counts,
    Experiment,
    ExperimentView,
    Forecast,
    LogRecord,
    MissingVerdict,
    ProposedPlan,
    Recorded,
    Report,
    Result,
    Usage,
)
from policy_store.names import ExperimentKeys
from policy_store.stage_records import StageStep
from policy_store.stages import StageStore
from policy_store.states import MOVES, Move
from policy_store.watches import WatchStore

_LOG_START: Final = "-"
# Held reports are deleted after a week without a gateway; so are those of former generations.
_KEEP_HELD_MILLISECONDS: Final = 7 * 24 * 3600 * 1000


class PolicyStore(WatchStore, StageStore):
    """Policies, experiments and their evidence in Redis or Valkey.

    Every method raises StoreUnavailableError when the server fails or does not answer within
    `timeout_seconds`, and UnknownExperimentError for an experiment or generation the store does not hold.

    Args:
        redis: A client from `policy_store.connect.connect`, which the store closes.
        timeout_seconds: Longest time for one call to the server, including connecting.
    """

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def token_key(self) -> bytes:
        """The 32 bytes that seal assignments, shared by all replicas; the first caller creates them."""
        fresh = secrets.token_hex(32)
        stored: str | None = await self._answer(
            self._redis.set(self._names.token_key, fresh, nx=True, get=True)
        )
        return bytes.fromhex(stored or fresh)

    # Experiments

    async def register(self, experiment: Experiment, elimination_nano_nats: int) -> ExperimentView:
        """Make the experiment's generation the current one, starting it if its fingerprint is new.

        Atomic: concurrent registrations of one fingerprint start one generation. Repeating changes nothing.
        An existing generation keeps its state and evidence. A new one continues from the current one if that
        is undecided and differs only in policies, costs, budget or minima: it inherits, once, the counts
        between the policies that both have (docs/decisions/0016-policies-come-and-go.md).

        Args:
            experiment: The experiment to run. Its incumbent serves if the last registration named another
                one; if not, the policy that serves now continues, provided it is still a candidate. If the
                generation was decided for another policy than the one to serve, it stays unchanged and a new
                one starts.
            elimination_nano_nats: Row total of evidence at which a policy is eliminated.
        """
        keys = self._names.experiment(experiment.name)
        expected, before = 1, ""
        sources: tuple[int | None, ...] = ()
        while True:
            own = keys.generation(expected)
            reply = await self._scripts.run(
                "register",
                (keys.control, keys.events, own.log, own.counts, keys.generation(int(before or 0)).counts),
                experiment.fingerprint(),
                expected,
                experiment.to_json(),
                len(experiment.policies),
                experiment.incumbent,
                elimination_nano_nats,
                before,
                *codec.source_words(sources),
            )
            if reply[0] != "raced":
                break
            # A script has to name its keys beforehand, and they contain generations that only the server
            # knows. A generation's definition never changes, so what can be inherited is determined here.
            expected, before = int(reply[1]), str(reply[2])
            sources = (experiment.sources(Experiment.from_json(reply[3])) if before else None) or ()
        # On a cluster the list is on another node and cannot be part of the step; every registration
        # corrects it.
        await self._answer(self._redis.sadd(self._names.experiments, experiment.name))
        return codec.view_from(reply)

    async def keep_contents(self, name: str, contents: Mapping[str, Mapping[str, Any]]) -> None:
        """Add contents of policies, by fingerprint; an empty argument deletes all of them."""
        key = self._names.experiment(name).contents
        if contents:
            texts = (
                (fingerprint, codec.dump_json(dict(content))) for fingerprint, content in contents.items()
            )
            await self._answer(self._redis.hset(key, items=list(chain.from_iterable(texts))))
        else:
            await self._answer(self._redis.delete(key))

    async def contents(self, name: str) -> dict[str, dict[str, Any]]:
        """The contents of policies by fingerprint, including those of earlier generations."""
        kept = await self._answer(self._redis.hgetall(self._names.experiment(name).contents))
        return {fingerprint: json.loads(text) for fingerprint, text in kept.items()}

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

    async def revision(self, name: str) -> int:
        """A number that changes whenever the view changes; cheap to poll."""
        revision = await self._answer(self._redis.hget(self._names.experiment(name).control, "revision"))
        if revision is None:
            raise UnknownExperimentError(f"The store holds no experiment {name!r}.")
        return int(revision)

    async def view(self, name: str) -> ExperimentView:
        """The current generation, read at one moment."""
        return codec.view_from(await self._scripts.run("view", (self._names.experiment(name).control,)))

    async def experiment(self, name: str, generation: int) -> Experiment:
        """The experiment as a generation has it, current or not."""
        control = self._names.experiment(name).control
        written = await self._answer(self._redis.hget(control, f"{generation}:experiment"))
        if written is None:
            raise UnknownExperimentError(f"The store holds no generation {generation} of {name!r}.")
        return Experiment.from_json(written)

    async def counts(self, name: str, generation: int) -> Counts:
        """Everything counted in a generation, read at one moment."""
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        return codec.counts_from(
            await self._scripts.run("counts", (keys.control, own.counts, own.waiting, own.held), generation)
        )

    # Outcomes

    async def record_preference(self, report: Report, result: Result) -> Recorded:
        """Count the preference of a user who saw both answers, with the forecast of the current plan.

        Atomic and counted once: a unit's feedback sent again is a DUPLICATE, even after the end. A report
        that is due later is HELD, until `count_due` counts it.

        Args:
            report: The unit and the pair it is about.
            result: The result of the comparison, seen from the pair's first policy.

        Raises:
            ContradictingOutcomeError: The unit reported something else before.
            ExperimentFinishedError: The generation is decided, and the unit is new.
            OverCapError: The voter or the key has given all votes allowed; nothing was changed.
            AfterHoldError: The unit's hold is over; nothing was changed.
            ValueError: The policies are not a pair of the experiment.
        """
        said = (*_counting_arguments(report), result.value)
        if report.due_at is not None:
            return await self._hold(report, report.due_at, said)
        keys = _counting_keys(self._names.experiment(report.experiment), report)
        return codec.recorded_from(await self._scripts.run("record_preference", keys, *said), report)

    async def record_outcome(
        self,
        report: Report,
        *,
        side: Literal[0, 1],
        value: float | MissingVerdict,
        tie_margin: float,
        wait_seconds: float,
    ) -> Recorded:
        """Record the outcome of one policy of a pair, and compare it with the other's newest waiting one.

        Atomic and counted once, like `record_preference`, whose errors it shares. An outcome is never
        matched with one of the same unit; if there is none to match, it is PENDING.

        Args:
            report: The unit and the pair it is about.
            side: 0 if the pair's first policy served the unit, 1 if the second did.
            value: The outcome, higher is better; or what an outcome that is missing comes to.
            tie_margin: Two outcomes that differ by at most this much are a tie.
            wait_seconds: How long an outcome waits, by the server's clock, before it is dropped.
        """
        if not isinstance(value, MissingVerdict) and not math.isfinite(value):
            raise ValueError(f"An outcome must be a finite number, not {value!r}.")
        word = value.value if isinstance(value, MissingVerdict) else repr(float(value))
        outcome = (report.unit, side, word, repr(float(tie_margin)), repr(float(wait_seconds)))
        said = (*_counting_arguments(report), *outcome)
        if report.due_at is not None:
            return await self._hold(report, report.due_at, said)
        keys = self._names.experiment(report.experiment)
        own = keys.generation(report.generation)
        touched = (*_counting_keys(keys, report), own.waiting, *own.queues(report.first, report.second))
        said = (report.standing.value, report.idempotency, *said)
        return codec.recorded_from(await self._scripts.run("record_outcome", touched, *said), report)

    async def _hold(self, report: Report, due_at: float, said: Sequence[str | int]) -> Recorded:
        keys = self._names.experiment(report.experiment)
        own = keys.generation(report.generation)
        reply = await self._scripts.run(
            "hold_report",
            (keys.control, own.unit(report.unit), own.votes, own.held, own.replaceable, own.log),
            *(report.unit, codec.micros(due_at), _KEEP_HELD_MILLISECONDS),
            *(report.standing.value, report.idempotency, *said),
        )
        return codec.recorded_from(reply, report)

    async def count_due(self, name: str, generation: int, at_most: int) -> Counter[str]:
        """Count the first held reports that are due, in order of their times, as if they came now.

        Each is counted once, in this order, however many callers there are. Only now is it decided whether
        its voter may give it, so it may not count.

        Returns:
            How many reports had each result: a `Receipt`, or the cap of an OverCapError. If there are fewer
            than `at_most` in all, no more are due, or another caller counts them.
        """
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        _, members = await self._scripts.run("due_reports", (own.held,), at_most)
        if not members:
            return Counter()
        touched = [keys.control, own.held, own.counts, own.forecasts, own.log, keys.events]
        touched += [own.votes, own.waiting, own.replaceable]
        pairs = [codec.pair_of_held(member) for member in members]
        places: dict[tuple[int, int], int] = {}
        for pair in dict.fromkeys(pairs):
            places[pair] = len(touched) + 1
            touched += own.queues(*pair)
        marked = chain.from_iterable(zip((places[pair] for pair in pairs), members, strict=True))
        _, became = await self._scripts.run("count_due", touched, generation, *marked)
        return Counter(became)

    # Planning

    async def acquire_lease(self, name: str, holder: str, ttl_seconds: float) -> int | None:
        """Take or renew the right to plan, by the server's clock.

        Returns:
            The fencing number: higher after every change of holder and every lapse, unchanged by a renewal.
            None while another holder's lease lasts.
        """
        keys = self._names.experiment(name)
        reply = await self._scripts.run(
            "acquire_lease", (keys.control, keys.lease), holder, math.ceil(ttl_seconds * 1000)
        )
        return int(reply[1]) if reply[0] == "ok" else None

    async def release_lease(self, name: str, holder: str) -> None:
        """Give back the right to plan at once; nothing happens if another holder has it."""
        await self._scripts.run("release_lease", (self._names.experiment(name).lease,), holder)

    async def publish_plan(
        self, name: str, generation: int, plan: ProposedPlan, forecasts: Iterable[Forecast], fence: int
    ) -> int:
        """Replace plan and forecasts, from the next counted outcome on.

        Atomic. An equal plan under the same fence again returns its version and changes nothing.

        Args:
            name: Experiment.
            generation: Must be the current one.
            plan: The plan to publish; the store adds version and time.
            forecasts: One per pair. Comparisons of a pair without one add no evidence.
            fence: The number from `acquire_lease`.

        Returns:
            The plan's version.

        Raises:
            StaleFenceError: Another planner took over.
            ExperimentFinishedError: The generation is decided, or no longer current.
            ValueError: A number in the plan is not finite.
        """
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        forecasts = tuple(forecasts)
        reply = await self._scripts.run(
            "publish_plan",
            (keys.control, own.counts, own.forecasts, own.log, own.waiting),
            *(generation, fence, codec.plan_to_json(plan), codec.logged_forecasts(forecasts)),
            *codec.forecast_fields(forecasts),
        )
        return int(reply[1])

    async def decide(
        self,
        name: str,
        generation: int,
        fence: int,
        *,
        move: Move,
        champion: int | None,
        certificate: dict[str, Any],
        verdict: dict[str, Any] | None = None,
        steps: Sequence[StageStep] = (),
        comparisons: int = 0,
    ) -> ExperimentView:
        """Make a planner's move: state, certificate and, if the move installs one, incumbent change together.

        Atomic: one of several competing decisions is made. Repeating the same decision returns the stored
            one.

        Args:
            name: Experiment.
            generation: Must be the current one.
            fence: The number from `acquire_lease`.
            move: The move.
            champion: Index of the policy that the move is about, if any.
            certificate: The certificate; a move that certifies nothing does not store it.
            verdict: What the watch came to that the move ends.
            steps: Those of the staged promotion that the move begins.
            comparisons: How many were counted until then.

        Raises:
            StaleFenceError: Another planner took over.
            DecisionConflictError: The move does not start from the present state, or the generation is no
                longer current.
            ValueError: The move lacks a champion or has one that it does not need; or a number in the
                certificate is not finite.
        """
        _check_champion(move, champion)
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        reply = await self._scripts.run(
            "decide",
            (keys.control, keys.events, own.log, own.held),
            *(generation, fence, move.value, "" if champion is None else champion),
            codec.dump_json(certificate),
            codec.dump_json(encoded(_decided(champion, fence, generation, steps))),
            "" if verdict is None else codec.dump_json(verdict),
            codec.steps_to_json(steps) if steps else "",
            comparisons,
        )
        return codec.view_from(reply)

    async def move_by_hand(
        self,
        name: str,
        generation: int,
        move: Move,
        *,
        actor: str,
        reason: str,
        champion: int | None = None,
        certificate: dict[str, Any] | None = None,
        seen: dict[str, Any] | None = None,
        fence: int | None = None,
        verdict: dict[str, Any] | None = None,
    ) -> ExperimentView:
        """Make a move for a reason: state, certificate, incumbent change at once; the log says who and why.

        Atomic: one of several competing moves is made. Repeating a move by the same actor for the same
            reason returns the stored one.

        Args:
            name: Experiment.
            generation: Must be the current one.
            move: The move.
            actor: Name of the person's key.
            reason: The person's words.
            champion: Index of the policy that the move is about, if any.
            certificate: The certificate to store, if the move certifies.
            seen: The certificate in force that the move depends on; None if it depends on none.
            fence: The number `acquire_lease` gave, where a watch or a confirm hook moves and no person.
            verdict: What that watch came to.

        Raises:
            StaleFenceError: Another planner took over.
            DecisionConflictError: The move does not start from the present state, the generation is no longer
                the current one, another certificate is in force, or there is no promotion to take back.
            ValueError: As in `decide`.
        """
        _check_champion(move, champion)
        keys = self._names.experiment(name)
        own = keys.generation(generation)
        reply = await self._scripts.run(
            "move_by_hand",
            (keys.control, keys.events, own.log, own.held),
            *(generation, move.value, "" if champion is None else champion),
            *("" if each is None else codec.dump_json(each) for each in (certificate, seen)),
            codec.dump_json(
                {
                    **({} if fence is None else {"fence": fence}),
                    "actor": actor,
                    "reason": reason,
                    "generation": generation,
                }
            ),
            "" if fence is None else fence,
            "" if verdict is None else codec.dump_json(verdict),
        )
        return codec.view_from(reply)

    # The audit log

    async def log(
        self, name: str, generation: int, *, after: str = _LOG_START, count: int = 10_000
    ) -> tuple[list[LogRecord], str]:
        """A page of the append-only log: comparisons, plans and events in the order they happened.

        Returns:
            At most `count` records, none at the end of the log, and the `after` of the next page.
        """
        key = self._names.experiment(name).generation(generation).log
        start = after if after == _LOG_START else f"({after}"
        entries = await self._answer(self._redis.xrange(key, start, "+", count))
        records = [codec.log_record_from(fields) for _, fields in entries]
        return records, entries[-1][0] if entries else after

    async def events(self, name: str, count: int = 50) -> list[LoggedEvent]:
        """The latest events over all generations, newest first."""
        entries = await self._answer(self._redis.xrevrange(self._names.experiment(name).events, count=count))
        return [codec.event_from(fields) for _, fields in entries]

    async def events_page(
        self, name: str, *, after: str | None = None, count: int = 50, newest_first: bool = False
    ) -> list[PlacedEvent]:
        """A page of events in their order, or in reverse order.

        Args:
            name: Experiment.
            after: The last entry of the page before; None for the first page.
            count: The most events.
            newest_first: Whether to go from newer to earlier events.
        """
        keys = self._names.experiment(name)
        if newest_first:
            upto = "+" if after is None else f"({after}"
            entries = await self._answer(self._redis.xrevrange(keys.events, upto, "-", count))
        else:
            start = _LOG_START if after is None else f"({after}"
            entries = await self._answer(self._redis.xrange(keys.events, start, "+", count))
        return [
            PlacedEvent(keys.event_id(entry), entry, codec.event_from(fields)) for entry, fields in entries
        ]

    def event_id(self, name: str, entry: str) -> str:
        """The id of the event with this entry."""
        return self._names.experiment(name).event_id(entry)

    def entry_of(self, name: str, event_id: str) -> str | None:
        """The entry of an event of an experiment; None if the id is not of one."""
        return self._names.experiment(name).entry_of(event_id)


def _decided(champion: int | None, fence: int, generation: int, steps: Sequence[StageStep]) -> Decided:
    if not steps:
        return Decided(champion, fence, generation)
    return Stepped(champion, fence, generation, step=1, share=steps[0].share)


def _check_champion(move: Move, champion: int | None) -> None:
    if (champion is not None) is not MOVES[move].names_champion:
        wanted = "names a" if MOVES[move].names_champion else "has no"
        raise ValueError(f"The move {move} {wanted} champion; {champion} was given.")


def _counting_keys(keys: ExperimentKeys, report: Report) -> tuple[str, ...]:
    own = keys.generation(report.generation)
    return keys.control, own.counts, own.forecasts, own.log, keys.events, own.unit(report.unit), own.votes


def _counting_arguments(report: Report) -> tuple[str | int, ...]:
    return (
        report.generation,
        report.fingerprint,
        report.keep_seconds,
        report.first,
        report.second,
        report.source,
        report.voter,
        report.key,
        report.voter_cap,
        repr(float(report.key_share)),
        report.definition,
    )
