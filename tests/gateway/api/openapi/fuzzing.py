"""Schemathesis held against a running gateway: which requests it makes up, and what is counted.

Its coverage phase takes every field of a schema to its bounds, to null, to other types and out of the object,
at a few milliseconds a request; one run of it does so for one model and one way to answer. Its fuzzing phase
makes up whole requests and is ten times as slow, so there is less of it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gateway.api.inference import ENDPOINTS
from gateway.upstream.translating.fields import PASSED
from tests.gateway.api.surfaces.answers import good
from tests.gateway.building import config_fields
from tests.gateway.fake_upstream import FakeUpstream, status
from tests.gateway.whole import Whole
from tests.pace import PATIENCE_SECONDS

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "unsupported_method",
)
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
COMPLETIONS, EMBEDDINGS = "/v1/completions", "/v1/embeddings"
CONVERSATIONS = (CHAT, RESPONSES, MESSAGES)
KINDS = {path: surface.name for path, surface, _ in ENDPOINTS}
EVERY_KIND = (*CONVERSATIONS, COMPLETIONS, EMBEDDINGS)
# Models of both formats, one whose provider fails; experiments of each kind; and a name that nothing has.
MODELS = (
    "plain",
    "claude-plain",
    "falling",
    "support",
    "both",
    "shaped",
    "quiet",
    "claude",
    "shaped-claude",
    "nobody",
)
# What failures of a provider are called that never fails; `falling` has the statuses.
NEVER = ("connect", "timeout", "protocol", "cut")

_GENERATED = re.compile(r"(\d[\d,]*) generated")
_SHAPE = {"system": "Be brief.", "params": {"temperature": 0.5, "max_tokens": 9}}
_TEMPLATED = {"template": "prompt.j2", "params": {"top_p": 0.5}}
_TEMPLATE = "{{ messages | length }} so far, for {{ metadata }}. Asked: {{ user_message }}"


@dataclass(frozen=True)
class Run:
    """What one run of Schemathesis is about; without a model, every route and any model.

    Attributes:
        model: The only one asked.
        is_streamed: How it is to answer.
        paths: Which kinds of request.
        phases: Of Schemathesis.
        is_translated: Whether to leave out what no translation takes, which is refused before anything else.
        examples: How many whole requests to make up for each operation, where fuzzing.
        one_in: Which share of the optional fields to keep of each kind of request, which has dozens.
    """

    model: str | None = None
    is_streamed: bool = False
    paths: tuple[str, ...] = EVERY_KIND
    phases: str = "coverage"
    examples: int = 1
    is_translated: bool = False
    one_in: int = 1

    def document(self, described: Mapping[str, Any]) -> dict[str, Any]:
        """The gateway's document, narrowed to what the run is about."""
        document = deepcopy(dict(described))
        for path, operations in list(document["paths"].items()):
            content = operations.get("post", {}).get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            if not self._narrow(path, schema):
                del document["paths"][path]
        return document

    def _narrow(self, path: str, schema: dict[str, Any]) -> bool:
        properties = schema.get("properties", {})
        if self.model is None:
            if path in EVERY_KIND:
                properties["model"]["enum"] = list(MODELS)
                for number, name in enumerate(sorted(properties.keys() - {*schema["required"], "stream"})):
                    if number % self.one_in:
                        del properties[name]
            return True
        if path not in self.paths or (self.is_streamed and "stream" not in properties):
            return False
        if self.is_translated:
            taken = PASSED[KINDS[path]] | {"model"}
            for name in properties.keys() - taken:
                del properties[name]
        properties["model"]["enum"] = [self.model]
        if "stream" in properties:
            properties["stream"] = {"const": self.is_streamed}
            schema["required"] = [*schema["required"], "stream"]
        return True


@dataclass(frozen=True)
class Found:
    """What runs came to. `generated` is Schemathesis's own count, `faults` its words where it found any."""

    generated: int
    faults: tuple[str, ...]


def fuzzed_config(upstream: FakeUpstream, folder: Path) -> dict[str, Any]:
    """A gateway with all of `MODELS`, over a provider that answers every kind of request."""
    (folder / "prompt.j2").write_text(_TEMPLATE)
    fields = config_fields(api_base=upstream.api_base)
    base = f"http://127.0.0.1:{upstream.port}"
    for name in ("plain", "warm"):
        upstream.on(name, good("Fine."))
        upstream.on(f"claude-{name}", good("Fine."))
        params = {"model": f"anthropic/claude-{name}", "api_key": "k", "api_base": base}
        fields["model_list"].append({"model_name": f"claude-{name}", "litellm_params": params})
    upstream.on("falling", status(500))
    params = {"model": "openai/falling", "api_key": "k", "api_base": upstream.api_base}
    fields["model_list"].append({"model_name": "falling", "litellm_params": params, "fallbacks": ["plain"]})
    experiments = fields["experiments"]
    experiments["both"] = _experiment("", collect="side_by_side")
    experiments["shaped"] = _experiment("", _SHAPE, _TEMPLATED, unit="session")
    experiments["quiet"] = _experiment("", share=0.0)
    experiments["claude"] = _experiment("claude-")
    experiments["shaped-claude"] = _experiment("claude-", _SHAPE, _TEMPLATED)
    return fields


def _experiment(
    prefix: str,
    first: Mapping[str, Any] | None = None,
    second: Mapping[str, Any] | None = None,
    **traffic: Any,
) -> dict[str, Any]:
    policies = {
        "plain": {"model": f"{prefix}plain", **(first or {})},
        "warm": {"model": f"{prefix}warm", **(second or {})},
    }
    return {"incumbent": "plain", "policies": policies, "traffic": {"share": 1.0, **traffic}}


async def fuzz(gateway: Whole, folder: Path, runs: Iterable[Run]) -> Found:
    """Hold the gateway against its document, one run after the other, the same requests every time."""
    described = (await gateway.get("/openapi.json")).json
    generated, faults = 0, []
    for run in runs:
        file = folder / "openapi.json"
        file.write_text(json.dumps(run.document(described)))
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", str(file)]
        command += ["--url", gateway.url, "--checks", ",".join(CHECKS), "--no-color"]
        command += ["--generation-deterministic", "--output-sanitize", "false"]
        command += ["--phases", run.phases, "--max-examples", str(run.examples)]
        command += ["--request-timeout", str(PATIENCE_SECONDS)]
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said = (await process.communicate())[0].decode()
        count = _GENERATED.search(said)
        generated += int(count[1].replace(",", "")) if count else 0
        if process.returncode or not count:
            faults.append(f"{run}\n{said}")
    return Found(generated, tuple(faults))


async def answered(gateway: Whole) -> Counter[str]:
    """How many requests to models the gateway itself counted, by status."""
    counts: Counter[str] = Counter()
    text = (await gateway.get("/metrics")).body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "llmpo_requests_total":
                counts[sample.labels["status"]] += int(sample.value)
    return counts


async def broken_answers(gateway: Whole) -> float:
    """Answers that failed although their provider never does: those broken off in the middle, too."""
    return sum(
        [
            await gateway.metric(name, reason=reason)
            for name in ("llmpo_model_failures_total", "llmpo_policy_failures_total")
            for reason in NEVER
        ]
    )
