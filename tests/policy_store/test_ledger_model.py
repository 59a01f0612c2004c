"""The ledger against a reference model, over random sequences of what happens to it.

Two replicas take reports in turn: new ones, repetitions, contradictions, corrections, retries of what was
corrected, silence, reports of voters who gave all their votes on a pair or in all, at once or held, while
plans change the forecasts. A reply that is lost (a crash between any two steps) is a repetition of the call.
After every step the store's reply, and at the end all its counts and its log, are what the model says.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from policy_store.connect import connect
from policy_store.errors import ContradictingOutcomeError, OverCapError
from policy_store.log_records import Comparison, Result
from policy_store.names import Names
from policy_store.plan_records import Forecast
from policy_store.report_records import MissingVerdict, Precedence, Report
from policy_store.store import PolicyStore
from tests.policy_store.building import KEEP_SECONDS, NAME, experiment, forecasts, plan
from tests.servers import SERVERS

PAIRS: Final = ((0, 1), (0, 2), (1, 2))
UNITS: Final = 10
LINE: Final = 9_000
HELD: Final = Names().experiment(NAME).generation(1).held
MARGIN: Final = 0.5
FAR: Final = 1_000_000.0

Word = float | MissingVerdict


@dataclass(frozen=True)
class Said:
    """A report, as it is sent."""

    unit: int
    value: Word
    voter: str
    call: str
    segment: str = ""

    @property
    def pair(self) -> tuple[int, int]:
        """A unit is drawn for one pair."""
        return PAIRS[self.unit % 3]

    @property
    def side(self) -> Literal[0, 1]:
        """And for one side."""
        return 1 if self.unit % 2 else 0

    @property
    def name(self) -> str:
        """The unit in the store."""
        return f"unit{self.unit}"

    @property
    def drawn(self) -> str:
        """A fair coin chose the side."""
        return "" if isinstance(self.value, MissingVerdict) else f"1:{self.side}"


@dataclass
class Waiting:
    """An outcome that waits for one of the other side, or for its time."""

    said: Said
    value: Word
    segment: str


@dataclass
class Model:
    """What the documentation says of the ledger, in the plainest form."""

    replaces: bool
    cap: int
    holds: bool
    cap_in_all: int = 0  # none
    published: list[Forecast] = field(default_factory=list)
    version: int = 0
    spoken: dict[str, Word] = field(default_factory=dict)
    calls: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    votes: dict[tuple[tuple[int, int], str], int] = field(default_factory=lambda: defaultdict(int))
    votes_in_all: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    queues: dict[tuple[tuple[int, int], int], list[Waiting]] = field(
        default_factory=lambda: defaultdict(list)
    )
    held: list[tuple[float, Waiting, bool]] = field(default_factory=list)  # time, outcome, replaceable
    sides: dict[tuple[int, int, int, int], int] = field(default_factory=lambda: defaultdict(int))
    comparisons: list[tuple[int, int, str, int]] = field(default_factory=list)
    evidence: dict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))
    eliminated: dict[int, int] = field(default_factory=dict)
    corrections: int = 0
    segments: dict[tuple[str, tuple[int, int], str], int] = field(default_factory=lambda: defaultdict(int))

    def take(self, said: Said, due: float) -> str:
        """What becomes of a report."""
        is_missing = isinstance(said.value, MissingVerdict)
        before = self._replaceable(said)
        if said.name in self.spoken:
            return self._said_again(said, due, before)
        if is_missing and before is not None:
            return "duplicate"
        if over := self._over(said):
            return over
        if not is_missing:
            self._remember(said)
            self.sides[*said.pair, 1, said.side] += 1
        if not self.holds:
            self._vote(said)
            return self._match(said)
        if before is not None:
            del self.held[before]
        self.held.append((due, Waiting(said, said.value, said.segment), self.replaces or is_missing))
        return "held"

    def _replaceable(self, said: Said) -> int | None:
        """The place of what its unit said before, if that is held and another word may take its place."""
        of_unit = (at for at, (_, held, may) in enumerate(self.held) if may and held.said.unit == said.unit)
        return next(of_unit, None)

    def _said_again(self, said: Said, due: float, before: int | None) -> str:
        """What becomes of another report of a unit."""
        if self.spoken[said.name] == said.value:
            return "duplicate"
        is_open = before is not None if self.holds else True
        if isinstance(said.value, MissingVerdict) or not self.replaces or not is_open:
            return "contradicting"
        if said.call and said.call in self.calls[said.name]:
            return "duplicate"
        if before is not None:
            if over := self._over(said):  # the requests of a session may name several users
                return over
            self.held[before] = (due, Waiting(said, said.value, said.segment), True)
        elif not self._replace_waiting(said):
            return "contradicting"
        self._remember(said)
        self.corrections += 1
        return "replaced"

    def due(self, most: int) -> list[str]:
        """What becomes of the first held reports."""
        self.held.sort(key=lambda each: (each[0], each[1].said.name))
        first, self.held = self.held[:most], self.held[most:]
        became = []
        for _, waiting, _ in first:
            if over := self._over(waiting.said):
                became.append(over)
                continue
            self._vote(waiting.said)
            became.append(self._match(waiting.said))
        return became

    def _over(self, said: Said) -> str:
        """The cap that the voter has reached, the narrower one where both are; empty if none."""
        if said.voter == "":
            return ""
        is_spent = self.cap_in_all and self.votes_in_all[said.voter] >= self.cap_in_all
        is_pair_spent = self.votes[said.pair, said.voter] >= self.cap
        if is_pair_spent and not (self.cap_in_all and self.cap >= self.cap_in_all):
            return "voter_cap"
        return "voter_cap_per_experiment" if is_spent else ""

    def _vote(self, said: Said) -> None:
        if said.voter != "":
            self.votes[said.pair, said.voter] += 1
            self.votes_in_all[said.voter] += 1

    def _remember(self, said: Said) -> None:
        self.spoken[said.name] = said.value
        if self.replaces and said.call:
            self.calls[said.name].append(said.call)

    def _replace_waiting(self, said: Said) -> bool:
        for waiting in self.queues[said.pair, said.side]:
            if waiting.said.unit == said.unit:
                waiting.value, waiting.segment = said.value, said.segment
                return True
        return False

    def _match(self, said: Said) -> str:
        rivals = self.queues[said.pair, 1 - said.side]
        if not rivals:
            self.queues[said.pair, said.side].append(Waiting(said, said.value, said.segment))
            return "pending"
        rival = rivals.pop()
        mine, other = said.value, rival.value
        first, second = (mine, other) if said.side == 0 else (other, mine)
        result = _result(first, second)
        self._count(said.pair, result)
        if said.segment and rival.segment:
            joined = said.segment if said.segment == rival.segment else "(mixed)"
            self.segments[joined, said.pair, result] += 1
        return "counted"

    def _count(self, pair: tuple[int, int], result: str) -> None:
        self.comparisons.append((*pair, result, self.version))
        if result == "tie" or self.version == 0:
            return
        found = next(each for each in self.published if (each.first, each.second) == pair)
        at = 0 if result == "win" else 1
        for row, rival, amount in (
            (*pair, found.increments[at]),
            (*reversed(pair), found.increments[2 + at]),
        ):
            self.evidence[row, rival] += amount
            if sum(n for (j, _), n in self.evidence.items() if j == row) >= LINE:
                self.eliminated.setdefault(row, len(self.comparisons))


def _result(first: Word, second: Word) -> str:
    """How two outcomes compare: a loss is worse than everything, a tie as good as anything."""
    if MissingVerdict.TIE in (first, second) or first == second:
        return "tie"
    if MissingVerdict.LOSS in (first, second):
        return "loss" if first == MissingVerdict.LOSS else "win"
    assert isinstance(first, float)
    assert isinstance(second, float)
    if abs(first - second) <= MARGIN:
        return "tie"
    return "win" if first > second else "loss"


VALUES: Final = st.sampled_from([-1.0, 0.0, 0.25, 1.0])
VOTERS: Final = st.sampled_from(["", "ann", "bob", "cleo"])
CALLS: Final = st.sampled_from(["", "0a", "0b", "0c"])
SEGMENTS: Final = st.sampled_from(["", "pro", "free", "(other)"])
REPORTS: Final = st.builds(Said, st.integers(0, UNITS - 1), VALUES, VOTERS, CALLS, SEGMENTS)
SILENCES: Final = st.builds(
    Said, st.integers(0, UNITS - 1), st.sampled_from(MissingVerdict), VOTERS, st.just(""), SEGMENTS
)


class LedgerMachine(RuleBasedStateMachine):
    """Both ledgers, told the same."""

    replicas: Sequence[PolicyStore] = ()
    runner: asyncio.Runner

    def __init__(self) -> None:
        super().__init__()
        self.run(self._open())
        self.number = 0

    def run(self, work: Awaitable[Any]) -> Any:
        """Do some of the store's work."""
        return self.runner.run(_awaited(work))

    async def _open(self) -> None:
        await self.replicas[0]._redis.flushdb()
        await self.replicas[0].register(experiment(), LINE)
        self.fence = await self.replicas[0].acquire_lease(NAME, "planner", 60)

    def teardown(self) -> None:
        """Compare everything counted."""
        self.run(self._compare())

    @property
    def store(self) -> PolicyStore:
        """The replica whose turn it is."""
        return self.replicas[self.number % 2]

    @initialize(
        replaces=st.booleans(),
        caps=st.sampled_from([(1, 0), (2, 0), (1, 1), (1, 2), (2, 2), (2, 3)]),
        holds=st.booleans(),
    )
    def begin(self, *, replaces: bool, caps: tuple[int, int], holds: bool) -> None:
        """The rules of the experiment."""
        self.model = Model(replaces, caps[0], holds, caps[1])
        self.sent: list[Said] = []

    @rule(said=REPORTS)
    def report(self, said: Said) -> None:
        """A report, or another word of a unit that reported."""
        self._send(said)

    @rule(said=SILENCES)
    def silence(self, said: Said) -> None:
        """What a unit comes to without a report; that counts with a hold only."""
        if self.model.holds:
            self._send(said)

    @rule(at=st.integers(0, 30))
    def send_again(self, at: int) -> None:
        """A call whose answer was lost, or a retry that comes late."""
        if self.sent:
            self._send(self.sent[-1 - at % len(self.sent)])

    @rule(probability=st.integers(100_000, 900_000), step=st.integers(1, 2_000))
    def publish(self, probability: int, step: int) -> None:
        """Another plan, with other forecasts."""
        self.model.published = forecasts(3, probability, step)
        self.number += 1
        # a plan that is equal to the last one is taken for the same call again
        made = replace(plan(comparisons=len(self.model.comparisons)), duration_seconds=float(self.number))
        self.model.version = self.run(
            self.store.publish_plan(NAME, 1, made, self.model.published, self.fence)
        )

    @rule(most=st.integers(1, 4))
    def count_due(self, most: int) -> None:
        """Holds are over, and a planner counts some of the reports before it is gone."""
        if self.model.holds and self.model.held:
            self.run(self.store._redis.zunionstore(HELD, {HELD: 1e-3}))
            self.model.held = [(due * 1e-3, waiting, may) for due, waiting, may in self.model.held]
            self.number += 1
            became = self.run(self.store.count_due(NAME, 1, most))
            expected = self.model.due(most)
            assert dict(became) == {each: expected.count(each) for each in set(expected)}

    def _send(self, said: Said) -> None:
        self.number += 1
        self.sent.append(said)
        due = 2e9 + FAR * self.number
        assert self.run(self._became(said, due)) == self.model.take(said, due * 1e6), said

    async def _became(self, said: Said, due: float) -> str:
        standing = Precedence.REPLACE if self.model.replaces else Precedence.FIRST
        is_missing = isinstance(said.value, MissingVerdict)
        sent = Report(
            *(NAME, 1, said.name, *said.pair, "matched:thumb", repr(said.value), KEEP_SECONDS),
            voter=said.voter,
            voter_cap=self.model.cap,
            voter_cap_per_experiment=self.model.cap_in_all,
            segments=(("metadata.plan", said.segment),) if said.segment else (),
            due_at=due if self.model.holds else None,
            standing=Precedence.MISSING if is_missing else standing,
            idempotency=said.call,
            drawn=said.drawn,
        )
        try:
            recorded = await self.store.record_outcome(
                sent, side=said.side, value=said.value, tie_margin=MARGIN, wait_seconds=KEEP_SECONDS
            )
        except ContradictingOutcomeError:
            return "contradicting"
        except OverCapError as error:
            return error.cap
        return recorded.receipt.value

    async def _compare(self) -> None:
        """All counts, and the log."""
        if not hasattr(self, "model"):
            return
        model, counts = self.model, await self.store.counts(NAME, 1)
        decisive = [each for each in model.comparisons if each[2] != "tie"]
        for i in range(3):
            for j in range(3):
                won = [(i, j, "win"), (j, i, "loss")]
                assert counts.wins[i][j] == sum(each[:3] in won for each in decisive)
                assert counts.evidence_nano_nats[i][j] == model.evidence[i, j]
        assert counts.comparisons == len(model.comparisons)
        assert counts.reports_held == len(model.held)
        assert dict(counts.sides) == {each: n for each, n in model.sides.items() if n}
        assert counts.eliminated_at == tuple(model.eliminated.get(each) for each in range(3))
        waiting = {
            pair: (len(model.queues[pair, 0]), len(model.queues[pair, 1]))
            for pair in PAIRS
            if model.queues[pair, 0] or model.queues[pair, 1]
        }
        assert dict(counts.waiting) == waiting
        records, _ = await self.store.log(NAME, 1)
        logged = [each for each in records if isinstance(each, Comparison)]
        told = [(each.first, each.second, each.result.value, each.plan_version) for each in logged]
        assert told == model.comparisons
        in_segments = {
            (value, pair, result): number
            for (_, value), pairs in (await self.store.segments(NAME, 1)).items()
            for pair, results in pairs.items()
            for result, number in zip(("win", "loss", "tie"), results, strict=True)
            if number
        }
        assert in_segments == model.segments
        by_log = Counter(
            (value, (each.first, each.second), each.result.value)
            for each in logged
            for value in each.segments.values()
        )
        assert by_log == model.segments
        kinds = [getattr(each, "kind", "") for each in records]
        assert kinds.count("corrected") == model.corrections


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


def _run(url: str, sequences: int, steps: int) -> None:
    with asyncio.Runner() as runner:
        replicas = [PolicyStore(connect(url)) for _ in range(2)]
        machine = type("Told", (LedgerMachine,), {"replicas": replicas, "runner": runner})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=sequences,
                stateful_step_count=steps,
                deadline=None,
                derandomize=True,
                phases=(Phase.generate,),
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        for replica in replicas:
            runner.run(replica.aclose())


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of these tests' own: they empty it before each sequence."""
    server = SERVERS["embedded"](tmp_path_factory.mktemp("ledger"))
    server.start()
    yield server.url
    server.stop()


def test_the_ledger_is_what_the_model_says(url: str) -> None:
    """Whatever is reported in whatever order, and however often."""
    _run(url, 25, 30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_ledger_is_what_the_model_says_over_ten_thousand_sequences(url: str) -> None:
    """The same, often enough to meet rare orders."""
    _run(url, 10_000, 20)


def test_the_model_counts_by_hand() -> None:
    """Two outcomes of a pair, the better one first: a win; a repetition is none."""
    model = Model(replaces=False, cap=1, holds=False)
    assert model.take(Said(0, 1.0, "ann", ""), 0.0) == "pending"
    assert model.take(Said(3, -1.0, "bob", ""), 0.0) == "counted"
    assert model.take(Said(3, -1.0, "bob", ""), 0.0) == "duplicate"
    assert model.comparisons == [(0, 1, Result.WIN, 0)]
    assert json.dumps(model.comparisons[0][2]) == '"win"'
