"""Changes one value in the text of a configuration file and leaves every other character unchanged.

PyYAML says where the value stands, so comments, order, quotes and line ends are kept. The result is parsed
again; if anything else changed, the file cannot be edited in this way.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import yaml

from gateway.config.source import compose, read_source
from gateway.errors import ConfigError, ConfigIssue

_QUOTES: Final = ("'", '"')


def with_incumbent(text: str, experiment: str, policy: str) -> str:
    """The text of a configuration file in which another policy is an experiment's incumbent.

    Raises:
        ConfigError: If the value stands in another place (an alias, for example) or in an unknown form.
    """
    before = read_source(text).data
    place = _place(compose(text), ("experiments", experiment, "incumbent"))
    if place is None:
        raise _unwritable(experiment)
    start, end = place.start_mark, place.end_mark
    # A policy's name needs no escaping; it is quoted like the name that it replaces.
    quote = "" if read_source(policy).data == policy else '"'
    quote = place.style if place.style in _QUOTES else quote
    changed = f"{text[: start.index]}{quote}{policy}{quote}{text[end.index :]}"
    before["experiments"][experiment]["incumbent"] = policy
    with suppress(yaml.YAMLError):
        if read_source(changed).data == before:
            return changed
    raise _unwritable(experiment, start.line + 1)


def _place(node: yaml.Node | None, path: tuple[str, ...]) -> yaml.ScalarNode | None:
    """The place of a value that is written directly after its key."""
    for name in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        found = next(((key, value) for key, value in pairs if key.value == name), None)
        if found is None or found[1].start_mark.index < found[0].end_mark.index:
            return None
        node = found[1]
    return node if isinstance(node, yaml.ScalarNode) else None


def _unwritable(experiment: str, line: int | None = None) -> ConfigError:
    remedy = "Write the policy's name behind `incumbent:`, without anchor or alias."
    problem = "This cannot be changed without changing something else."
    return ConfigError([ConfigIssue(f"experiments.{experiment}.incumbent", problem, remedy, line)])
