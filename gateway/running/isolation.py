"""Keeps what goes wrong with one experiment from those that are looked at after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from policy_store.errors import StoreUnavailableError


class Isolation:
    """Reports an experiment's fault once, until it has passed, and goes on with the others.

    Args:
        report: Logs the fault of the experiment of this name.
    """

    def __init__(self, report: Callable[[str, Exception], None]) -> None:
        self._report = report
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
                self._report(experiment, error)
            self._faulty.add(experiment)
        else:
            self._faulty.discard(experiment)
