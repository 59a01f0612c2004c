"""Turns validation errors into sentences an operator can act on.

Every issue names the place in the file, the value found there (never a secret) and what would be right.
The bounds and the known keys come from the models' JSON Schema, so messages and schema cannot disagree.
"""

from __future__ import annotations

import re
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.config.references import Fault, Path, suggest
from gateway.config.source import Source
from gateway.config.values import ENVIRONMENT_PREFIX
from gateway.errors import ConfigIssue

_LONGEST_ECHO: Final = 60
_EXPECTED: Final = {
    "string_type": "text; put it in quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "dict_type": "a mapping of `key: value` lines",
    "model_type": "a mapping of `key: value` lines",
    "model_attributes_type": "a mapping of `key: value` lines",
    "list_type": "a list",
}
WHOLE_FILE: Final = "(the whole file)"
# No secret can stand under these top-level keys.
_WITHOUT_SECRETS: Final = {"experiments", "policies", "judge", "tasks", "incumbent"}
_BOUNDED: Final = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def path_text(path: Path) -> str:
    """A path as operators write it: `experiments.support.policies.warm.model`, `model_list[0].model_name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text or WHOLE_FILE


def issue_from_fault(found: Fault, source: Source) -> ConfigIssue:
    """The issue for a broken rule."""
    return ConfigIssue(path_text(found.path), found.problem, found.remedy, source.line(found.path))


def issues_from_validation(
    error: ValidationError, source: Source, schema: dict[str, Any]
) -> list[ConfigIssue]:
    """One issue per validation error, in the order of the file."""
    explained = FileFaults(source, schema)
    faults = [explained.fault(details) for details in error.errors()]
    return [issue_from_fault(found, source) for found in faults]


class FileFaults:
    """Turns the validation errors of one file into faults.

    Args:
        source: The file.
        schema: JSON Schema of the model that the file was validated against.
    """

    def __init__(self, source: Source, schema: dict[str, Any]) -> None:
        self._source = source
        self._schema = schema

    def fault(self, details: ErrorDetails) -> Fault:
        """The fault that one validation error is about."""
        path = tuple(part for part in details["loc"] if part != "[key]")
        context = details.get("ctx", {})
        match details["type"]:
            case "config":
                return Fault(path, context["problem"], context["remedy"])
            case "missing":
                description = node_at(self._schema, path).get("description")
                return Fault(
                    path, "This key is missing.", f"Add it: {description}" if description else "Add it."
                )
            case "extra_forbidden":
                return Fault(path, "There is no such key here.", self.remedy_for_unknown_key(path))
            case _:
                return Fault(path, *self.problem_of_value(details, path))

    def problem_of_value(self, details: ErrorDetails, path: Path) -> tuple[str, str]:
        """Problem and remedy for a value of the wrong kind or outside its bounds."""
        kind, context, found = details["type"], details.get("ctx", {}), self.echo(path)
        if kind in _EXPECTED:
            return f"{found} is of the wrong kind.", f"This must be {_EXPECTED[kind]}."
        if kind in _BOUNDED:
            return f"{found} is out of range.", f"Use {_range_text(node_at(self._schema, path))}."
        if kind == "literal_error":
            return f"{found} is not known here.", f"Use {context['expected']}."
        if kind == "string_too_short":
            return f"{found} is empty.", "Write some text, or leave the key out."
        if kind in {"too_short", "too_long"}:
            least, most = context.get("min_length"), context.get("max_length")
            bound = f"at least {least}" if least else f"at most {most}"
            return f"{found} of {context['actual_length']} entries is not allowed.", f"Give {bound}."
        return f"{found} is not allowed.", f"{details['msg']}."

    def remedy_for_unknown_key(self, path: Path) -> str:
        """Where the key belongs, or the keys to choose from."""
        key = str(path[-1])
        sampling = self._schema["$defs"].get("PolicyParams", {}).get("properties", {})
        if key in sampling and (path[0] == "model_list" or "policies" in path):
            return f"Sampling fields belong to a policy's `params`: `params: {{{key}: ...}}`."
        return suggest(key, node_at(self._schema, path[:-1]).get("properties", {}), "Known keys")

    def echo(self, path: Path) -> str:
        """The value at `path` in the file, shortened; only its kind if it could be a secret."""
        value = self._source.data
        for part in path:
            try:
                value = value[part]
            except TypeError:
                break  # a plain number that stands for `{weight: number}`
            except (KeyError, IndexError):
                return "This value"
        if isinstance(value, dict):
            return "A mapping"
        if isinstance(value, list):
            return "A list"
        if value is None:
            return "An empty value"
        # Operators put keys into wrong places, so any text near where keys belong may be one.
        is_public = (path[0] in _WITHOUT_SECRETS and "confirm" not in path) or (
            path[0] == "model_list" and path[-1] in {"model_name", "model"}
        )
        if isinstance(value, str) and not is_public and not value.startswith(ENVIRONMENT_PREFIX):
            return "This value"
        text = repr(value)
        return text if len(text) <= _LONGEST_ECHO else f"{text[:_LONGEST_ECHO]}..."


def node_at(schema: dict[str, Any], path: Path) -> dict[str, Any]:
    """The part of a JSON Schema that describes `path`; empty where it describes nothing."""
    node = _resolved(schema, schema)
    for part in path:
        if isinstance(part, int):
            child = node.get("items", {})
        elif part in node.get("properties", {}):
            child = node["properties"][part]
        else:
            child = next(iter(node.get("patternProperties", {}).values()), node.get("additionalProperties"))
        node = _resolved(child if isinstance(child, dict) else {}, schema)
    return node


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """`node` with its reference followed and its most specific alternative taken."""
    if "$ref" in node:
        target = schema["$defs"][node["$ref"].rpartition("/")[2]]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    if "anyOf" in node:
        options: list[dict[str, Any]] = [_resolved(option, schema) for option in node["anyOf"]]
        options.sort(key=lambda option: ("properties" in option, len(option)))
        node = {**options[-1], **{key: value for key, value in node.items() if key != "anyOf"}}
    return node


def _range_text(node: dict[str, Any]) -> str:
    words = {
        "exclusiveMinimum": "greater than",
        "minimum": "at least",
        "exclusiveMaximum": "less than",
        "maximum": "at most",
    }
    bounds = [f"{text} {node[key]}" for key, text in words.items() if key in node]
    kind = "whole number" if node.get("type") == "integer" else "number"
    return f"a {kind} {' and '.join(bounds)}"
