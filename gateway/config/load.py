"""Reads a configuration file. It reports every fault at once, or gives a configuration that is valid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from gateway.config import references
from gateway.config.environment_references import foreign_references, misplaced_references
from gateway.config.faults import WHOLE_FILE, issue_from_fault, issues_from_validation
from gateway.config.gateway_file import GatewayConfig
from gateway.config.read_files import ReadFiles
from gateway.config.section import Section
from gateway.config.source import Source, read_source
from gateway.config.unset import without_unset
from gateway.config.values import Outside
from gateway.errors import ConfigError, ConfigIssue

SectionT = TypeVar("SectionT", bound=Section)


def load_config(
    path: Path,
    environ: Mapping[str, str],
    more_rules: Callable[[Any], Iterable[references.Fault]] = lambda _data: (),
    *,
    may_be_unset: bool = False,
    files: ReadFiles | None = None,
) -> GatewayConfig:
    """The configuration in a YAML file.

    Args:
        path: The file; prompt templates are found relative to it.
        environ: Where `os.environ/NAME` is looked up; a gateway gives an `Environment`.
        more_rules: Further rules for the file's plain data.
        may_be_unset: Read the file outside the environment it will be served in. Every key, address or
            other value that refers to a variable that is not set is left out, except names of models.
        files: Gets the templates that were looked for.

    Raises:
        ConfigError: With one issue for every fault of the file.
    """

    def rules(data: Any) -> Iterator[references.Fault]:
        yield from references.reference_faults(data)
        yield from more_rules(data)

    source = _read(path)
    if may_be_unset:
        source.data = without_unset(source.data, environ)
    outside = Outside(environ, path.parent, ReadFiles() if files is None else files)
    return _checked(source, outside, GatewayConfig, rules)


def load_model(
    path: Path,
    environ: Mapping[str, str],
    model: type[SectionT],
    rules: Callable[[Any], Iterable[references.Fault]],
) -> SectionT:
    """The `model` in a YAML file; `rules` check its plain data for parts that contradict each other.

    Raises:
        ConfigError: With one issue for every fault of the file.
    """
    return _checked(_read(path), Outside(environ, path.parent), model, rules)


def _checked(
    source: Source,
    outside: Outside,
    model: type[SectionT],
    rules: Callable[[Any], Iterable[references.Fault]],
) -> SectionT:
    foreign = [issue_from_fault(found, source) for found in foreign_references(source.data)]
    faults = [*source.faults, *rules(source.data), *misplaced_references(source.data)]
    issues = [*foreign, *(issue_from_fault(found, source) for found in faults)]
    try:
        config = model.model_validate(source.data, context=outside)
    except ValidationError as error:
        explained = {issue.path for issue in foreign}
        if issues:  # the model states the rules between parts again
            explained.add(WHOLE_FILE)
        found = issues_from_validation(error, source, closed_schema(model))
        issues += [issue for issue in found if issue.path not in explained]
    if issues:
        raise ConfigError(sorted(issues, key=lambda issue: issue.line or 0))
    return config


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the configuration file, for editors and other checkers."""
    schema = closed_schema(GatewayConfig)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "llmpo-gateway configuration",
        **{key: value for key, value in schema.items() if key != "title"},
    }


@cache
def closed_schema(model: type[Section]) -> dict[str, Any]:
    """JSON Schema of a model, as strict about names as the model is; shared, so it is not to be changed.

    A running gateway reads it with every file that it refuses, and making it takes a twentieth of a second.
    """
    schema = model.model_json_schema()
    _close_named_mappings(schema)
    return schema


def _read(path: Path) -> Source:
    try:
        source = read_source(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _whole_file(
            path, f"It cannot be read: {error.strerror or error}.", "Name a YAML file."
        ) from error
    except UnicodeDecodeError as error:
        raise _whole_file(path, "It is not UTF-8 text.", "Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise _whole_file(
            path,
            f"It is not YAML: {what}.",
            "Correct the syntax at or just above that line.",
            None if mark is None else mark.line + 1,
        ) from error
    if source.data is None:
        raise _whole_file(path, "It is empty.", "A configuration needs at least `model_list`.")
    if not isinstance(source.data, dict):
        raise _whole_file(path, "It does not hold `key: value` lines.", "Start with `model_list:`.")
    return source


def _whole_file(path: Path, problem: str, remedy: str, line: int | None = None) -> ConfigError:
    return ConfigError([ConfigIssue(str(path), problem, remedy, line)])


def _close_named_mappings(node: Any) -> None:
    """Make the schema refuse invalid names of experiments, policies and signals, as the models do."""
    if isinstance(node, dict):
        if "patternProperties" in node:
            node["additionalProperties"] = False
        for child in node.values():
            _close_named_mappings(child)
    elif isinstance(node, list):
        for child in node:
            _close_named_mappings(child)
