"""A configuration file as values that may be shown, for comparison with another file.

It holds no secret: keys are named by the first digits of their hashes, addresses have no credentials, and
only the names of headers are shown. Prompts are included only with `policies_shown: full`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.config.configured_keys import configured_keys, default_limits
from gateway.config.gateway_file import GatewayConfig, ModelEntry
from gateway.experiments.definitions import Definition
from gateway.running.logs import redact_text
from policy_store.experiment import Experiment

_SHOWN_DIGITS: Final = 12
_OF_POLICIES: Final = ("cost", "max_share")  # shown of each policy besides its content
_OF_ENTRIES: Final = (
    *("fallbacks", "first_byte_timeout", "http2", "merge_system", "messages", "stall_timeout"),
)
_OF_WEBHOOKS: Final = ("events", "experiments")

Words = Mapping[str, Any]
"""Plain values by their dotted names, as a file would say them."""


@dataclass(frozen=True, slots=True)
class ExperimentDescription:
    """One experiment of a file.

    Attributes:
        record: What fixes the meaning of its evidence, as JSON.
        words: Everything else that the file says about it.
        contents: The contents of its policies by name; empty if they are not shown.
    """

    record: str
    words: Words
    contents: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, definition: Definition, *, shows_contents: bool) -> ExperimentDescription:
        """The description of an experiment, with or without the contents of its policies."""
        spec = definition.spec
        said = spec.model_dump(exclude={"grid", "policies", "judge"})
        if definition.judge is not None:  # the rubric is a prompt, which may not be shown
            limits = definition.judge.spec.model_dump(exclude={"rubric"})
            said["judge"] = {**limits, "rubric_sha256": definition.judge.rubric_sha256}
        said["policies"] = {
            name: policy.model_dump(include=set(_OF_POLICIES)) for name, policy in spec.policies.items()
        }
        words = json.dumps(
            said, default=lambda each: each.total_seconds() if isinstance(each, timedelta) else str(each)
        )
        shown = definition.policies if shows_contents else ()
        contents = {policy.name: definition.contents[policy.fingerprint] for policy in shown}
        return cls(definition.experiment.to_json(), flat(json.loads(words)), contents)

    @property
    def experiment(self) -> Experiment:
        """The record."""
        return Experiment.from_json(self.record)


@dataclass(frozen=True, slots=True)
class Description:
    """A file.

    Attributes:
        experiments: The experiments, by name.
        models: The description of each model, by `model_name`.
        keys: Role, limits and the start of the hash of each key in the file, by its name.
        webhooks: The events that each webhook gets, by its name.
        words: Default limits, origins and `policies_shown`.
    """

    experiments: Mapping[str, ExperimentDescription]
    models: Mapping[str, Words]
    keys: Mapping[str, Words]
    webhooks: Mapping[str, Words]
    words: Words

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> Description:
        """Inverse of `to_json`.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: If the value is not a description.
        """
        experiments = {name: ExperimentDescription(**each) for name, each in said["experiments"].items()}
        for each in experiments.values():
            each.experiment  # noqa: B018 - read here, so that later code may trust it
        parts = (dict(said[part]) for part in ("models", "keys", "webhooks", "words"))
        return cls(experiments, *parts)


def describe(config: GatewayConfig, definitions: Mapping[str, Definition]) -> Description:
    """The description of a configuration with these experiments."""
    shows_contents = config.policies_shown == "full"
    return Description(
        experiments={
            name: ExperimentDescription.of(each, shows_contents=shows_contents)
            for name, each in definitions.items()
        },
        models={entry.model_name: _model(entry) for entry in config.model_list},
        keys={
            key.name: {"role": key.role, "hash": key.hash[:_SHOWN_DIGITS], **key.limits.given()}
            for key in configured_keys(config.auth)
        },
        webhooks={each.label: each.model_dump(include=set(_OF_WEBHOOKS)) for each in config.webhooks},
        words={
            **{f"auth.limits.{name}": size for name, size in default_limits(config.auth).given().items()},
            "cors_origins": sorted(config.cors_origins),
            "policies_shown": config.policies_shown,
        },
    )


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


def _model(entry: ModelEntry) -> Words:
    identity = entry.litellm_params.identity()
    params = entry.litellm_params
    prices = {"input": params.input_cost_per_token, "output": params.output_cost_per_token}
    said = {
        **{name: _shown(value) for name, value in identity.items()},
        "extra_headers": sorted(params.extra_headers),
        "timeout": params.timeout,
        **{f"{name}_cost_per_token": price for name, price in prices.items()},
        **entry.model_dump(include=set(_OF_ENTRIES)),
    }
    return {name: value for name, value in said.items() if value not in (None, [])}


def _shown(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if "://" not in value:
        return redact_text(value)
    parts = urlsplit(value)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
