"""An exported log together with an archive of what its store has removed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.proof.archive import ArchiveError, archive_path, read_archive
from gateway.proof.recorded import UnreadableLogError

_OF_GENERATIONS: Final = ("experiment", "ancestor")


def with_archive(lines: Iterable[bytes], folder: Path) -> Iterator[bytes]:
    """The lines of an exported log, with what the archive has before each part of it.

    An archived comparison or plan may be missing in the store, an event may not: so what the log still has of
    the archive follows it entry by entry, and what is left over is newer.

    Raises:
        ArchiveError: Naming the first entry that differs, or the gap between archive and log; or the folder
            holds nothing of the experiment.
        UnreadableLogError: The lines are not those of an exported log.
    """
    name, generation, log, tail = "", "", "", []
    for fields in _parsed(lines):
        head = _log_of(fields, generation)
        if head is None:
            tail.append(fields)
            continue
        yield from _joined(folder, name, log, tail)
        name, log, tail = fields.get("name", name), head, []
        if not archive_path(folder, name, log).parent.is_dir():
            raise ArchiveError(
                f"There is no archive of {name!r} in {folder}. Name a folder of `llmpo archive`."
            )
        generation = generation or head
        yield _line(fields)
    yield from _joined(folder, name, log, tail)


def _parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                fields = orjson.loads(line)
                fields["type"]
            except (KeyError, TypeError, ValueError) as error:
                raise UnreadableLogError(f"Line {number} does not belong to an experiment's log.") from error
            yield fields


def _log_of(fields: dict[str, Any], generation: str) -> str | None:
    """The name of the log that begins with this line, in the log of a generation; None for a record."""
    kind = fields["type"]
    if kind in _OF_GENERATIONS:
        return str(fields["generation"])
    if kind == "watch":
        return str(fields["run"])
    return f"{fields.get('generation', generation)}:{fields['role']}" if kind == "informing" else None


def _joined(folder: Path, name: str, log: str, tail: list[dict[str, Any]]) -> Iterator[bytes]:
    """The records of one log, those of the archive first."""
    position, last = 0, None
    for archived in read_archive(folder, name, log) if log else ():
        if position < len(tail) and tail[position] == archived.record:
            position += 1
        elif position < len(tail) and archived.is_in_place_of(tail[position]):
            raise ArchiveError(
                f"{name}, log {log}: entry {archived.entry} of the archive differs from the log."
            )
        last = archived.record if archived.record["type"] == "comparison" else last
        yield _line(archived.record)
    for fields in tail[position:]:
        if fields["type"] == "comparison":
            if last is not None and fields["number"] != last["number"] + 1:
                raise ArchiveError(
                    f"{name}, log {log}: comparison {last['number'] + 1} is missing: the archive ends before "
                    f"it, and the log goes on with {fields['number']}."
                )
            last = fields
        yield _line(fields)


def _line(fields: dict[str, Any]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
