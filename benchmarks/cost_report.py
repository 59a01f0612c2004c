"""What the servers of `gateway_cost` needed in each round, and the page with the results."""

from __future__ import annotations

import datetime as dt
import os
import platform
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from benchmarks.load import Load
from benchmarks.spreads import spread

KINDS = ("whole", "stream")
COMPARED_AT = 16  # connections
FLOOR = "bare Python relay"
GATEWAY = "gateway, active experiment"
PLAIN = "gateway, plain model"
OTHER = " (the other checkout)"


@dataclass
class Samples:
    """What one contestant needed in each round, for one kind of request and number of connections."""

    cpu_ms: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def add(self, cpu_seconds: float, done: Load) -> None:
        """One more round."""
        count = len(done.latencies)
        self.cpu_ms.append(1000 * cpu_seconds / count)
        self.per_second.append(count / done.seconds)
        self.p50_ms.append(1000 * done.latency(0.5))
        self.p99_ms.append(1000 * done.latency(0.99))


Measured = dict[tuple[str, str, int], Samples]


def medians_of(starts: Sequence[Measured]) -> Measured:
    """Each start of the servers as one round: the medians of its rounds."""
    return {
        key: Samples(
            *(
                [statistics.median(getattr(start[key], figure.name)) for start in starts]
                for figure in fields(Samples)
            )
        )
        for key in starts[0]
    }


@dataclass(frozen=True)
class Started:
    """What a server's start took and its memory after the run: of its main process, and of all together."""

    seconds: float
    rss_mb: float
    tree_rss_mb: float


def heading(title: str, command: str, load1: float) -> list[str]:
    """How a page begins: what was run, when and where."""
    return [
        f"# {title}",
        "",
        f"{dt.datetime.now(dt.UTC).date()}, `{command}`, Python {platform.python_version()},",
        f"{os.cpu_count()} cores (load {load1:.1f}, other work included).",
    ]


def answers_table(samples: Measured, kind: str) -> list[str]:
    """All figures for one kind of request."""
    lines = [
        "",
        f"## {'Whole answers' if kind == 'whole' else 'Streams'}",
        "",
        "| server | connections | CPU ms a request | requests/s | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|",
    ]
    for (name, of_kind, connections), sample in samples.items():
        if of_kind == kind:
            lines.append(
                f"| {name} | {connections} | {spread(sample.cpu_ms, 3)} | {spread(sample.per_second, 0)} "
                f"| {spread(sample.p50_ms, 2)} | {spread(sample.p99_ms, 2)} |"
            )
    return lines


def comparison(samples: Measured) -> list[str]:
    """CPU as multiples of the floor's and of the gateway's in the same round."""
    names = list(dict.fromkeys(name for name, _, connections in samples if connections == COMPARED_AT))
    lines = [
        "",
        f"## Multiples at {COMPARED_AT} connections",
        "",
        "Each round's CPU a request divided by that of the same round's bare relay, and of the gateway with",
        "an active experiment.",
        "",
        "| server | whole / relay | stream / relay | whole / gateway | stream / gateway |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        cells = [spread(_ratios(samples, name, base, kind), 2) for base in (FLOOR, GATEWAY) for kind in KINDS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines if names else []


def _ratios(samples: Measured, name: str, base: str, kind: str) -> list[float]:
    mine, theirs = (samples[one, kind, COMPARED_AT].cpu_ms for one in (name, base))
    return [a / b for a, b in zip(mine, theirs, strict=True)]


def report(
    samples: Measured, started: dict[str, Started], absent: dict[str, str], command: str, load1: float
) -> str:
    """The results as Markdown."""
    lines = [
        *heading("What a request costs", command, load1),
        "Median (smallest to largest) over the rounds. CPU is user and system time of the server's process",
        "tree per request; streams have 32 events. The bare relay (same libraries, nothing but relaying)",
        "shows the lowest cost that such a program can have on this machine in the same minutes.",
        *comparison(samples),
        *(line for kind in KINDS for line in answers_table(samples, kind)),
        "",
        "| server | first answer after s | RSS MB after the run | with its child processes |",
        "|---|---|---|---|",
        *(
            f"| {name.partition(',')[0]} | {each.seconds:.2f} | {each.rss_mb:.0f} | {each.tree_rss_mb:.0f} |"
            for name, each in started.items()
        ),
        *(line for name, why in absent.items() for line in ("", f"{name} is absent: {why}.")),
    ]
    return "\n".join(lines) + "\n"


def report_against(samples: Measured, command: str, load1: float) -> str:
    """How this checkout's cost compares with the other's, as Markdown."""
    lines = [
        *heading("What a request costs, against another checkout", command, load1),
        "CPU is user and system time of the server's process tree per request, in milliseconds; streams have",
        "32 events. Both checkouts take turns in every round; a ratio is this checkout's CPU divided by the",
        "other's in the same round. Medians over the rounds, with the standard error of the median ratio",
        "(resampled) and the middle half of the ratios. With `--starts`, each start of both is one round,",
        "the median of its own.",
        "",
        "| asked | answer | connections | this, ms | the other, ms | ratio | middle half | rounds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (name, kind, connections), sample in samples.items():
        other = samples.get((name + OTHER, kind, connections))
        if other is not None:
            cells = (name, kind, str(connections), *_compared(sample.cpu_ms, other.cpu_ms))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _compared(ours: list[float], others: list[float]) -> tuple[str, ...]:
    ratios = [a / b for a, b in zip(ours, others, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    draws = random.Random(1)
    medians = [statistics.median(draws.choices(ratios, k=len(ratios))) for _ in range(1000)]
    return (
        f"{statistics.median(ours):.3f}",
        f"{statistics.median(others):.3f}",
        f"{statistics.median(ratios):.3f} ± {statistics.pstdev(medians):.3f}",
        f"{low:.3f} to {high:.3f}",
        str(len(ratios)),
    )
