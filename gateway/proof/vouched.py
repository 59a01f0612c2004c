"""Recomputes what a certificate says of the votes that it rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.experiments.integrity import IntegrityCount, reported_from
from gateway.proof.ancestry import LoggedGeneration


def misvouched(
    logged: LoggedGeneration, certificate: Mapping[str, Any], told: Mapping[str, Any]
) -> list[str]:
    """Differences between a certificate's statement and the log.

    The log has no reports that were never compared, so the numbers of reported units are taken as they are
    said. What follows from them is recomputed.

    Raises:
        KeyError, TypeError, ValueError, LlmPoError: If the statement has another form.
    """
    count, reported = IntegrityCount(certificate, logged.experiment), reported_from(told)
    count.take(logged.counted())
    return [
        f"integrity.{name}: the certificate says {told.get(name)}, the log gives {value}"
        for name, value in count.stated(reported).items()
        if not _is_same(told.get(name), value)
    ]


def _is_same(said: object, found: object) -> bool:
    """Whether two values are equal; computed nats up to their last digits, which differ between machines."""
    if isinstance(said, dict) and isinstance(found, dict):
        return said.keys() == found.keys() and all(_is_same(said[name], found[name]) for name in found)
    if isinstance(said, float) and isinstance(found, float):
        return math.isclose(said, found, rel_tol=1e-7, abs_tol=2e-6)
    return said == found
