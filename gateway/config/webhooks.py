"""The part of a configuration file about webhooks, as frozen models."""

from __future__ import annotations

from hashlib import sha256
from typing import Annotated, Final, Literal

from pydantic import Field, SecretStr, WithJsonSchema

from gateway.config.section import Section
from gateway.config.values import Duration, HookAddress, HookSecret, Name, refuse_if
from policy_store.events import LOG_ONLY, EventKind

_KINDS: Final = tuple(kind.value for kind in EventKind if kind not in LOG_ONLY)


def _unknown_kind(word: str) -> tuple[str, str] | None:
    if word in _KINDS:
        return None
    is_logged = word in LOG_ONLY
    said = f"Events of the kind {word!r} are only in logs, and are never delivered."
    return said if is_logged else f"There is no kind of event {word!r}.", f"Kinds: {', '.join(_KINDS)}."


KindName = Annotated[str, refuse_if(_unknown_kind), WithJsonSchema({"type": "string", "enum": list(_KINDS)})]


class Receiver(Section):
    """A receiver of signed requests. `url` and secrets may be `os.environ/NAME`."""

    url: HookAddress = Field(description="Address of the receiver; redirects are not followed.")
    secret: HookSecret = Field(
        description="Signs every request: `whsec_` and the base64 of 24 to 64 random bytes."
    )
    previous_secret: HookSecret | None = Field(
        default=None,
        description="Signs them as well, while receivers still know the secret before.",
    )

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """All signing secrets, the newest first."""
        return (self.secret, *([] if self.previous_secret is None else [self.previous_secret]))


class ConfirmSpec(Receiver):
    """A receiver that is asked about each certified policy, and may veto its promotion."""

    deadline: Duration = Field(
        default="5m",
        validate_default=True,
        description="How long after the certificate its answer counts; it is asked again until then.",
    )
    no_answer: Literal["promote", "wait", "reject"] = Field(
        default="wait",
        description="What follows if no answer came by then: as if it had approved, as if it had vetoed, or "
        "a person decides.",
    )


class WebhookSpec(Receiver):
    """A receiver that is told what happens to experiments, by the rules of Standard Webhooks."""

    name: Name | None = Field(
        default=None,
        description="What commands, metrics and logs call it; where absent, `hook-` and a digest of its "
        "address. What is delivered is kept under this name, so another name is another webhook.",
    )
    events: list[KindName] | None = Field(
        default=None, min_length=1, description="Kinds of events it is told; all of them where absent."
    )
    experiments: list[Name] | None = Field(
        default=None, min_length=1, description="Experiments it is told of; all of them where absent."
    )

    @property
    def label(self) -> str:
        """Its name, or the substitute for one."""
        return self.name or f"hook-{sha256(self.url.get_secret_value().encode()).hexdigest()[:8]}"

    def wants(self, experiment: str, kind: str) -> bool:
        """Whether it gets such an event."""
        return (self.experiments is None or experiment in self.experiments) and (
            self.events is None or kind in self.events
        )
