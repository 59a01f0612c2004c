"""How well `reasked` tells a question asked again from another question of the same topic.

    python -m benchmarks.reasked [--squad FOLDER] [--medical FILE]

Writes benchmarks/results/reasked.json and .md. Pairs of questions are compared as the gateway compares the
questions of two turns. The pairs of this repository are always measured; the two public sets, which are not
part of it, only where they are:

    FOLDER  `datasets` of github.com/nusnlp/paraphrasing-squad, at commit 860c492
    FILE    mqp.csv of github.com/curai/medical-question-pair-dataset, at commit 6c7f7fd
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Any, Final

from benchmarks.reporting import save, table
from gateway.config.found_signals import FoundSpec
from gateway.experiments.source_standing import share_interval
from gateway.serving.sketches import Sketch

DEFAULT: Final = FoundSpec().question_similarity
THRESHOLDS: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
ASKED_AGAIN: Final = 0.1  # share of follow-up questions that ask the same again, for the last column
OWN: Final = Path(__file__).parents[1] / "tests" / "data" / "questions" / "rewordings.json"
SECRET: Final = b"of one turn" * 2
FINDINGS: Final = (
    "**What the pairs are.** *Ours*: 60 questions of 15 topics, each asked again twice, with few",
    "changes and in other words, made up by those who knew the measure (tests/data/questions). *SQuAD*:",
    "questions about paragraphs of Wikipedia beside paraphrases from a published test set, most of",
    "which change a word or two; the other questions are about the same paragraph and have another",
    "answer. *Medical*: questions of patients that doctors rewrote, with as much of the syntax",
    "changed as possible, and other questions for which they were to use similar words. None of",
    "them was asked by a user whom an answer did not help: how such users put it is not known.",
    "",
    "**What they say.** A question that comes again with few changes is found (95 and 98 % at the",
    "default), and other questions are rarely mistaken for it (0 to 1 %). A question in quite other",
    "words is not: 2 % of the doctors' rewritings are found at the default and 19 % at 0.4, where 2 to",
    "5 % of other questions are mistaken for one. If one follow-up question in ten asks again, half of",
    "what is found there would be wrong. So `reasked` means the same question in almost the same words,",
    "and the default stays: 0.5 finds 2 to 6 in 100 more, and mistakes up to 1 in 150 more of questions",
    "that are many times as frequent, which is about even.",
)


@dataclass(frozen=True)
class Pairs:
    """Pairs of questions from one place.

    Attributes:
        name: For the page.
        same: Pairs of which the second asks the first again.
        other: Pairs of two different questions.
    """

    name: str
    same: tuple[tuple[str, str], ...]
    other: tuple[tuple[str, str], ...]

    def rows(self) -> Iterator[dict[str, Any]]:
        """How many pairs are taken for the same question, from each threshold on."""
        same, other = ([similarity(*pair) for pair in pairs] for pairs in (self.same, self.other))
        for threshold in THRESHOLDS:
            yield {
                "pairs": self.name,
                "threshold": threshold,
                "same": len(same),
                "found": sum(each >= threshold for each in same),
                "other": len(other),
                "mistaken": sum(each >= threshold for each in other),
            }


def similarity(question: str, again: str) -> float:
    """How similar two questions are to the gateway."""
    first, second = (Sketch.of_words(text, SECRET, 1) for text in (question, again))
    return first.similarity(second)


def own() -> Iterable[Pairs]:
    """Those of this repository: asked again with few changes, and in other words."""
    topics = json.loads(OWN.read_text(encoding="utf-8"))["topics"].values()
    other = [pair for topic in topics for pair in combinations([each["question"] for each in topic], 2)]
    for place, how in enumerate(("few changes", "other words")):
        same = [(each["question"], each["again"][place]) for each in chain.from_iterable(topics)]
        yield Pairs(f"ours, {how}", tuple(same), tuple(other))


def squad(folder: Path) -> Pairs:
    """Questions beside their paraphrases, and beside others about the same paragraph."""
    original, reworded = (_asked(folder / f"dev_{which}.json") for which in ("orig", "para"))
    same = tuple((one[1], two[1]) for one, two in zip(original, reworded, strict=True))
    about: dict[str, dict[str, str]] = defaultdict(dict)
    for paragraph, question, answer in original:
        about[paragraph][question] = answer
    other = (
        (one, two)
        for asked in about.values()
        for one, two in combinations(asked, 2)
        if asked[one] != asked[two]
    )
    return Pairs("SQuAD", same, tuple(other))


def _asked(file: Path) -> list[tuple[str, str, str]]:
    """Paragraph, question and answer of each entry."""
    paragraphs = [entry["paragraphs"][0] for entry in json.loads(file.read_text(encoding="utf-8"))["data"]]
    return [
        (each["context"], each["qas"][0]["question"], each["qas"][0]["answers"][0]["text"])
        for each in paragraphs
    ]


def medical(file: Path) -> Pairs:
    """Questions that doctors rewrote, and others that they made with similar words."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [(one, two, label) for _, one, two, label in csv.reader(lines)]
    same, other = ([(one, two) for one, two, label in rows if label == kind] for kind in ("1", "0"))
    return Pairs("medical", tuple(same), tuple(other))


def report(rows: list[dict[str, Any]], origin: str) -> str:
    """The Markdown page."""
    lines = [
        "# How well a question asked again is recognised",
        "",
        f"{origin}. *Found*: the share of questions asked again that are taken for that, with a 95 %",
        "interval (Wilson's). *Mistaken*: the share of other questions of the same topic that are.",
        "*Precision*: the share of what is taken for a question asked again that is one, among the",
        f"pairs measured; and where {ASKED_AGAIN:.0%} of all follow-up questions ask again. The default",
        f"threshold (`question_similarity`) is {DEFAULT}.",
        "",
        *FINDINGS,
        "",
    ]
    headings = ["pairs", "threshold", "found", "mistaken", "precision", f"at {ASKED_AGAIN:.0%} asked again"]
    return "\n".join([*lines, *table(headings, [_cells(row) for row in rows])]) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    found, mistaken = row["found"] / row["same"], row["mistaken"] / row["other"]
    taken = ASKED_AGAIN * found + (1 - ASKED_AGAIN) * mistaken
    threshold = f"**{row['threshold']}**" if row["threshold"] == DEFAULT else str(row["threshold"])
    return [
        *(row["pairs"], threshold, _share(row["found"], row["same"]), _share(row["mistaken"], row["other"])),
        _share(row["found"], row["found"] + row["mistaken"]),
        f"{ASKED_AGAIN * found / taken:.0%}" if taken else "-",
    ]


def _share(part: int, whole: int) -> str:
    if not whole:
        return "-"
    low, high = share_interval(part, whole)
    return f"{part:,} of {whole:,}: {part / whole:.1%} ({low:.1%} to {high:.1%})"


def main() -> None:
    """Measure every set that is there, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--squad", type=Path, metavar="FOLDER")
    parser.add_argument("--medical", type=Path, metavar="FILE")
    options = parser.parse_args()
    sets = [*own()]
    sets += [] if options.squad is None else [squad(options.squad)]
    sets += [] if options.medical is None else [medical(options.medical)]
    rows = [row for each in sets for row in each.rows()]
    command = "python -m benchmarks.reasked"
    command += "".join(
        f" --{name} {metavar}"
        for name, metavar, given in (
            ("squad", "FOLDER", options.squad),
            ("medical", "FILE", options.medical),
        )
        if given is not None
    )
    save("reasked", command, rows, lambda origin: report(rows, origin))


if __name__ == "__main__":
    main()
