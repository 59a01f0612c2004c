"""A right configuration file becomes models; references, templates and defaults are in place."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from gateway.config.api_keys import hash_key
from gateway.config.gateway_file import GatewayConfig
from gateway.config.load import load_config
from gateway.errors import ConfigError

from .conftest import ENVIRON, GOOD, Load, Write


def test_defaults_fill_what_a_short_file_leaves_out(load: Load) -> None:
    """A file of ten lines is enough; the documented defaults apply."""
    experiment = load(GOOD).experiments["support"]

    assert (experiment.delta, experiment.epsilon, experiment.space) == (0.05, 0.02, "unstructured")
    assert experiment.max_comparisons is None
    assert (experiment.traffic.share, experiment.traffic.collect, experiment.traffic.unit) == (
        0.3,
        "matched",
        "request",
    )
    assert experiment.feedback.window == timedelta(hours=24)
    assert {name: signal.weight for name, signal in experiment.feedback.signals.items()} == {
        "thumb": 1,
        "score": 1,
        "copied": 0.5,
        "edited": -0.25,
        "regenerated": -0.5,
    }
    assert experiment.feedback.hold is None
    promotion = experiment.promotion
    assert (promotion.min_comparisons, promotion.min_duration) == (50, timedelta(hours=1))
    assert (promotion.min_voters, experiment.feedback.voter_cap) == (10, 1)


def test_environment_references_are_resolved(load: Load) -> None:
    """`os.environ/NAME` becomes the variable's value, hidden from anyone who prints it."""
    params = load(GOOD).model_list[0].litellm_params

    assert params.api_key is not None
    assert params.api_key.get_secret_value() == "sk-provider-secret"
    assert "sk-provider-secret" not in repr(params)


def test_any_litellm_parameter_may_come_from_the_environment(write: Write) -> None:
    """Addresses, timeouts and headers are looked up as keys are."""
    text = GOOD.replace(
        "api_key: os.environ/PROVIDER_KEY",
        "api_base: os.environ/BASE, timeout: os.environ/TIMEOUT, extra_headers: {x-team: os.environ/TEAM}",
    )
    config = load_config(write(text), {"BASE": "http://host:8000/v1", "TIMEOUT": "12.5", "TEAM": "blue"})
    params = config.model_list[0].litellm_params

    assert (params.api_base, params.timeout, params.extra_headers) == (
        "http://host:8000/v1",
        12.5,
        {"x-team": "blue"},
    )


def test_a_file_may_be_read_where_its_environment_is_not(write: Write) -> None:
    """What refers to unset variables is left out, a key with its name; what is set is looked up as ever."""
    text = (
        GOOD.replace(
            "api_key: os.environ/PROVIDER_KEY",
            "api_key: os.environ/PROVIDER_KEY, api_base: os.environ/BASE, timeout: os.environ/TIMEOUT,"
            " extra_headers: {x-team: os.environ/TEAM, x-fixed: here}",
        )
        + f"""
auth:
  client_keys: [os.environ/CLIENT, "{hash_key("llmpo-client")}"]
  keys: {{ours: {{hash: os.environ/OURS}}, theirs: {{hash: os.environ/THEIRS, role: admin}}}}
"""
    )
    environ = {"TIMEOUT": "12.5", "THEIRS": "llmpo-" + "x" * 43}
    config = load_config(write(text), environ, may_be_unset=True)
    params = config.model_list[0].litellm_params

    assert (params.api_key, params.api_base, params.timeout) == (None, None, 12.5)
    assert params.extra_headers == {"x-fixed": "here"}
    assert config.auth.client_keys == [hash_key("llmpo-client")]
    assert list(config.auth.keys) == ["theirs"]


def test_but_not_where_the_name_of_a_model_is_unset(write: Write) -> None:
    """Other faults are still reported."""
    text = GOOD.replace("openai/gpt-4o-mini", "os.environ/MODEL") + "\nauth: {keys: {ours: {role: admin}}}\n"
    with pytest.raises(ConfigError) as caught:
        load_config(write(text), {}, may_be_unset=True)
    assert [issue.path for issue in caught.value.issues] == [
        "model_list[0].litellm_params.model",
        "auth.keys.ours.hash",
    ]


def test_revealed_parameters_are_what_a_provider_call_needs(load: Load) -> None:
    """Everything that was set and nothing else, secrets in the clear."""
    assert load(GOOD).entry("small").litellm_params.revealed() == {
        "model": "openai/gpt-4o-mini",
        "api_key": "sk-provider-secret",
    }


def test_credentials_given_as_a_mapping_become_their_json(load: Load) -> None:
    """Service-account credentials may stand in the file as LiteLLM users write them."""
    text = GOOD.replace("api_key: os.environ/PROVIDER_KEY", "vertex_credentials: {type: service_account}")

    assert (
        load(text).model_list[0].litellm_params.revealed()["vertex_credentials"]
        == '{"type": "service_account"}'
    )


def test_keys_are_kept_as_hashes(write: Write) -> None:
    """A key or a hash from the environment and a hash in the file all end up as hashes."""
    written, by_hash = hash_key("first"), hash_key("second")
    text = GOOD + f"auth:\n  client_keys: [{written}, os.environ/HASH]\n  admin_keys: [os.environ/PLAIN]\n"
    auth = load_config(write(text), {**ENVIRON, "HASH": by_hash, "PLAIN": "third"}).auth

    assert auth.client_keys == [written, by_hash]
    assert auth.admin_keys == [hash_key("third")]


def test_keys_have_names_and_limits(load: Load) -> None:
    """What a key does not limit itself is left to the default ones."""
    hashed = hash_key("app")
    auth = load(
        GOOD + f"auth:\n  keys: {{app: {{hash: {hashed}, limits: {{requests_per_minute: 5}}}}}}\n"
        "  limits: {concurrent_requests: 2}\n"
    ).auth

    assert (auth.keys["app"].hash, auth.keys["app"].role) == (hashed, "client")
    assert auth.keys["app"].limits.requests_per_minute == 5
    assert (auth.limits.concurrent_requests, auth.limits.requests_per_minute) == (2, None)
    assert auth.has_keys


def test_a_key_has_one_name(load: Load) -> None:
    """If it is listed twice, it is not clear which limits it has."""
    hashed = hash_key("app")
    for text in (
        f"keys: {{a: {{hash: {hashed}}}, b: {{hash: {hashed}}}}}",
        f"keys: {{a: {{hash: {hashed}}}}}\n  client_keys: [{hashed}]",
    ):
        with pytest.raises(ConfigError, match="listed twice"):
            load(GOOD + f"auth:\n  {text}\n")


def test_templates_are_read_relative_to_the_file(write: Write, tmp_path: Path) -> None:
    """A template path means the same wherever the gateway is started."""
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "warm.j2").write_text("Hello {{ user_message }}", encoding="utf-8")
    text = GOOD.replace('system: "You help, warmly."', "template: prompts/warm.j2")
    template = load_config(write(text), ENVIRON).experiments["support"].policies["warm"].template

    assert (template.path, template.text) == ("prompts/warm.j2", "Hello {{ user_message }}")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("1.5h", timedelta(minutes=90)),
    ],
)
def test_durations_carry_their_unit(load: Load, written: str, meant: timedelta) -> None:
    """A duration is a number and a unit."""
    text = GOOD + f"    feedback: {{window: {written}}}\n"

    assert load(text).experiments["support"].feedback.window == meant


def test_given_signals_replace_the_default_ones(load: Load) -> None:
    """A file that declares signals counts only these, and a number is short for a weight."""
    text = GOOD + "    feedback: {signals: {resolved: 1, reopened: {weight: -0.5}}}\n"
    signals = load(text).experiments["support"].feedback.signals

    assert {name: signal.weight for name, signal in signals.items()} == {"resolved": 1, "reopened": -0.5}


def test_identical_policies_may_compete(load: Load) -> None:
    """An A/A test is a legitimate experiment."""
    text = GOOD.replace("You help, warmly.", "You help.")

    assert set(load(text).experiments["support"].policies) == {"base", "warm"}


def test_yaml_words_may_be_names(load: Load) -> None:
    """Keys are read as text, so a policy may be called `no` or `1`, which YAML takes for other things."""
    text = GOOD.replace("base", "no").replace("warm:", "1:").replace("incumbent: no", 'incumbent: "no"')

    assert list(load(text).experiments["support"].policies) == ["no", "1"]


def test_scientific_notation_is_a_number(load: Load) -> None:
    """`1e-3` means what it says, although YAML 1.1 takes it for text."""
    assert load(GOOD + "    delta: 1e-3\n").experiments["support"].delta == 0.001


def test_anchors_and_merges_work(load: Load) -> None:
    """Repetition can be avoided the usual YAML way, overriding included."""
    text = GOOD.replace(
        'warm: {model: small, system: "You help, warmly."}', "warm: {<<: *base, cost: 2}"
    ).replace("base: {model: small", "base: &base {model: small")
    policies = load(text).experiments["support"].policies

    assert (policies["warm"].system, policies["warm"].cost) == ("You help.", 2)


def test_a_gateway_without_experiments_is_a_plain_gateway(load: Load) -> None:
    """Models alone are a configuration."""
    assert load(GOOD.partition("experiments:")[0]).experiments == {}


def test_a_configuration_cannot_be_changed(load: Load) -> None:
    """Code that holds a configuration may rely on it."""
    with pytest.raises(ValueError, match="frozen"):
        load(GOOD).experiments["support"].delta = 0.5


def test_models_check_references_without_a_file() -> None:
    """A configuration built in code is held to the same rules between its parts."""
    policies = {"a": {"model": "m"}, "b": {"model": "missing"}}
    data = {
        "model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m"}}],
        "experiments": {"e": {"incumbent": "a", "policies": policies}},
    }
    with pytest.raises(ValueError, match=r"experiments\.e\.policies\.b\.model: There is no model 'missing'"):
        GatewayConfig.model_validate(data)


def test_the_example_is_right() -> None:
    """The example shipped with the deployment files passes the check, and stays short."""
    path = Path(__file__).parents[3] / "deploy" / "gateway.example.yaml"
    config = load_config(path, {"OPENAI_API_KEY": "sk-any"})

    assert set(config.experiments["support-assistant"].policies) == {"baseline", "friendly", "thorough"}
    assert len(path.read_text().splitlines()) <= 20
