"""Follows an experiment through the public API: reads `GET /v1/experiments/{name}`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from policy_store.events import Decided, Eliminated, decoded
from policy_store.states import ExperimentState

RATE_WINDOW_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of an experiment. Tuples and matrices follow the order of `policies`.

    Attributes:
        comparisons: How many were counted so far, or until the decision (late ones may still be counted after
            it).
        shown: Share of the coming comparisons each policy takes part in, per side; sums to 1.
        claim: The promise about a promoted policy in words; `{policy}` stands for the policy.
        progress: Evidence gathered over evidence needed, in [0, 1].
        champion: The certified policy, once there is one.
        decided_after_seconds: Time from the experiment's start to its decision.
        events: The time (Unix seconds) and a description of each, oldest first.
    """

    name: str
    state: ExperimentState
    incumbent: str
    leader: str | None
    comparisons: int
    ties: int
    delta: float
    epsilon: float
    claim: str
    policies: tuple[str, ...]
    wins: tuple[tuple[int, ...], ...]
    progress: tuple[float, ...]
    shown: tuple[float, ...]
    expected_remaining: int | None
    champion: str | None
    statistic_nats: float | None
    threshold_nats: float | None
    decided_after_seconds: float | None
    events: tuple[tuple[float, str], ...]

    def is_ruled_out(self, policy: int) -> bool:
        """Whether the evidence against `policy` has reached the line (experiments without a margin)."""
        return not self.epsilon and self.progress[policy] >= 1

    def role(self, policy: int) -> str:
        """The present role of `policy` in a few words."""
        name = self.policies[policy]
        if name == self.champion:
            return "champion"
        roles = ["serving"] if name == self.incumbent else []
        if self.is_ruled_out(policy):
            roles.append("ruled out")
        elif name == self.leader and self.comparisons:
            roles.append("ahead")
        return ", ".join(roles)

    @property
    def is_decided(self) -> bool:
        """Whether a certificate says how the experiment ended."""
        return self.state.facts.has_certificate

    def win_share(self, policy: int) -> float | None:
        """Share of its decisive comparisons that `policy` won; None before the first."""
        won = sum(self.wins[policy])
        lost = sum(row[policy] for row in self.wins)
        return won / (won + lost) if won + lost else None


def event_words(event: dict[str, Any]) -> str:
    """An event in a word or two, with the policy it is about."""
    kind = str(event["kind"]).replace("_", " ")
    match decoded(event["kind"], event["detail"]):
        case Eliminated(policy=str(name)) | Decided(champion=str(name)):
            return f"{name} {kind}"
        case _:
            return kind


def parse_reading(answer: dict[str, Any]) -> Reading:
    """A reading from the API's answer."""
    policies: tuple[str, ...] = tuple(answer["policies"])
    certificate = answer["certificate"] or {}
    plan = answer["plan"] or {}
    shown = dict.fromkeys(policies, 0.0)
    for pair, probability in zip(plan.get("pairs", ()), plan.get("probabilities", ()), strict=True):
        for policy in pair:
            shown[policy] += probability / 2
    return Reading(
        name=answer["name"],
        state=ExperimentState(answer["state"]),
        incumbent=answer["incumbent"],
        leader=answer["leader"],
        comparisons=certificate.get("comparisons", answer["comparisons"]),
        ties=sum(map(sum, answer["ties"])) // 2,
        delta=answer["delta"],
        epsilon=answer["epsilon"],
        claim=answer["claim"],
        policies=policies,
        wins=tuple(tuple(row) for row in answer["wins"]),
        progress=tuple(
            min(1.0, max(0.0, part["nats"] / part["needed"])) if part["needed"] else 0.0
            for part in answer["evidence"]
        ),
        shown=tuple(shown.values()),
        expected_remaining=plan.get("expected_remaining"),
        champion=certificate.get("champion_name"),
        statistic_nats=certificate.get("statistic_nats"),
        threshold_nats=certificate.get("threshold_nats"),
        decided_after_seconds=certificate["decided_at"] - answer["started_at"] if certificate else None,
        events=tuple((event["at"], event_words(event)) for event in answer["events"]),
    )


class Watcher:
    """Reads one experiment and remembers how fast comparisons come in."""

    def __init__(self, session: aiohttp.ClientSession, gateway: str, experiment: str) -> None:
        self._session = session
        self._url = f"{gateway}/v1/experiments/{quote(experiment, safe='')}"
        self._counted: deque[tuple[float, int]] = deque()
        self.last: Reading | None = None

    async def look(self, now_seconds: float) -> Reading | None:
        """The experiment now, or the last reading while the gateway does not answer."""
        try:
            async with self._session.get(self._url) as response:
                response.raise_for_status()
                self.last = parse_reading(await response.json())
        except (aiohttp.ClientError, TimeoutError):
            return self.last
        self._counted.append((now_seconds, self.last.comparisons))
        while self._counted[0][0] < now_seconds - RATE_WINDOW_SECONDS:
            self._counted.popleft()
        return self.last

    @property
    def comparisons_per_second(self) -> float:
        """The rate of the last few seconds; 0 before there are two readings."""
        if len(self._counted) < 2:  # noqa: PLR2004 - a rate needs two points
            return 0.0
        (start, before), (end, after) = self._counted[0], self._counted[-1]
        return (after - before) / (end - start) if end > start else 0.0
