"""Keeps what goes wrong with one experiment from those that are looked at after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from policy_store.errors import StoreUnavailableError


class Isolation:
    """Logs an experiment's fault once, until it has passed, and goes on with the others.

    Args:
        log: Where.
        event: The name of the line.
    """

    def __init__(self, log: Any, event: str) -> None:
        self._log = log
        self._event = event
        self._faulty: set[str] = set()

    @contextmanager
    def of(self, experiment: str) -> Iterator[None]:
        """What is done for one experiment; a fault ends it here.

        Raises:
            StoreUnavailableError: The store is away, which is not this experiment's fault.
        """
        try:
            yield
        except StoreUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, others must not wait for it
            if experiment not in self._faulty:
                self._log.error(self._event, experiment=experiment, exc_info=error)
            self._faulty.add(experiment)
        else:
            self._faulty.discard(experiment)
