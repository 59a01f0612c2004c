"""What a policy is, in plain values: all that decides how it answers, and the fingerprint that names it.

The fingerprint is the SHA-256 of the content's canonical JSON (keys sorted, no spaces, UTF-8), so a reader of
a content can check that it is the policy that was compared. Secrets are never part of a content, because they
do not decide how a model answers. A text that looks like a secret is blanked before it is shown, and then the
content says that it is `redacted`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from gateway.config.experiments import PolicySpec
from gateway.config.gateway_file import ModelEntry
from gateway.running.logs import BLANK, redact_text
from policy_store.models import Experiment

PoliciesShown = Literal["full", "names"]
PolicyContent = Mapping[str, Any]

# Part of every content: raise it when an unchanged policy starts to send something else.
_RENDERING_VERSION: Final = 1
# Headers of a file that ask providers for features. Any other may be a password by another name.
_PUBLIC_HEADERS: Final = frozenset({"anthropic-beta", "anthropic-version", "openai-beta"})


def policy_content(spec: PolicySpec, entry: ModelEntry) -> PolicyContent:
    """All that decides how a policy answers.

    Names, costs, prices, keys, timeouts and the path of a template do not: they may change without making it
    a different policy. The text of the template does.
    """
    content = {
        "rendering": _RENDERING_VERSION,
        "model": entry.litellm_params.identity(),
        "system": spec.system,
        "template": spec.template.text if spec.template else None,
        "params": spec.params.request_fields(),
    }
    if entry.merges_system and (spec.system or spec.template):
        content["merge_system"] = True  # only then, because what other policies send has not changed
    return content


def content_fingerprint(content: PolicyContent) -> str:
    """The name of a content; equal for equal ones."""
    canonical = json.dumps(
        content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def shown_content(content: PolicyContent) -> dict[str, Any]:
    """A content as it may be kept and shown."""
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
    """What an experiment's policies are, in the order of their indices.

    Args:
        experiment: Names and fingerprints.
        contents: Those that are known, by fingerprint, as they may be shown.
        how: With `names`, no contents are told.
    """
    told = contents if how == "full" else {}
    return [
        {"name": name, "fingerprint": fingerprint, "content": told.get(fingerprint)}
        for name, fingerprint in zip(experiment.policies, experiment.policy_fingerprints, strict=True)
    ]


def misdescribed(experiment: Experiment, said: Iterable[Mapping[str, Any]]) -> list[str]:
    """Where descriptions are of other policies than the experiment compared; a sentence for each.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: If they are no descriptions.
    """
    described = [dict(each) for each in said]
    compared = list(zip(experiment.policies, experiment.policy_fingerprints, strict=True))
    if [(each["name"], each["fingerprint"]) for each in described] != compared:
        return ["policies: the certificate describes other policies than the experiment compared"]
    return [
        f"policies: the content shown for {each['name']} is not what its fingerprint names"
        for each in described
        if each["content"] is not None
        and not each["content"].get("redacted")
        and content_fingerprint(each["content"]) != each["fingerprint"]
    ]
