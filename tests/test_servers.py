"""Ports of the tests' servers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.servers import PORTS, free_port

ASK = "from tests.servers import free_port; print(*(free_port() for _ in range(300))); input()"


def test_a_port_is_given_once_whichever_process_asks() -> None:
    """Processes that ask at the same time, and keep what they got, get different ports."""
    ask = [sys.executable, "-c", ASK]
    root = Path(__file__).parents[1]
    others = [
        subprocess.Popen(ask, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    given = [free_port() for _ in range(300)]
    for other in others:
        given += [int(word) for word in other.stdout.readline().split()]
    for other in others:
        other.communicate("\n")

    assert len(set(given)) == len(given) == 1200
    assert set(given) <= set(PORTS)
