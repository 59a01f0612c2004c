"""The content of a policy in plain values (everything that decides how it answers), and its fingerprint.

The fingerprint is the SHA-256 of the content's canonical JSON (keys sorted, no spaces, UTF-8), so a reader
of the content can check that it belongs to the policy that was compared. Secrets are never part of it,
because they do not decide how a model answers. A text that looks like a secret is blanked before it is
shown; the content then says `redacted`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from gateway.config.experiments import PolicySpec
from gateway.config.gateway_file import ModelEntry
from gateway.running.logs import BLANK, redact_text
from policy_store.experiment import Experiment

PoliciesShown = Literal["full", "names"]
PolicyContent = Mapping[str, Any]

# Part of every content. Raise it when an unchanged policy starts to send something else.
_RENDERING_VERSION: Final = 1
# Headers that ask providers for features. Any other header may be a password under another name.
_PUBLIC_HEADERS: Final = frozenset({"anthropic-beta", "anthropic-version", "openai-beta"})


def policy_content(spec: PolicySpec, entry: ModelEntry) -> PolicyContent:
    """Everything that decides how a policy answers.

    Names, costs, prices, keys, timeouts and the path of a template are not included: they may change without
    making a different policy. The text of the template is included.
    """
    content = {
        "rendering": _RENDERING_VERSION,
        "model": entry.litellm_params.identity(),
        "system": spec.system,
        "template": spec.template.text if spec.template else None,
        "params": spec.params.request_fields(),
    }
    if entry.merges_system and (spec.system or spec.template):
        content["merge_system"] = True  # only if it is set, so that other policies keep their fingerprints
    return content


def content_fingerprint(content: PolicyContent) -> str:
    """The fingerprint of a content; equal for equal contents."""
    canonical = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def shown_content(content: PolicyContent) -> dict[str, Any]:
    """A content in the form that may be kept and shown."""
    shown = {name: _shown(value) for name, value in content.items()}
    headers = content["model"].get("extra_headers", {})
    shown["model"]["extra_headers"] = {
        name: text if name.lower() in _PUBLIC_HEADERS else BLANK for name, text in headers.items()
    }
    return shown if shown == content else {**shown, "redacted": True}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {name: _shown(each) for name, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, list | tuple) else value


def descriptions(
    experiment: Experiment, contents: Mapping[str, PolicyContent], how: PoliciesShown
) -> list[dict[str, Any]]:
    """Descriptions of an experiment's policies, in the order of their indices.

    Args:
        experiment: Names and fingerprints.
        contents: The known contents by fingerprint, in the form that may be shown.
        how: With `names`, contents are left out.
    """
    told = contents if how == "full" else {}
    return [
        {"name": name, "fingerprint": fingerprint, "content": told.get(fingerprint)}
        for name, fingerprint in zip(experiment.policies, experiment.policy_fingerprints, strict=True)
    ]


def misdescribed(experiment: Experiment, said: Iterable[Mapping[str, Any]]) -> list[str]:
    """One sentence for each description that does not belong to a policy the experiment compared.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: If the value does not hold descriptions.
    """
    described = [dict(each) for each in said]
    compared = list(zip(experiment.policies, experiment.policy_fingerprints, strict=True))
    if [(each["name"], each["fingerprint"]) for each in described] != compared:
        return ["policies: the certificate describes other policies than the experiment compared"]
    return [
        f"policies: the content shown for {each['name']} does not match its fingerprint"
        for each in described
        if each["content"] is not None
        and not each["content"].get("redacted")
        and content_fingerprint(each["content"]) != each["fingerprint"]
    ]
