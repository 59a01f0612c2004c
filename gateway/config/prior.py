"""The part of a configuration file about what was compared elsewhere, to forecast with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, ValidationInfo, WithJsonSchema, model_validator

from gateway.config.section import Section
from gateway.config.values import fault, outside_of

_LOG: Final = "log.jsonl"
_LONGEST_HEADER: Final = 16 * 1024 * 1024
_MOST_WINS: Final = 2**53  # larger counts are no exact numbers any more


@dataclass(frozen=True, slots=True)
class OfflineRun:
    """What an offline run counted.

    Attributes:
        path: Its directory as written in the file.
        fingerprints: The content hash of each of its policies.
        wins: How often each was preferred to each other, K x K.
    """

    path: str
    fingerprints: tuple[str, ...]
    wins: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, as_written: str, directory: Path) -> OfflineRun:
        """The run in a directory.

        Raises:
            PydanticCustomError: If it holds no finished run.
        """
        try:
            with (directory / as_written / _LOG).open("rb") as log:
                header = json.loads(log.readline(_LONGEST_HEADER))
            run = cls(
                as_written,
                tuple(str(each) for each in header["experiment"]["policy_fingerprints"]),
                tuple(tuple(int(wins) for wins in row) for row in header["certificate"]["wins"]),
            )
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise fault(
                f"{as_written!r} holds no finished run of `llmpo optimize`.",
                f"Name the directory that the run wrote its {_LOG} to, relative to the configuration file.",
            ) from error
        counts = [wins for row in run.wins for wins in row]
        are_counts = bool(counts) and all(0 <= wins <= _MOST_WINS for wins in counts)
        if {len(run.fingerprints)} != {len(run.wins), *map(len, run.wins)} or not are_counts:
            raise fault(f"The counts of the run in {as_written!r} are damaged.", "Repeat the run.")
        return run


def _read_run(value: Any, info: ValidationInfo) -> OfflineRun:
    if isinstance(value, OfflineRun):
        return value
    if not isinstance(value, str) or not value or "\0" in value:
        raise fault("This is not a path.", "Name the directory of a run, relative to the configuration file.")
    outside = outside_of(info)
    outside.files.add(outside.directory / value / _LOG)
    return OfflineRun.read(value, outside.directory)


RunDirectory = Annotated[
    OfflineRun, BeforeValidator(_read_run), WithJsonSchema({"type": "string", "format": "path"})
]


class PriorSpec(Section):
    """What was compared elsewhere. It informs forecasts and is never evidence."""

    run: RunDirectory | None = Field(
        default=None,
        description="Directory of a run of `llmpo optimize`. Its counts inform about the policies that are "
        "the same by content, whatever their names.",
    )
    earlier: bool = Field(
        default=False,
        description="Whether what the generation before counted as evidence, and is none any more, informs: "
        "about policies that were changed, and about all after a decision, by their names.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.run is None and not self.earlier:
            raise fault("`prior` names nothing.", "Give a `run`, or `earlier: true`, or leave it out.")
        return self
