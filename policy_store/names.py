"""Every key the store uses, and how long it lives.

All keys of an experiment have its name as hash tag, so on a cluster they share one slot and a script may use
them together. API keys share another tag; so do the limits of each API key, and the keys that identify the
store. The token key, the list of names and the names of answers stand alone. The environment's prefix comes
first; it is empty unless `LLMPO_REDIS_PREFIX` is set. A watch over a promotion has a number from the same
row as generations, and keys like theirs.

    llmpo:token_key                       32 bytes in hex                              for ever
    llmpo:experiments                     set of names                                 for ever
    llmpo:answer:DIGEST                   the answer a request's id stands for         as long as feedback
    llmpo:{store}:identity                hash: id, epoch, when last written to        for ever
    llmpo:{store}:trial:KIND              test writes of every replica                 a minute
    llmpo:{store}:replicas                hash: what each replica runs, by its name    seconds
    llmpo:{store}:reloads                 how often all were asked to reload           for ever
    llmpo:{NAME}:control                  hash: current generation, revision, fence;   for ever
                                          per generation its state, plan, certificate
    llmpo:{NAME}:lease                    the replica that plans now                   seconds
    llmpo:{NAME}:events                   stream of events for operators               for ever
    llmpo:{NAME}:judging                  hash: what a judge spent today and said      for ever
    llmpo:{NAME}:GENERATION:counts        hash: wins, ties, evidence                   for ever
    llmpo:{NAME}:GENERATION:forecasts     hash: the current plan's forecasts           for ever
    llmpo:{NAME}:GENERATION:log           stream: comparisons, plans, events           for ever
    llmpo:{NAME}:GENERATION:look          secret of the last look                     until it is revealed
    llmpo:{NAME}:GENERATION:queue:A:B:S   list: outcomes of side S that wait           as long as they may
    llmpo:{NAME}:GENERATION:segments      hash: results by segment                     for ever
    llmpo:{NAME}:GENERATION:votes         hash: votes by pair, voter and API key       for ever
    llmpo:{NAME}:GENERATION:waiting       hash: how many wait, by pair and side        for ever
    llmpo:{NAME}:GENERATION:held          sorted set: reports by when they count       a week after that
    llmpo:{NAME}:GENERATION:replaceable   hash: members of held that may be replaced   as long as held
    llmpo:{NAME}:GENERATION:unit:UNIT     what a unit reported                         as long as its token
    llmpo:{NAME}:GENERATION:ROLE:...      those above, of what only informs              like those
    llmpo:{NAME}:GENERATION:sticky:UNIT   what a unit was assigned                     as long as asked for
    llmpo:{NAME}:GENERATION:guards        hash: pairs that guardrails compare          for ever
    llmpo:{NAME}:GENERATION:added:PROCESS number of its last addition to guards        a day
    llmpo:{NAME}:GENERATION:metric:DIGEST the number posted about an answer            as long as its token
    llmpo:{NAME}:session:UNIT             generation and policy a session began with   as long as asked for
    llmpo:{NAME}:maker:DIGEST             the policy that made part of an answer       as long as asked for
    llmpo:{NAME}:turn:DIGEST              hash: a question that may be asked again     as long as asked for
    llmpo:{NAME}:continued:DIGEST         an answer that the next request may name     as long as asked for
    llmpo:{NAME}:heard:DIGEST             an answer that a conversation may go on from as long as asked for
    llmpo:{NAME}:GENERATION:noticed:DIGEST hash: what was found and said of an answer  a little longer
    llmpo:{NAME}:GENERATION:rated         sorted set: rated answers by when they count a day after that
    llmpo:{NAME}:GENERATION:ratings       hash: ratings by what was found              for ever
    llmpo:{NAME}:archived                 hash: how far each log is archived           for ever
    llmpo:{NAME}:restore:ID:...           what a restore is about to put in force      an hour
    llmpo:{api-keys}:records              hash: API keys made at run time, by hash     for ever
    llmpo:{api-keys}:names                hash: names in use                           for ever
    llmpo:{api-keys}:revoked              hash: when a key was revoked                 for ever
    llmpo:{api-keys}:revision             changes with any of these                    for ever
    llmpo:{webhook:NAME}:control          hash: fence, what was taken up, what came of it; all of it
                                          a month after no gateway asks for it any more
    llmpo:{webhook:NAME}:lease            the replica that delivers now                seconds
    llmpo:{webhook:NAME}:messages         hash: what is to be delivered, by id
    llmpo:{webhook:NAME}:due              sorted set: ids by when they are sent next
    llmpo:{webhook:NAME}:dead             sorted set: ids by when they were given up
    llmpo:{limits:KEY}:requests           hash: requests by second                     a minute
    llmpo:{limits:KEY}:tokens             hash: tokens by second                       a minute
    llmpo:{limits:KEY}:holders            hash: requests in progress, by process       seconds
    llmpo:{...}:confirmed                 last write before replicas confirm           a minute
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import quote

from policy_store.roles import Role

# Both numbers of an entry's id fit into 64 bits, and ids before and after it exist.
_EVENT_ID: Final = re.compile(r"evt_([0-9a-f]{12})_([1-9][0-9]{0,18}-[0-9]{1,19})", re.ASCII)
_KINDS: Final = ("text", "hash", "list", "stream", "set", "ranked")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:/-]{0,64}")


class PrefixError(ValueError):
    """A prefix that is not allowed."""


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one environment's keys.

    Attributes:
        prefix: Put before each name, so that environments on one server share nothing.

    Raises:
        PrefixError: The prefix is too long, or holds other characters than letters, digits and . _ : / -
    """

    prefix: str = ""

    def __post_init__(self) -> None:
        # A brace would put all keys of all experiments into one slot of a cluster.
        if _PREFIX.fullmatch(self.prefix) is None:
            raise PrefixError("A prefix has at most 64 characters: letters, digits, and . _ : / -")

    @property
    def root(self) -> str:
        """The beginning of every name."""
        return f"{self.prefix}llmpo:"

    @property
    def token_key(self) -> str:
        """The key that seals response ids."""
        return f"{self.root}token_key"

    @property
    def experiments(self) -> str:
        """Set of all experiments' names."""
        return f"{self.root}experiments"

    @property
    def identity(self) -> str:
        """Hash with the identity of this store."""
        return f"{self.root}{{store}}:identity"

    def trial(self, tag: str = "store") -> tuple[str, ...]:
        """Keys for test writes: one of each data type, all in the slot of `tag`."""
        return tuple(f"{self.root}{{{tag}}}:trial:{kind}" for kind in _KINDS)

    @property
    def replicas(self) -> tuple[str, str]:
        """What each replica runs, and how often all were asked to reload."""
        start = f"{self.root}{{store}}"
        return f"{start}:replicas", f"{start}:reloads"

    @property
    def api_keys(self) -> tuple[str, str, str, str]:
        """Keys for the API keys made at run time, their names, revocations, and the revision of these."""
        start = f"{self.root}{{api-keys}}"
        return f"{start}:records", f"{start}:names", f"{start}:revoked", f"{start}:revision"

    def answer(self, digest: str) -> str:
        """The key for the answer that a request's id stands for."""
        return f"{self.root}answer:{digest}"

    def limits(self, key_name: str) -> tuple[str, str, str]:
        """Keys for the usage of an API key: requests, tokens, requests in progress."""
        start = f"{self.root}{{limits:{quote(key_name, safe='')}}}"
        return f"{start}:requests", f"{start}:tokens", f"{start}:holders"

    def webhook(self, name: str) -> WebhookKeys:
        """Those of one webhook."""
        return WebhookKeys(f"{self.root}{{webhook:{quote(name, safe='')}}}")

    def experiment(self, name: str) -> ExperimentKeys:
        """The keys of one experiment."""
        return _experiment_keys(self.root, name)

    def confirmed(self, key: str) -> str:
        """What is written before replicas are asked to confirm, in the slot of `key`."""
        tag, _ = self.split(key)
        return f"{self.root}{{{tag}}}:confirmed"

    def split(self, key: str) -> tuple[str, str]:
        """The hash tag of a key and what follows it; a key without one has an empty tag."""
        rest = key.removeprefix(self.root)
        tag, found, suffix = rest[1:].partition("}:") if rest.startswith("{") else ("", "", rest)
        return (tag, suffix) if found else ("", rest)


@dataclass(frozen=True, slots=True)
class WebhookKeys:
    """Keys of one webhook."""

    prefix: str

    @property
    def lease(self) -> str:
        """The replica that delivers now; expires."""
        return f"{self.prefix}:lease"

    @property
    def messages(self) -> str:
        """Hash of what is to be delivered."""
        return f"{self.prefix}:messages"

    @property
    def due(self) -> str:
        """Sorted set of ids by when they are sent next."""
        return f"{self.prefix}:due"

    @property
    def dead(self) -> str:
        """Sorted set of ids by when they were given up."""
        return f"{self.prefix}:dead"

    @property
    def deliveries(self) -> tuple[str, str, str, str]:
        """Control, due, messages and dead, in the order in which scripts take them."""
        return f"{self.prefix}:control", self.due, self.messages, self.dead


@dataclass(frozen=True)
class ExperimentKeys:
    """Keys of one experiment. Names are percent-encoded: a brace in one would end the hash tag early."""

    root: str
    name: str

    @cached_property
    def prefix(self) -> str:
        """The beginning of every key of the experiment, hash tag included."""
        return f"{self.root}{{{self.tag}}}"

    @cached_property
    def tag(self) -> str:
        """The hash tag of every key of the experiment."""
        return quote(self.name, safe="")

    @cached_property
    def control(self) -> str:
        """Hash with the current generation, revision and fence, and each generation's state."""
        return f"{self.prefix}:control"

    @cached_property
    def lease(self) -> str:
        """The replica that plans now; expires."""
        return f"{self.prefix}:lease"

    @cached_property
    def events(self) -> str:
        """Stream of events over all generations."""
        return f"{self.prefix}:events"

    def event_id(self, entry: str) -> str:
        """The id of an event: the id of its entry in the stream, with the stream's own digest.

        So ids differ between experiments and between environments.
        """
        return f"evt_{self._events_digest}_{entry}"

    def entry_of(self, event_id: str) -> str | None:
        """The entry of an event id; None if it is no id of this experiment's events."""
        found = _EVENT_ID.fullmatch(event_id)
        return found[2] if found and found[1] == self._events_digest else None

    @cached_property
    def _events_digest(self) -> str:
        return sha256(self.events.encode()).hexdigest()[:12]

    @cached_property
    def usage(self) -> str:
        """Hash of measured answers and tokens, by a policy's fingerprint."""
        return f"{self.prefix}:usage"

    @cached_property
    def judging(self) -> str:
        """Hash of what a judge has spent today, and of what it said by generation."""
        return f"{self.prefix}:judging"

    @cached_property
    def contents(self) -> str:
        """Hash of the contents of policies, by fingerprint."""
        return f"{self.prefix}:contents"

    @cached_property
    def archived(self) -> str:
        """Hash of how far each log is archived."""
        return f"{self.prefix}:archived"

    def session(self, unit: str) -> str:
        """The generation and policy with which a session began."""
        return f"{self.prefix}:session:{unit}"

    def maker(self, digest: str) -> str:
        """The policy that made a part of an answer that only its provider can read."""
        return f"{self.prefix}:maker:{digest}"

    def turn(self, digest: str) -> str:
        """What a question was answered with, and how often."""
        return f"{self.prefix}:turn:{digest}"

    def continued(self, digest: str) -> str:
        """What the provider calls an answer, and which question it answered."""
        return f"{self.prefix}:continued:{digest}"

    def heard(self, digest: str) -> str:
        """An answer that the next request of a conversation may go on from."""
        return f"{self.prefix}:heard:{digest}"

    def named(self, suffix: str) -> str:
        """The key that ends like this."""
        return f"{self.prefix}:{suffix}"

    def staged(self, restore: str, suffix: str) -> str:
        """Where a restore keeps what will be the key that ends like this; expires."""
        return f"{self.prefix}:restore:{restore}:{suffix}"

    def generation(self, number: int, informs: Role | None = None) -> GenerationKeys:
        """Keys of one generation; with a role those of what only informs it in that role."""
        apart = "" if informs is None else f":{informs}"
        return _generation_keys(f"{self.prefix}:{number}{apart}")


@dataclass(frozen=True)
class GenerationKeys:
    """Keys of one generation of an experiment."""

    prefix: str

    @cached_property
    def counts(self) -> str:
        """Hash of wins, ties, evidence, row totals and eliminations."""
        return f"{self.prefix}:counts"

    @cached_property
    def forecasts(self) -> str:
        """Hash of the current plan's forecasts."""
        return f"{self.prefix}:forecasts"

    @cached_property
    def log(self) -> str:
        """Stream of comparisons, plans and events."""
        return f"{self.prefix}:log"

    @cached_property
    def look(self) -> str:
        """The secret of the last look, which nothing reads before the end of the budget."""
        return f"{self.prefix}:look"

    @cached_property
    def segments(self) -> str:
        """Hash of results by segment and pair; apart from `counts`, because nothing that decides reads it."""
        return f"{self.prefix}:segments"

    @cached_property
    def votes(self) -> str:
        """Hash of the number of votes that each voter and API key gave on each pair."""
        return f"{self.prefix}:votes"

    @cached_property
    def waiting(self) -> str:
        """Hash of the number of waiting outcomes, by pair and side."""
        return f"{self.prefix}:waiting"

    @cached_property
    def held(self) -> str:
        """Sorted set of reports that do not count yet, by the time at which they count."""
        return f"{self.prefix}:held"

    @cached_property
    def replaceable(self) -> str:
        """Hash of the members of `held` that another of their unit may replace, by unit."""
        return f"{self.prefix}:replaceable"

    @cached_property
    def guards(self) -> str:
        """Hash of the pairs of numbers that guardrails compare."""
        return f"{self.prefix}:guards"

    def added(self, sender: str) -> str:
        """The number of a process's last addition to `guards`."""
        return f"{self.prefix}:added:{sender}"

    def metric(self, digest: str) -> str:
        """The number that was posted about an answer."""
        return f"{self.prefix}:metric:{digest}"

    def noticed(self, digest: str) -> str:
        """What was found of an answer, and how a user rated it."""
        return f"{self.prefix}:noticed:{digest}"

    @cached_property
    def rated(self) -> str:
        """Sorted set of rated answers, by when it is known what is found of them."""
        return f"{self.prefix}:rated"

    @cached_property
    def ratings(self) -> str:
        """Hash of the numbers of ratings, by what was found of the answers."""
        return f"{self.prefix}:ratings"

    def queue(self, first: int, second: int, side: int) -> str:
        """Outcomes of one side of a pair that wait for the other side."""
        return f"{self.prefix}:queue:{first}:{second}:{side}"

    def queues(self, first: int, second: int) -> tuple[str, str]:
        """The queues of both sides of a pair."""
        return self.queue(first, second, 0), self.queue(first, second, 1)

    def unit(self, unit: str) -> str:
        """Fingerprint of what a unit reported."""
        return f"{self.prefix}:unit:{unit}"

    def sticky(self, unit: str) -> str:
        """The assignment of a unit."""
        return f"{self.prefix}:sticky:{unit}"


# Each report asks for the same keys again.
_experiment_keys: Final = lru_cache(maxsize=10_000)(ExperimentKeys)
_generation_keys: Final = lru_cache(maxsize=10_000)(GenerationKeys)
