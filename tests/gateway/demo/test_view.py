"""The demo's picture says what an experiment's state is, in a terminal and in a log file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from gateway.demo.view import DemoEnding, Frame, Pleased, picture, progress_line, promise
from gateway.demo.watch import Reading, parse_reading

ANSWER = {
    "name": "support-assistant",
    "state": "running",
    "incumbent": "baseline",
    "leader": "stepwise",
    "comparisons": 60,
    "policies": ["baseline", "stepwise", "brief"],
    "wins": [[0, 4, 9], [16, 0, 14], [6, 3, 0]],
    "ties": [[0, 3, 1], [3, 0, 4], [1, 4, 0]],
    "evidence": [
        {"policy": "baseline", "nats": 2.0, "needed": 3.0},
        {"policy": "stepwise", "nats": -0.4, "needed": 3.0},
        {"policy": "brief", "nats": 3.5, "needed": 3.0},
    ],
    "plan": {
        "pairs": [["baseline", "stepwise"], ["stepwise", "brief"]],
        "probabilities": [0.8, 0.2],
        "expected_remaining": 20,
    },
    "certificate": None,
    "events": [
        {"at": 1000.0, "kind": "started", "detail": {}},
        {"at": 1009.5, "kind": "eliminated", "detail": {"policy": "brief", "comparison": 9, "generation": 1}},
    ],
    "delta": 0.05,
    "epsilon": 0.0,
    "claim": "{policy} is preferred to every other policy",
    "started_at": 1000.0,
}
RUNNING = Frame(
    "http://127.0.0.1:8420", 12.0, parse_reading(ANSWER), comparisons_per_second=10.0, questions=130
)
PROMOTED = replace(
    RUNNING,
    reading=parse_reading(
        {
            **ANSWER,
            "state": "promoted",
            "incumbent": "stepwise",
            "certificate": {
                "champion_name": "stepwise",
                "statistic_nats": 3.2,
                "threshold_nats": 3.0,
                "decided_at": 1015.2,
                "comparisons": 59,
            },
        }
    ),
    pleased_before=Pleased(40, 100),
    pleased_since=Pleased(7, 10),
    ending=DemoEnding("confirmed", True, "The simulation agrees.", True),
)


def _drawn(frame: Frame, columns: int = 110) -> str:
    console = Console(width=columns, height=40, force_terminal=False)
    with console.capture() as capture:
        console.print(picture(frame, columns))
    return capture.get()


def test_a_reading_says_what_the_api_said() -> None:
    """Evidence is clipped to the line, ties are counted once, traffic is shared by both sides of a pair."""
    reading = RUNNING.reading
    assert isinstance(reading, Reading)
    assert reading.progress == pytest.approx((2 / 3, 0.0, 1.0))
    assert reading.ties == 8
    assert reading.shown == pytest.approx((0.4, 0.5, 0.1))
    assert reading.win_share(1) == pytest.approx(30 / 37)


def test_a_reading_before_the_first_plan_is_empty() -> None:
    """A reading without a plan has no line and nothing filled."""
    evidence = [{"policy": policy, "nats": 0.0, "needed": None} for policy in ("a", "b")]
    answer = {
        **ANSWER,
        "events": [],
        "policies": ["a", "b"],
        "plan": None,
        "evidence": evidence,
        "wins": [[0, 0], [0, 0]],
    }
    assert parse_reading(answer).progress == (0.0, 0.0)


def test_a_running_experiment_shows_who_is_ahead_and_what_is_missing() -> None:
    """The picture tells the promise, the leader, the ruled-out and the time left."""
    drawn = _drawn(RUNNING)
    assert "with 95% confidence, it is preferred to every other policy" in drawn
    assert "stepwise is ahead; about 20 more comparisons to a decision, 2 s." in drawn
    assert "ruled out" in drawn
    assert "0:00 started · 0:09 brief eliminated" in drawn
    assert "http://127.0.0.1:8420/console" in drawn


def test_a_narrow_terminal_keeps_every_row_on_one_line() -> None:
    """At 80 columns no part of the table is cut or wrapped."""
    rows = [line for line in _drawn(RUNNING, columns=80).splitlines() if "┃" in line]
    assert len(rows) == 3
    assert all(line.rstrip().endswith("%") for line in rows)


def test_a_promotion_shows_its_proof() -> None:
    """After the decision the view shows the promotion, its verification, the truth and the users' gain."""
    drawn = _drawn(PROMOTED)
    assert "stepwise was promoted after 59 comparisons, 15 s." in drawn
    assert "✔ llmpo verify: confirmed" in drawn
    assert "Users liked 40% of ordinary answers before, 70% since." in drawn


def test_a_failed_verification_is_not_dressed_up() -> None:
    """A certificate that differs is shown as such."""
    assert PROMOTED.ending is not None
    ending = replace(PROMOTED.ending, is_verified=False, verification="differs: wins[0][1]")
    assert "✘ llmpo verify: differs: wins[0][1]" in _drawn(replace(PROMOTED, ending=ending))
    assert not ending.is_good


def test_a_line_of_progress_says_the_same_in_text() -> None:
    """Without a terminal, one line carries the state."""
    line = progress_line(RUNNING)
    assert "60 comparisons (10.0/s)" in line
    assert "evidence against: baseline 67%, stepwise 0%, brief 100%" in line


def test_the_promise_names_the_margin() -> None:
    """With epsilon the sentence says how much worse is still fine."""
    claim = "no other policy is preferred to {policy} by more than 2 points in 100"
    assert promise(0.05, claim).endswith("no other policy is preferred to it by more than 2 points in 100.")
