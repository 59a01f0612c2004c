"""The tasks on which policies are compared: one JSON object per line.

A task needs `input`, the user's message, or `messages`, a conversation that ends with one. All other fields
are free: templates of policies see them as `metadata`, judges see everything. Templates do not see the
target, because a policy that is shown the right answer would win unfairly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from gateway.errors import RenderError
from gateway.experiments.policies import CompiledPolicy
from gateway.offline.errors import OfflineError, TasksError

MAX_TASKS: Final = 1_000_000
_ROLES: Final = {"system", "developer", "user", "assistant"}


@dataclass(frozen=True, slots=True)
class Task:
    """One task.

    Attributes:
        index: Its position in the list, from 0.
        fields: Everything its line holds.
        hidden: Names of fields that templates do not see.
    """

    index: int
    fields: Mapping[str, Any]
    hidden: frozenset[str] = frozenset()

    @property
    def messages(self) -> list[Any]:
        """The conversation to answer."""
        if "messages" in self.fields:
            return list(self.fields["messages"])
        return [{"role": "user", "content": self.fields["input"]}]

    def as_text(self) -> str:
        """The conversation as a judge reads it."""
        if "messages" not in self.fields:
            return str(self.fields["input"])
        return "\n".join(f"{message['role']}: {message.get('content')}" for message in self.messages)

    def request_of(self, policy: CompiledPolicy) -> dict[str, Any]:
        """The request of a policy for this task.

        Raises:
            OfflineError: If the policy's template fails on it.
        """
        try:
            payload = policy.render({"messages": self.messages, "metadata": self.metadata})
        except RenderError as error:
            raise OfflineError(
                f"{error} It happened on task {self.index + 1}. A template sees `messages`, `user_message` "
                "and, as `metadata`, the fields of the task except its target."
            ) from error
        payload.pop("metadata", None)  # for templates; providers refuse it
        return payload

    @property
    def metadata(self) -> dict[str, Any]:
        """The fields that templates see."""
        return {name: value for name, value in self.fields.items() if name not in self.hidden}

    def accepted(self, field: str) -> list[str]:
        """The right answers in `field`, a text, a number or a list of them."""
        value = self.fields[field]
        return [str(one) for one in (value if isinstance(value, list) else [value])]


def load_tasks(path: Path, target: str | None) -> tuple[Task, ...]:
    """The tasks in a file.

    Args:
        path: JSON lines; empty lines are skipped.
        target: A field that the judge needs in every task, or None.

    Raises:
        TasksError: Naming the wrong line.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise TasksError(
            f"The tasks in {path} cannot be read: {error.strerror}. Name a JSON-lines file."
        ) from error
    hidden = frozenset({"target"} if target is None else {"target", target})
    tasks = tuple(Task(index, fields, hidden) for index, fields in enumerate(_read(path, lines, target)))
    if not tasks:
        raise TasksError(f'{path} holds no tasks. Write one JSON object a line, such as {{"input": "2 3"}}.')
    if len(tasks) > MAX_TASKS:
        raise TasksError(f"{path} holds {len(tasks)} tasks; at most {MAX_TASKS} are taken. Draw a sample.")
    return tasks


def _read(path: Path, lines: list[bytes], target: str | None) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{path} line {number}"
        try:
            fields = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise TasksError(f"{place} is not JSON ({error}). Write one object a line.") from error
        if not isinstance(fields, dict):
            raise TasksError(f"{place} holds a {type(fields).__name__}; an object is needed.")
        _check(place, fields, target)
        yield fields


def _check(place: str, fields: dict[str, Any], target: str | None) -> None:
    if "messages" in fields:
        messages = fields["messages"]
        is_conversation = (
            isinstance(messages, list)
            and all(isinstance(message, dict) and message.get("role") in _ROLES for message in messages)
            and bool(messages)
            and messages[-1]["role"] == "user"
        )
        if not is_conversation:
            raise TasksError(
                f"{place}: `messages` is not a conversation that ends with the user's message. Write a list "
                'of {"role": ..., "content": ...}.'
            )
    elif not isinstance(fields.get("input"), str):
        known = ", ".join(sorted(fields)) or "none"
        raise TasksError(f"{place} has no text `input` (fields: {known}). Add it: the user's message.")
    if target is not None and not _is_target(fields.get(target)):
        raise TasksError(
            f"{place} has no `{target}`, which the judge compares with. Add a text, a number or a list of "
            "them, or name another field in the judge's `target`."
        )


def _is_target(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_is_target(one) and not isinstance(one, list) for one in value)
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def tasks_fingerprint(tasks: tuple[Task, ...]) -> str:
    """SHA-256 of the tasks in their order."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(
            orjson.dumps(dict(task.fields), option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
        )
    return digest.hexdigest()
