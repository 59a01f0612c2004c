"""A YAML file as plain data that remembers on which line each key stands.

Unlike `yaml.safe_load` it refuses a key written twice (YAML keeps the last one silently), reads every key as
text (so a policy may be called `no` or `1`), and reads `1e-3` as a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from gateway.config.references import Fault, Path

MAX_ENTRIES: Final = 100_000
MAX_DEPTH: Final = 100


@dataclass(slots=True)
class Source:
    """What a file holds.

    Attributes:
        data: The content, as mappings, lists and scalars.
        lines: The line on which each path begins, counted from 1.
        faults: Faults found while reading, such as duplicate keys.
    """

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line(self, path: Path) -> int | None:
        """Line of `path`, or of the nearest part of the file that holds it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, with YAML 1.2's numbers such as 1e-3."""


class _FastLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] # of libyaml, if there
    """The same, much faster; it says less about what is wrong with a file."""


for _each in (_Loader, _FastLoader):
    _each.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def read_source(text: str) -> Source:
    """Parse YAML text.

    Raises:
        yaml.YAMLError: The text is not YAML; the error knows the line.
    """
    try:
        return _read(text, _FastLoader)
    except yaml.YAMLError:
        return _read(text, _Loader)


def _read(text: str, kind: type[_Loader | _FastLoader]) -> Source:
    _check_depth(text, kind)
    loader = kind(text)
    try:
        node = loader.get_single_node()
        source = Source()
        if node is not None:
            source.data = _Reader(loader, source).read(node, (), ())
    except RecursionError as error:
        raise yaml.YAMLError("nested too deeply") from error
    else:
        return source
    finally:
        loader.dispose()


def _check_depth(text: str, kind: type[_Loader | _FastLoader]) -> None:
    """Refuse text whose parts stand inside each other too deeply.

    libyaml composes nodes by recursion on the C stack, which ends the whole process where it overflows: a
    damaged file must not take a running gateway with it.
    """
    loader, depth = kind(text), 0
    try:
        while loader.check_event():
            event = loader.get_event()
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                problem = f"more than {MAX_DEPTH} lists and mappings stand inside each other"
                raise yaml.constructor.ConstructorError(None, None, problem, event.start_mark)
    finally:
        loader.dispose()


def compose(text: str) -> yaml.Node | None:
    """The nodes of YAML text, which know where they stand.

    Raises:
        yaml.YAMLError: The text is not YAML.
    """
    return yaml.compose(text, _Loader)


class _Reader:
    """Turns composed YAML nodes into plain data."""

    def __init__(self, loader: _Loader | _FastLoader, source: Source) -> None:
        self._loader = loader
        self._source = source
        self._count = 0

    def read(self, node: yaml.Node, path: Path, enclosing: tuple[yaml.Node, ...]) -> Any:
        """The plain data of `node`, which stands inside the `enclosing` ones."""
        self._source.lines.setdefault(path, node.start_mark.line + 1)
        self._count += 1
        if self._count > MAX_ENTRIES:  # aliases of aliases could grow without end
            raise _refusal(f"more than {MAX_ENTRIES} entries", node)
        if any(node is outer for outer in enclosing):
            raise _refusal("an alias may not stand inside its own anchor", node)
        inside = (*enclosing, node)
        if isinstance(node, yaml.MappingNode):
            return {key: self.read(value, (*path, key), inside) for key, value in self._items(node, path)}
        if isinstance(node, yaml.SequenceNode):
            return [self.read(value, (*path, index), inside) for index, value in enumerate(node.value)]
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # a value that looks like a date or a number but is not one
            raise _refusal("a value that cannot be read; put it in quotes", node) from error

    def _items(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        first_lines: dict[str, int] = {}
        for key, _ in node.value:
            text, line = _key_text(key), key.start_mark.line + 1
            if text in first_lines and key.tag != "tag:yaml.org,2002:merge":
                problem = f"{text!r} is written twice, on lines {first_lines[text]} and {line}."
                self._source.faults.append(Fault((*path, text), problem, "Keep one of them."))
            first_lines.setdefault(text, line)
        self._loader.flatten_mapping(node)
        for key, value in node.value:
            text = _key_text(key)
            # A key merged in from an anchor has the anchor's line, because it is corrected there.
            self._source.lines[(*path, text)] = key.start_mark.line + 1
            yield text, value


def _key_text(key: yaml.Node) -> str:
    if not isinstance(key, yaml.ScalarNode):
        raise _refusal("a key must be plain text", key)
    return str(key.value)


def _refusal(problem: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
