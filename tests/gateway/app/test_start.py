"""What a serving process loads."""

from __future__ import annotations

import subprocess
import sys


def test_server_process_loads_no_arithmetic_and_no_provider_library() -> None:
    """Plans are computed elsewhere; providers of other formats cost only those who use them."""
    program = "import gateway.cli.worker, sys; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "cvxpy", "litellm", "openai", "httpx"} & set(loaded)


def test_the_planners_process_loads_nothing_of_the_server() -> None:
    """It imports what computes plans, and the program of its parent, which may be a worker's."""
    program = "import gateway.cli.worker_program, gateway.learning.plan_translation, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "numpy" in loaded
    assert not {"aiohttp", "fastapi", "jinja2", "pydantic", "redis", "structlog", "uvicorn"} & set(loaded)
