"""Policies ready to answer: each turns the caller's request body into the body that its model receives.

This module stands between routing, which picks the policy, and upstream, which sends the body. It is pure
and does no I/O: everything a policy needs was read when the configuration was loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from traceback import extract_tb
from typing import Any, Final

import jinja2

from gateway.config.experiments import ExperimentSpec, PolicySpec
from gateway.config.gateway_file import GatewayConfig, ModelEntry
from gateway.config.templates import compile_template
from gateway.errors import RenderError
from gateway.experiments.formats import FORMATS, Body, Form
from gateway.experiments.policy_content import PolicyContent, content_fingerprint, policy_content
from gateway.upstream.base import PolicyPart

MAX_SYSTEM_CHARACTERS: Final = 1_000_000
# not a set, because a caller may send a type that cannot be hashed
_TEXT_PARTS: Final = ("text", "input_text")


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """One way to answer, ready to be applied to requests.

    Attributes:
        name: Its name within the experiment.
        model: The `model_name` that answers.
        fingerprint: Hash of everything that decides its answers; equal for equal content.
        cost: Declared cost of a request.
        system: Text of its system message, or None.
        template: The template that makes the text from a request, or None.
        forms: The sampling fields that it fixes, by kind of request; kinds that cannot express them are
            missing.
        content: The content that the fingerprint is computed from.
        merges_system: Whether its prompt is merged with the caller's into one message.
    """

    name: str
    model: str
    fingerprint: str
    cost: float
    system: str | None
    template: jinja2.Template | None
    forms: Mapping[str, Form]
    content: PolicyContent
    merges_system: bool = False
    # For prompts that do not depend on the request: by kind of request, and by whether the caller has a
    # prompt too.
    _parts: dict[tuple[str, bool], PolicyPart] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def render(self, body: Body, kind: str = "chat") -> Body:
        """The body that this policy sends for a caller's `body`."""
        return self.put_to(body, kind)[0]

    def put_to(
        self, body: Body, kind: str = "chat", *, merges_system: bool = False
    ) -> tuple[Body, PolicyPart]:
        """The body that this policy sends for a caller's `body` (not changed), and the policy's part in it.

        The policy's parameters replace the caller's. Its system prompt comes first, followed by all of the
        caller's messages, including system messages. The sender of the body fills in `model`.

        Args:
            body: A parsed and checked request.
            kind: The kind of request, a surface's name; one of `forms`.
            merges_system: Whether the prompt is merged with the caller's into one message; this may be asked
                for another model than the policy's own.

        Raises:
            RenderError: If the policy's template fails on this request.
        """
        form = FORMATS[kind]
        rendered = self.forms[kind].put_into(body)
        system, is_beside = self.system, False
        if self.template is not None:
            system = self._system_from(self.template, form.conversation(body), body.get("metadata") or {})
        if system is not None:
            is_beside = form.add_system(rendered, system, merges_system or self.merges_system)
        form.drop_private(rendered)
        part = self._parts.get((kind, is_beside))
        if part is None or self.template is not None:
            prompts = () if system is None else (system,)
            part = self._parts[kind, is_beside] = PolicyPart(prompts, self.forms[kind].fixed, is_beside)
        return rendered, part

    def _system_from(
        self, template: jinja2.Template, messages: list[Any], metadata: Mapping[str, Any]
    ) -> str:
        try:
            return joined_text(
                template.generate(
                    messages=messages,
                    metadata=metadata,
                    user_message=last_user_text(messages),
                )
            )
        except Exception as error:
            # The error's own text may quote the caller's messages; its kind and place cannot.
            frames = extract_tb(error.__traceback__)
            lines = [frame.lineno for frame in frames if frame.filename == "<template>"]
            place = f" on line {lines[-1]}" if lines else ""
            kind = type(error).__name__
            raise RenderError(f"The template of policy {self.name} failed{place}: {kind}.") from error


class OverlongPromptError(ValueError):
    """A template gave more text than any model reads."""


def joined_text(chunks: Iterable[str]) -> str:
    """What a template gave. Raises OverlongPromptError beyond `MAX_SYSTEM_CHARACTERS`."""
    parts: list[str] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_SYSTEM_CHARACTERS:
            raise OverlongPromptError(f"more than {MAX_SYSTEM_CHARACTERS} characters")
        parts.append(chunk)
    return "".join(parts)


def last_user_text(messages: list[Any]) -> str:
    """Text of the last user message, with text parts joined by newlines; empty if there is none."""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
            texts = (part.get("text") for part in parts if part.get("type") in _TEXT_PARTS)
            return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def compile_policy(name: str, spec: PolicySpec, entry: ModelEntry) -> CompiledPolicy:
    """Compile one policy, given the model it names."""
    params, content = spec.params.request_fields(), policy_content(spec, entry)
    forms = ((kind, form.form(params)) for kind, form in FORMATS.items())
    return CompiledPolicy(
        name=name,
        model=spec.model,
        fingerprint=content_fingerprint(content),
        cost=spec.cost,
        system=spec.system,
        template=None if spec.template is None else compile_template(spec.template.text),
        forms={kind: form for kind, form in forms if form is not None},
        content=content,
        merges_system=entry.merges_system,
    )


def compile_policies(config: GatewayConfig, experiment: ExperimentSpec) -> tuple[CompiledPolicy, ...]:
    """All policies of an experiment, in the order of the file."""
    return tuple(
        compile_policy(name, spec, config.entry(spec.model)) for name, spec in experiment.policies.items()
    )
