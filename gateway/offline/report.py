"""`report.md`: what a run found, what is promised, and what it cost, for readers who did not see the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.experiments.promises import claim
from gateway.offline.errors import RunDirectoryError

MANY_TIES: Final = 0.8
_LIMITS: Final = {
    "calls": "the budget of calls was spent",
    "usd": "the budget of money was spent",
    "tasks": "every task had come up once",
    None: "`max_comparisons` was reached",
}
_DRAWS: Final = {
    "list": "The promise is about a task drawn at random from the list. Tasks may come up repeatedly, each "
    "time independently.",
    "population": "The promise is about the population of which the list is a random sample. Each task "
    "came up at most once.",
}


def headline(summary: Mapping[str, Any]) -> str:
    """The result of a run in a few words."""
    match summary["outcome"]:
        case "winner" | "no_worse":
            return claim(summary["promise"], summary["epsilon"], summary["champion"])
        case "no_winner":
            return "no winner, each policy is beaten by another"
        case _:
            return f"inconclusive, {_LIMITS[summary['stopped_by']].replace('`', '')}"


def write_report(directory: Path, summary: Mapping[str, Any], plots: Sequence[str]) -> Path:
    """Write `report.md`; `plots` are names of pictures in the same directory.

    Raises:
        RunDirectoryError: If it cannot be written.
    """
    path = directory / "report.md"
    try:
        path.write_text("\n".join(RunReport(summary).lines(plots)) + "\n", encoding="utf-8")
    except OSError as error:
        raise RunDirectoryError(
            f"{path} cannot be written: {error.strerror}. The run itself is finished and kept."
        ) from error
    return path


class RunReport:
    """The report as Markdown, section by section.

    Args:
        summary: The figures of the run, `Outcome.summary`.
    """

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self._summary = summary

    def lines(self, plots: Sequence[str]) -> Iterator[str]:
        """The whole report; `plots` are the names of its pictures."""
        summary = self._summary
        yield f"# {summary['name']}: {headline(summary)}"
        yield ""
        yield from self.promise()
        yield ""
        yield from self.policies()
        yield ""
        yield from self.effort()
        yield from self.judging()
        yield ""
        yield from self.matrix()
        for plot in plots:
            yield ""
            yield f"![{plot.partition('.')[0]}]({plot})"
        yield ""
        yield f"Recompute the decision from the log alone: `llmpo verify {summary['name']} --log log.jsonl`."

    def promise(self) -> Iterator[str]:
        """The claim and its grounds."""
        summary = self._summary
        if summary["outcome"] == "inconclusive":
            yield "Nothing is claimed: the evidence did not suffice before the run ended."
            if summary["ties"] > MANY_TIES * summary["comparisons"]:
                share = summary["ties"] / summary["comparisons"]
                yield (
                    f"{share:.0%} of the comparisons were ties, which give no information: the policies do "
                    "equally well on most tasks, or the judge cannot tell them apart."
                )
            return
        if summary["cycle"]:
            yield f"The cycle: {' beats '.join([*summary['cycle'], summary['cycle'][0]])}."
        yield f"{summary['assumption']} Here delta is {summary['delta']:g}, epsilon {summary['epsilon']:g}."
        yield _DRAWS[summary["draw"]]

    def policies(self) -> Iterator[str]:
        """A table of the policies."""
        summary = self._summary
        against = summary["epsilon"] == 0
        evidence = "evidence against it" if against else "evidence for it"
        headings = ("policy", "model", "won", "lost", "tied", f"{evidence}, nats", "needed", "mean score")
        yield f"| {' | '.join((*headings, 'answers', 'USD'))} |"
        yield "|---|---|---|---|---|---|---|---|---|---|"
        for row in summary["policies"]:
            cells = [
                f"{row['name']} (incumbent)" if row["is_incumbent"] else row["name"],
                *(str(row[name]) for name in ("model", "wins", "losses", "ties")),
                f"{row['evidence_nats']:.3f}",
                f"{row['needed_nats']:.3f}",
                "" if row["mean_score"] is None else f"{row['mean_score']:.3f}",
                f"{row['answers']} ({row['refused']} refused)" if row["refused"] else str(row["answers"]),
                "" if row["usd"] is None else f"{row['usd']:.4f}",
            ]
            yield f"| {' | '.join(cells)} |"
        if any(row["mean_score"] is not None for row in summary["policies"]):
            yield ""
            yield "A mean score covers only the tasks that its policy happened to get, so it proves nothing."

    def effort(self) -> Iterator[str]:
        """The effort and cost of the run."""
        summary = self._summary
        full = summary["answers_of_full_evaluation"]
        yield (
            f"{summary['comparisons']} comparisons, {summary['ties']} of them ties, on {summary['tasks']} "
            f"tasks; {summary['calls']} calls for {summary['answers']} answers. Asking every policy every "
            f"task would take {full} answers; this is {summary['answers'] / full:.0%} of that."
        )
        if summary["usd"] is not None:
            yield f"Cost: {summary['usd']:.4f} USD."
        if summary["models_without_price"]:
            yield f"Models without a known price, not included: {', '.join(summary['models_without_price'])}."

    def judging(self) -> Iterator[str]:
        """How a model judged; nothing for judges that are rules."""
        summary = self._summary
        judge = summary["judge"]
        if judge["kind"] != "llm":
            return
        verdicts = ", ".join(f"{count} {note}" for note, count in sorted(judge["verdicts"].items()))
        yield (
            "A model judged, in both orders; disagreement counts as a tie. The promise is about the "
            f"model's preferences. Verdicts: {verdicts or 'none'}."
        )
        if judge["is_candidate"]:
            yield "The judge is also a candidate's model, as the file allows; judges favour their own "
            "answers."

    def matrix(self) -> Iterator[str]:
        """A table of wins, row over column."""
        summary = self._summary
        names = [row["name"] for row in summary["policies"]]
        yield "How often the row was preferred to the column:"
        yield ""
        yield f"|  | {' | '.join(names)} |"
        yield f"|---|{'---|' * len(names)}"
        for name, wins in zip(names, summary["wins"], strict=True):
            yield f"| **{name}** | {' | '.join(map(str, wins))} |"
