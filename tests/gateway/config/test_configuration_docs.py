"""docs/configuration.md says of every key what the models say: type, default, effect."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.config import (
    access,
    experiments,
    feedback,
    guardrails,
    judging,
    params,
    prior,
    promotion,
    webhooks,
)
from gateway.config import gateway_file as models
from gateway.config.load import load_config
from gateway.config.templates import VARIABLES
from gateway.config.values import DURATION_PATTERN, ENVIRONMENT_PATTERN, MODEL_NAME_PATTERN, NAME_PATTERN
from gateway.settings import PREFIX, Settings
from gateway.upstream import targets

DOCS = Path(__file__).parents[3] / "docs" / "configuration.md"
WORDS = {
    NAME_PATTERN: "name",
    MODEL_NAME_PATTERN: "model name",
    DURATION_PATTERN: "duration",
    ENVIRONMENT_PATTERN: "reference",
}
SECTIONS = [
    models.GatewayConfig,
    models.ModelEntry,
    models.LitellmParams,
    experiments.ExperimentSpec,
    experiments.PolicySpec,
    params.PolicyParams,
    experiments.TrafficSpec,
    feedback.FeedbackSpec,
    feedback.MissingSpec,
    feedback.SignalSpec,
    feedback.RegenerateSpec,
    prior.PriorSpec,
    judging.LiveJudgeSpec,
    promotion.PromotionSpec,
    promotion.StepSpec,
    promotion.WatchSpec,
    guardrails.GuardrailSpec,
    access.AuthSpec,
    access.KeySpec,
    access.LimitsSpec,
    webhooks.WebhookSpec,
    webhooks.ConfirmSpec,
]


def kind(node: dict[str, Any]) -> str:
    """A type as people say it."""
    options = [option for option in node.get("anyOf", []) if option.get("type") != "null"]
    if options and "type" not in node:
        return " or ".join(dict.fromkeys(kind(option) for option in options))
    if node.get("format") == "path":
        return "path"
    if node.get("pattern") in WORDS:
        return WORDS[node["pattern"]]
    if values := node.get("enum") or ([node["const"]] if "const" in node else None):
        return " or ".join(f"`{value}`" for value in values)
    if node.get("type") in ("number", "integer"):
        return number(node)
    names = {"string": "text", "boolean": "true or false", "array": "list", "object": "mapping"}
    types = node.get("type", "object")
    return " or ".join(names[one] for one in ([types] if isinstance(types, str) else types))


def number(node: dict[str, Any]) -> str:
    """A number and its bounds."""
    signs = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
    bounds = [f"{sign} {node[key]}" for key, sign in signs.items() if key in node]
    return " ".join(
        [{"number": "number", "integer": "whole number"}[node["type"]], ", ".join(bounds)]
    ).strip()


def default(name: str, node: dict[str, Any], required: list[str]) -> str:
    """A default as it would stand in the file."""
    if name in required:
        return "required"
    value = node.get("default")
    return (
        "-"
        if value in (None, {}, [], "")
        else f"`{json.dumps(value) if not isinstance(value, str) else value}`"
    )


def table(model: type[BaseModel], prefix: str = "") -> str:
    """The table of a model's keys, as the documentation has it."""
    schema = model.model_json_schema()
    rows = ["| key | type | default | effect |", "|---|---|---|---|"]
    for name, node in schema["properties"].items():
        key = prefix + name.upper() if prefix else name
        what = node["description"].replace("|", "\\|")
        rows.append(
            f"| `{key}` | {kind(node)} | {default(name, node, schema.get('required', []))} | {what} |"
        )
    return "\n".join(rows)


@pytest.mark.parametrize("model", SECTIONS, ids=lambda model: model.__name__)
def test_every_key_is_documented_as_it_is(model: type[BaseModel]) -> None:
    """Type, default and effect of each key stand in the documentation."""
    assert table(model) in DOCS.read_text(encoding="utf-8")


def test_every_setting_is_documented_as_it_is() -> None:
    """The documentation has each environment variable with type, default and effect."""
    assert table(Settings, PREFIX) in DOCS.read_text(encoding="utf-8")


def test_every_relayed_provider_is_documented() -> None:
    """The documentation names the providers whose answers are passed on byte for byte."""
    text = DOCS.read_text(encoding="utf-8")

    assert [name for name in targets._OPENAI_WIRE if f"`{name}/`" not in text] == []


def test_template_variables_are_documented() -> None:
    """What a template may read is listed."""
    text = DOCS.read_text(encoding="utf-8")

    assert [name for name in VARIABLES if f"| `{name}` |" not in text] == []


def test_the_documented_example_is_right(tmp_path: Path) -> None:
    """The configuration shown first in the documentation passes the check."""
    examples = re.findall(r"```yaml\n(model_list:.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "warm.j2").write_text("You are talking to {{ metadata.tier }}.", encoding="utf-8")
    (tmp_path / "gateway.yaml").write_text(examples[0], encoding="utf-8")

    assert load_config(tmp_path / "gateway.yaml", {"OPENAI_API_KEY": "sk-any"}).experiments
