"""Checks a promotion: recomputes its certificate and compares its champion with the truth."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Final

from gateway.demo import world
from gateway.demo.scene import SUPPORT, SimulatedExperiment
from gateway.demo.view import DemoEnding
from gateway.demo.watch import Reading

VERIFY_SECONDS: Final = 60.0


async def check_promotion(reading: Reading, gateway: str) -> DemoEnding:
    """Recompute the certificate, and compare the outcome with the simulation's truth."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "verify", reading.name, "--url", gateway, "--json"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(VERIFY_SECONDS):
            output, complaint = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    is_true, truth = judge(SUPPORT, reading.champion)
    return DemoEnding(
        verification=verified_sentence(output) if output else complaint.decode(errors="replace").strip(),
        is_verified=process.returncode == 0,
        truth=truth,
        is_true=is_true,
    )


def judge(experiment: SimulatedExperiment, champion: str | None) -> tuple[bool, str]:
    """Whether `champion` is the best by the simulation's own preferences, and a sentence that says so."""
    matrix = world.preference_matrix([(policy.model, policy.system) for policy in experiment.policies])
    names = [policy.name for policy in experiment.policies]
    best = world.true_best(matrix)
    if best is None or champion != names[best]:
        return (
            False,
            f"The simulation knows better: {names[best] if best is not None else 'none'} is the best.",
        )
    closest = min(
        (share, rival) for rival, share in zip(names, matrix[best], strict=True) if rival != champion
    )
    return True, (
        f"The simulation agrees: {champion} truly is the best; users prefer it to the runner-up, "
        f"{closest[1]}, {closest[0]:.0%} of the time."
    )


def verified_sentence(output: bytes) -> str:
    """The result of `llmpo verify --json` as a sentence."""
    found = json.loads(output)
    if not found["confirmed"]:
        return f"not confirmed: {found['differences'][0]}"
    return (
        f"confirmed from the log of {found['comparisons']} comparisons: evidence "
        f"{found['statistic_nats']:.3f} nats, line {found['threshold_nats']:.3f}."
    )
