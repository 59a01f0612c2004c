"""Notes what users say of answers beside what is found of them, only to show whether both agree."""

from __future__ import annotations

from contextlib import suppress

from gateway.experiments.found_signals import FoundRules
from gateway.experiments.response_ids import Assignment
from gateway.experiments.snapshot import LiveExperiment
from gateway.learning.given_feedback import Feedback, answer_digest
from policy_store.errors import StoreError
from policy_store.found_signals import FoundSignalStore


async def rate(
    store: FoundSignalStore,
    found: FoundRules,
    feedback: Feedback,
    assignment: Assignment,
    experiment: LiveExperiment,
) -> None:
    """Note a rating until it is known what is found of the answer; without the store it is not noted.

    Args:
        store: Keeps ratings.
        found: Which signals are ratings.
        feedback: What was reported.
        assignment: What the answer was given for.
        experiment: Its experiment.
    """
    if feedback.signal not in found.ratings:
        return
    value = feedback.rating(experiment.signals, experiment.scales)
    due_at = experiment.counts_at(assignment.assigned_at, assignment.expires_at)
    if value and due_at is not None:
        name, digest = experiment.name, answer_digest(feedback.response_id)
        with suppress(StoreError):
            await store.rate_answer(name, assignment.generation, digest, due_at, is_good=value > 0)
