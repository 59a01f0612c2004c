"""Draws the demo in a terminal: values in, renderables out, without waiting or reading."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.demo.watch import Reading
from gateway.rough import rough_count
from policy_store.states import Tone

WIDE_COLUMNS: Final = 100
WIDE_BAR_CELLS: Final = 34
NARROW_BAR_CELLS: Final = 20
EVENTS_NOTED: Final = 3
FULL: Final = "━"
HALF: Final = "╸"
LINE: Final = "┃"


@dataclass(frozen=True, slots=True)
class DemoEnding:
    """How the demo ended, and whether that is right.

    Attributes:
        verification: What `llmpo verify` found, in one sentence.
        is_verified: Whether it confirmed the certificate.
        truth: The simulation's truth in one sentence.
        is_true: Whether the promoted policy is the simulation's best.
    """

    verification: str
    is_verified: bool
    truth: str
    is_true: bool

    @property
    def is_good(self) -> bool:
        """Whether the right policy was promoted, with a confirmed proof."""
        return self.is_verified and self.is_true


@dataclass(frozen=True, slots=True)
class Pleased:
    """How many users liked a single answer (ordinary traffic)."""

    liked: int = 0
    answers: int = 0

    def __sub__(self, earlier: Pleased) -> Pleased:
        return Pleased(self.liked - earlier.liked, self.answers - earlier.answers)

    @property
    def share(self) -> float:
        """Share of those answers that users liked, in [0, 1]."""
        return self.liked / self.answers if self.answers else 0.0


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything one picture shows."""

    gateway: str
    elapsed_seconds: float
    reading: Reading | None = None
    comparisons_per_second: float = 0.0
    questions: int = 0
    pleased_before: Pleased = Pleased()
    pleased_since: Pleased = Pleased()
    ending: DemoEnding | None = None


def promise(delta: float, claim: str) -> str:
    """The gateway's guarantee in a sentence; `{policy}` in the claim stands for the promoted policy."""
    held = claim.replace("{policy}", "it")
    return f"A policy is promoted only when, with {1 - delta:.0%} confidence, {held}."


def picture(frame: Frame, columns: int) -> RenderableType:
    """The whole view, for a terminal of this width."""
    return Picture(frame, columns).whole()


class Picture:
    """One frame as a terminal shows it, part by part."""

    def __init__(self, frame: Frame, columns: int) -> None:
        self._frame = frame
        self._is_wide = columns >= WIDE_COLUMNS
        self._bar_cells = WIDE_BAR_CELLS if self._is_wide else NARROW_BAR_CELLS

    def whole(self) -> RenderableType:
        """All parts, one below the other."""
        frame, reading = self._frame, self._frame.reading
        title = Table.grid(expand=True)
        title.add_column()
        title.add_column(justify="right")
        clock = Text(_clock(frame.elapsed_seconds), "dim")
        title.add_row(Text.assemble(("llmpo demo  ", "bold cyan"), reading.name if reading else ""), clock)
        parts: list[RenderableType] = [title]
        if reading is None:
            parts.append(Text("Starting the simulated provider and the gateway ...", style="dim"))
        else:
            parts += [
                Text(promise(reading.delta, reading.claim), style="bold"),
                self.evidence(reading),
                self.figures(reading),
                self.closing(reading) if reading.is_decided else Text(_outlook(frame, reading)),
            ]
        parts.append(self.footer())
        return Padding(Group(*(Padding(part, (0, 0, 1, 0)) for part in parts)), (1, 2, 0, 2))

    def evidence(self, reading: Reading) -> Table:
        """A bar for each policy, up to the line."""
        is_against = not reading.epsilon
        cells = self._bar_cells
        table = Table.grid(padding=(0, 2, 0, 0))
        for justify in ("left", "left", "left", "right", "right", "right"):
            table.add_column(justify=justify, no_wrap=True)
        caption = "evidence against it" if is_against else "evidence for it"
        headings = (
            "policy",
            "",
            f"{caption:<{cells - 8}}the line" if self._is_wide else caption,
            "",
            "preferred",
            "compared",
        )
        table.add_row(*(Text(heading, "dim") for heading in headings))
        for index in range(len(reading.policies)):
            table.add_row(*self.row(reading, index))
        return table

    def row(self, reading: Reading, index: int) -> tuple[Text, ...]:
        """The cells of one policy."""
        policy, progress, won = reading.policies[index], reading.progress[index], reading.win_share(index)
        is_full, is_ruled_out = progress >= 1, reading.is_ruled_out(index)
        is_ahead = policy == (reading.champion or reading.leader)
        colour = (("cyan", "green") if reading.epsilon else ("yellow", "red"))[is_full]
        cells = self._bar_cells
        full, half = divmod(round(progress * cells * 2), 2)
        filled = FULL * full + HALF * half
        return (
            Text(policy, "bold green" if is_ahead else "dim" if is_ruled_out else ""),
            Text(reading.role(index), "green" if is_ahead else "dim"),
            Text.assemble((filled, colour), (FULL * (cells - len(filled)), "grey30"), (LINE, "bold")),
            Text(f"{progress:.0%}", "bold" if is_full else ""),
            Text("" if won is None else f"{won:.0%}"),
            Text("" if reading.is_decided else f"{reading.shown[index]:.0%}"),
        )

    def figures(self, reading: Reading) -> Text:
        """What was counted, and the latest events."""
        frame = self._frame
        parts = [f"{reading.comparisons} comparisons", f"{reading.ties} ties"]
        if not reading.is_decided:
            parts.append(f"{frame.comparisons_per_second:.1f} a second")
        parts.append(f"{frame.questions:,} questions answered")
        text = " · ".join(parts)
        if reading.events:  # the gateway's events on the demo's clock, as a second line
            start = reading.events[0][0]
            noted = (f"{_clock(at - start)} {kind}" for at, kind in reading.events[-EVENTS_NOTED:])
            text += "\n" + " · ".join(noted)
        return Text(text, "dim")

    def closing(self, reading: Reading) -> Table:
        """How the experiment ended."""
        table = Table.grid(padding=(0, 1, 0, 0))
        for is_good, sentence in closing_lines(self._frame, reading):
            mark, style = {True: ("✔", "bold green"), False: ("✘", "bold red"), None: ("…", "dim")}[is_good]
            table.add_row(Text(mark, style), Text(sentence))
        return table

    def footer(self) -> Table:
        """Where to look, what to ask, how to stop."""
        frame = self._frame
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_row(Text("Console", "dim"), Text(f"{frame.gateway}/console", "cyan"))
        if self._is_wide:
            model = frame.reading.name if frame.reading else "support-assistant"
            question = {
                "model": model,
                "messages": [{"role": "user", "content": "How do I descale my Luna 2?"}],
            }
            asking = f"curl {frame.gateway}/v1/chat/completions --json '{json.dumps(question)}'"
            table.add_row(Text("Ask it", "dim"), Text(asking, "dim"))
        table.add_row(Text("Stop", "dim"), Text("Ctrl-C"))
        return table


def progress_line(frame: Frame) -> str:
    """The picture's content as one line, for a log file."""
    reading = frame.reading
    if reading is None:
        return f"{frame.elapsed_seconds:4.0f} s  starting"
    evidence = ", ".join(
        f"{policy} {share:.0%}" for policy, share in zip(reading.policies, reading.progress, strict=True)
    )
    return (
        f"{frame.elapsed_seconds:4.0f} s  {reading.comparisons} comparisons "
        f"({frame.comparisons_per_second:.1f}/s), {_outlook(frame, reading).rstrip('.')}; "
        f"evidence {'for' if reading.epsilon else 'against'}: {evidence}"
    )


def closing_lines(frame: Frame, reading: Reading) -> list[tuple[bool | None, str]]:
    """Sentences once it is decided, each with whether it is good news (None: not known yet)."""
    counted = f"{reading.comparisons} comparisons, {reading.decided_after_seconds or 0.0:.0f} s"
    facts = reading.state.facts
    sentence = facts.sentence.format(incumbent=reading.incumbent, counted=counted)
    lines: list[tuple[bool | None, str]] = [(facts.tone is Tone.PROVEN, sentence)]
    if frame.ending is None:
        return [*lines, (None, "Recomputing the certificate from the comparison log ...")]
    lines.append((frame.ending.is_verified, f"llmpo verify: {frame.ending.verification}"))
    lines.append((frame.ending.is_true, frame.ending.truth))
    if frame.pleased_before.answers and frame.pleased_since.answers:
        before, since = frame.pleased_before.share, frame.pleased_since.share
        lines.append(
            (since > before, f"Users liked {before:.0%} of ordinary answers before, {since:.0%} since.")
        )
    return lines


def _clock(elapsed_seconds: float) -> str:
    minutes, seconds = divmod(max(0, int(elapsed_seconds)), 60)
    return f"{minutes}:{seconds:02}"


def _outlook(frame: Frame, reading: Reading) -> str:
    """Which policy is ahead, and how much is missing."""
    if not reading.comparisons or reading.leader is None:
        return "Waiting for the first preferences."
    remaining = reading.expected_remaining
    if remaining is None:
        return f"{reading.leader} is ahead."
    sentence = f"{reading.leader} is ahead; about {rough_count(remaining):,} more comparisons to a decision"
    if frame.comparisons_per_second > 0:
        sentence += f", {max(1, round(remaining / frame.comparisons_per_second))} s"
    return f"{sentence}."
