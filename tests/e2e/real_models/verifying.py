"""`llmpo verify` on an experiment's exported log: a file and the installed command, no gateway, no store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import openai


async def fetch_log(client: openai.AsyncOpenAI, experiment: str) -> str:
    """What was counted and planned, as the gateway gives it out: one JSON object a line."""
    return await client.get(f"/experiments/{experiment}/log", cast_to=str)


def verify(experiment: str, log: Path) -> subprocess.CompletedProcess[str]:
    """Run `llmpo verify EXPERIMENT --log FILE`: status 0 confirmed, 1 something differs."""
    command = [sys.executable, "-m", "gateway.cli", "verify", experiment, "--log", str(log)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
