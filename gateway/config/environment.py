"""Environment variables, and files that hold their values: secrets that change while the gateway runs.

The environment of a process is fixed when it starts. A file is not: if `NAME_FILE` is set instead of `NAME`,
the value is the present content of that file. Docker and Kubernetes mount secrets as such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from typing_extensions import override

from gateway.config.read_files import ReadFiles

FILE_SUFFIX: Final = "_FILE"


class Environment(Mapping[str, str]):
    """Variables, with the contents of the files that stand for some of them.

    A file that cannot be read gives no value, as if the variable were not set.

    Args:
        variables: The environment of the process.

    Attributes:
        files: The files that were asked for, whether they could be read or not.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.files = ReadFiles()

    @override
    def __getitem__(self, name: str) -> str:
        path = self.file_of(name)
        if path is None:
            return self._variables[name]
        self.files.add(path)
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise KeyError(name) from error

    def file_of(self, name: str) -> Path | None:
        """The file that stands for a variable."""
        named = self._variables.get(name + FILE_SUFFIX)
        return Path(named) if named and not self._variables.get(name) else None

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    @override
    def __len__(self) -> int:
        return len(self._variables)
