"""One experiment of a backup, read like the store: what `llmpo verify` needs, without any server."""

from __future__ import annotations

from typing import Final

from policy_store import codec
from policy_store.backup_file import BackupFile
from policy_store.errors import UnknownExperimentError
from policy_store.experiment import Experiment
from policy_store.log_records import LogRecord
from policy_store.roles import Role
from policy_store.view import VIEW_FIELDS, WATCH_FIELDS, ExperimentView
from policy_store.watch_records import Watch

_START: Final = "-"


class BackedUpExperiment:
    """What a backup holds of one experiment. Its methods are those of the store.

    Args:
        file: The backup.
        name: The experiment.

    Raises:
        UnknownExperimentError: The backup does not hold it.
    """

    def __init__(self, file: BackupFile, name: str) -> None:
        self._control: dict[str, str] = {}
        self._logs: dict[str, list[dict[str, str]]] = {}
        for part in file.parts():
            if part.of == name and part.name == "control":
                self._control |= dict(zip(part.items[::2], part.items[1::2], strict=True))
            elif part.of == name and part.kind == "stream":
                self._logs.setdefault(part.name, []).extend(
                    fields for _, fields in codec.entries_from(part.items)
                )
        if "generation" not in self._control:
            raise UnknownExperimentError(f"The backup holds no experiment {name!r}.")

    async def view(self, name: str) -> ExperimentView:  # noqa: ARG002 - it is of one experiment
        """The current generation."""
        control = self._control
        generation = control["generation"]
        watch = control.get(f"{generation}:watch")
        watched = [] if watch is None else [watch, *self._fields(watch, WATCH_FIELDS)]
        return codec.view_from(
            [
                *("ok", generation, control["revision"]),
                *(self._fields(generation, VIEW_FIELDS), watched, control.get("guards")),
            ]
        )

    async def log(
        self,
        name: str,  # noqa: ARG002 - see above
        generation: int,
        *,
        after: str = _START,
        count: int = 10_000,
        informs: Role | None = None,
    ) -> tuple[list[LogRecord], str]:
        """A page of a generation's log, and the `after` of the next page."""
        start = 0 if after == _START else int(after)
        ledger = f"{generation}:" if informs is None else f"{generation}:{informs}:"
        page = self._logs.get(f"{ledger}log", [])[start : start + count]
        return [codec.log_record_from(fields) for fields in page], str(start + len(page))

    async def watch(self, name: str, run: int) -> Watch:
        """A watch, by the number of its run, without its plan."""
        champion, previous, terms, started_at, verdict, *plan = self._fields(str(run), WATCH_FIELDS)
        if champion is None:
            raise UnknownExperimentError(f"The backup holds no watch {run} of {name!r}.")
        return codec.watch_from(
            str(run), champion, str(previous), str(terms), str(started_at), verdict, *[None] * len(plan)
        )

    async def experiment(self, name: str, generation: int) -> Experiment:
        """The experiment as a generation has it."""
        written = self._control.get(f"{generation}:experiment")
        if written is None:
            raise UnknownExperimentError(f"The backup holds no generation {generation} of {name!r}.")
        return Experiment.from_json(written)

    def _fields(self, run: str, names: tuple[str, ...]) -> list[str | None]:
        return [self._control.get(f"{run}:{name}") for name in names]
