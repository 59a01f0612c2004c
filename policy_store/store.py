"""Experiments' shared state, which every replica reads and writes in atomic steps, one per method.

Every write may be repeated: a caller that got StoreUnavailableError cannot know whether its change was made,
and calls again. The driver itself never repeats a call (`connect.py`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from policy_store import codec
from policy_store.counts import Counts, Segments
from policy_store.decisions import DecisionStore
from policy_store.errors import UnknownExperimentError
from policy_store.experiment import Experiment
from policy_store.found_signals import FoundSignalStore
from policy_store.guards import GuardStore
from policy_store.judging import JudgeStore
from policy_store.last_looks import commitment_to
from policy_store.log import LogStore
from policy_store.looks import LookStore
from policy_store.names import ExperimentKeys
from policy_store.plans import PlanStore
from policy_store.reports import ReportStore
from policy_store.roles import Role
from policy_store.stages import StageStore
from policy_store.trials import TrialStore
from policy_store.usage import UsageStore
from policy_store.view import ExperimentView
from policy_store.watches import WatchStore


class PolicyStore(
    JudgeStore,
    ReportStore,
    PlanStore,
    LookStore,
    DecisionStore,
    StageStore,
    WatchStore,
    GuardStore,
    LogStore,
    UsageStore,
    TrialStore,
    FoundSignalStore,
):
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

    async def register(self, experiment: Experiment, elimination_nano_nats: int) -> ExperimentView:
        """Make the experiment's generation the current one, starting it if its fingerprint is new.

        Atomic: concurrent registrations of one fingerprint start one generation. Repeating changes nothing.
        An existing generation keeps its state and evidence. A new one continues from the current one if that
        is undecided and differs only in policies, costs, budget or minima: it inherits, once, the counts
        between the policies that both have (docs/decisions/0016-policies-come-and-go.md). What only informed
        the current one between them goes on informing in any case (0160-what-informed-goes-on.md).

        Args:
            experiment: The experiment to run. Its incumbent serves if the last registration named another
                one; if not, the policy that serves now continues, provided it is still a candidate. If the
                generation was decided for another policy than the one to serve, it stays unchanged and a new
                one starts.
            elimination_nano_nats: Row total of evidence at which a policy is eliminated.
        """
        keys = self._names.experiment(experiment.name)
        expected, before, is_same_evidence = 1, "", False
        places: tuple[int | None, ...] = ()
        while True:
            own, earlier = keys.generation(expected), int(before or 0)
            left = keys.generation(earlier)
            reply = await self._scripts.run(
                "register",
                (
                    *(keys.control, keys.events, own.log, own.counts),
                    *(left.counts, own.look, own.votes, left.votes),
                    *_informing_ledgers(keys, expected, earlier),
                ),
                experiment.fingerprint(),
                expected,
                experiment.to_json(),
                len(experiment.policies),
                experiment.incumbent,
                elimination_nano_nats,
                before,
                *_look_words(experiment),
                "1" if is_same_evidence else "",
                *codec.source_words(places),
            )
            if reply[0] != "raced":
                break
            # A script has to name its keys beforehand, and they contain generations that only the server
            # knows. A generation's definition never changes, so what can be inherited is determined here.
            expected, before = int(reply[1]), str(reply[2])
            if before:
                there = Experiment.from_json(reply[3])
                is_same_evidence, places = not experiment.breaks_with(there), experiment.places_in(there)
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

    async def revisions(self, names: Sequence[str]) -> dict[str, int]:
        """Numbers that change whenever the views of experiments change; cheap to poll.

        Experiments that the store does not hold are left out.
        """
        controls = [(self._names.experiment(name).control,) for name in names]
        found = await self._scripts.run_each("field_of_each", controls, "revision")
        return {name: int(revision) for name, revision in zip(names, found, strict=True) if revision}

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

    async def counts(self, name: str, generation: int, informs: Role | None = None) -> Counts:
        """Everything counted in a generation, or all that only informs it in a role, read at one moment."""
        keys = self._names.experiment(name)
        own = keys.generation(generation, informs)
        return codec.counts_from(
            await self._scripts.run("counts", (keys.control, own.counts, own.waiting, own.held), generation)
        )

    async def segments(self, name: str, generation: int, informs: Role | None = None) -> Segments:
        """The results counted in each segment of a generation, or of what only informs it in a role."""
        key = self._names.experiment(name).generation(generation, informs).segments
        return codec.segments_from(await self._answer(self._redis.hgetall(key)))


def _informing_ledgers(keys: ExperimentKeys, generation: int, before: int) -> Iterator[str]:
    """For each role: log and counts of what only informs a generation, and counts of the one before."""
    for role in Role:
        own = keys.generation(generation, role)
        yield from (own.log, own.counts, keys.generation(before, role).counts)


def _look_words(experiment: Experiment) -> tuple[int | str, str, str]:
    """Budget, secret and commitment of the last look that a new generation has; empty for none."""
    if not experiment.last_look or experiment.max_comparisons is None:
        return "", "", ""
    secret = secrets.token_hex(32)
    return experiment.max_comparisons, secret, commitment_to(secret)
