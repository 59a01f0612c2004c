"""Checks that the number of a last look was fixed before anything was counted, and revealed at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from gateway.proof.ancestry import LoggedGeneration
from policy_store.events import LoggedEvent, LookCommitted, LookRevealed
from policy_store.last_looks import commitment_to, uniform_number
from policy_store.log_records import Comparison

Told = TypeVar("Told", LookCommitted, LookRevealed)


def misstated_look(generation: LoggedGeneration, certificate: Mapping[str, Any]) -> Iterator[str]:
    """Differences between what the certificate says of a last look and what the log says; none without one.

    Raises:
        KeyError, TypeError, ValueError: If the certificate or the secret cannot be read.
    """
    said = certificate.get("last_look")
    if said is None:
        return
    if not generation.experiment.last_look:
        yield "last_look: the certificate has one, the experiment has none"
    commitments, reveals = _told(generation, LookCommitted), _told(generation, LookRevealed)
    if len(commitments) != 1 or len(reveals) != 1:
        found = f"{len(commitments)} times committed to, {len(reveals)} times revealed"
        yield f"last_look: its number is fixed once and revealed once; in the log it is {found}"
        return
    yield from _misplaced(generation, certificate, commitments[0][0], *reveals[0])
    commitment, secret = commitments[0][1].commitment, reveals[0][1].secret
    if commitment_to(secret) != commitment:
        yield f"last_look: the secret revealed does not belong to the commitment {commitment}"
    uniform = uniform_number(secret, generation.experiment.fingerprint())
    if said["uniform"] != uniform:
        yield f"last_look: the certificate says {said['uniform']}, the secret revealed gives {uniform}"


def _misplaced(
    generation: LoggedGeneration,
    certificate: Mapping[str, Any],
    committed_after: int,
    revealed_after: int,
    revealed: LookRevealed,
) -> Iterator[str]:
    inherited = generation.inherited
    before = 0 if inherited is None else inherited.comparisons
    if committed_after:
        yield f"last_look: {committed_after} comparisons were counted before its number was fixed"
    found = {before + revealed_after, revealed.comparisons, certificate["comparisons"]}
    if len(found) > 1:
        yield (
            f"last_look: the certificate is of {certificate['comparisons']} comparisons, the log reveals the "
            f"number after {before + revealed_after} and says {revealed.comparisons}"
        )
    budget = generation.experiment.max_comparisons
    if budget is None or revealed.comparisons < budget:
        yield f"last_look: the number was revealed after {revealed.comparisons} of {budget} comparisons"


def _told(generation: LoggedGeneration, kind: type[Told]) -> list[tuple[int, Told]]:
    """Each event of a kind, with the number of comparisons that the log has before it."""
    found, counted = [], 0
    for record in generation.records:
        if isinstance(record, Comparison):
            counted += 1
        elif isinstance(record, LoggedEvent) and isinstance(told := record.told, kind):
            found.append((counted, told))
    return found
