"""Writes golden_unstructured.json with the standard library alone, from the formulas in docs/concepts.md.

    python tests/data/make_golden.py

It shares no code with the gateway, so that an error in one does not hide in the other.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

SCORES_16 = [0.5 - 3.0 * index / 15 for index in range(16)]
CASES = {
    "three-policies": {"P": [[0.5, 0.6, 0.7], [0.4, 0.5, 0.9], [0.3, 0.1, 0.5]]},
    "five-scores": {"scores": [0.8, 0.3, 0.1, -0.2, -1.0]},
    "sixteen-scores": {"scores": SCORES_16},
}


def preferences(world: dict[str, list]) -> list[list[float]]:
    """The matrix of a case."""
    if "P" in world:
        return world["P"]
    scores = world["scores"]
    return [[1 / (1 + math.exp(other - own)) for other in scores] for own in scores]


def solve(matrix: list[list[float]]) -> tuple[int, float, dict[str, float]]:
    """Champion, hardness and proportions: each loser against the rival that beats it most clearly."""
    everyone = range(len(matrix))
    champion = next(i for i in everyone if all(matrix[i][j] > 0.5 for j in everyone if j != i))
    lengths = {}
    for loser in everyone:
        if loser != champion:
            rival = min(everyone, key=lambda other, row=matrix[loser]: row[other])
            p = matrix[loser][rival]
            lengths[f"{loser}-{rival}"] = 1 / (p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)))
    hardness = sum(lengths.values())
    return champion, hardness, {pair: length / hardness for pair, length in lengths.items()}


def main() -> None:
    """Write the file."""
    golden = []
    for name, world in CASES.items():
        champion, hardness, proportions = solve(preferences(world))
        golden.append(
            {
                "name": name,
                "world": world,
                "champion": champion,
                "hardness": round(hardness, 4),
                "proportions": {pair: round(share, 4) for pair, share in proportions.items()},
            }
        )
    text = json.dumps(golden, indent=1) + "\n"
    Path(__file__).with_name("golden_unstructured.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
