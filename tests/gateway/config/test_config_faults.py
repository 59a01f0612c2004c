"""A wrong configuration file: every fault, each with its place, what was found and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.load import load_config
from gateway.errors import ConfigError, ConfigIssue

from .conftest import ENVIRON, GOOD, Issues, Load, Write

EXPERIMENT = "experiments.support"


def only(issues: list[ConfigIssue], path: str) -> ConfigIssue:
    """The one issue at a path."""
    (found,) = [issue for issue in issues if issue.path == path]
    return found


@pytest.mark.parametrize(
    ("line", "path", "found", "remedy"),
    [
        ("delta: 0", "delta", "0 ", "greater than 0 and less than 1"),
        ("delta: 1", "delta", "1 ", "greater than 0 and less than 1"),
        ("delta: .nan", "delta", "nan", "finite number"),
        ("delta: small", "delta", "'small'", "a number"),
        ('delta: "0.05"', "delta", "'0.05'", "a number"),
        ("delta: yes", "delta", "True", "a number"),
        ("epsilon: 0.5", "epsilon", "0.5", "at least 0 and less than 0.5"),
        ("epsilon: -0.1", "epsilon", "-0.1", "at least 0 and less than 0.5"),
        ("max_comparisons: 0", "max_comparisons", "0", "a whole number at least 1"),
        ("max_comparisons: 10.5", "max_comparisons", "10.5", "a whole number"),
        ("max_comparisons: 10", "max_comparisons", "10", "Raise max_comparisons"),
        ("space: metric", "space", "'metric'", "'unstructured'"),
        ("traffic: {share: 1.5}", "traffic.share", "1.5", "at least 0 and at most 1"),
        (
            "traffic: {collect: duel}",
            "traffic.collect",
            "'duel'",
            "'matched', 'side_by_side' or 'regenerate'",
        ),
        ("traffic: {collect: regenerate, unit: session}", "traffic", "each turn", "Leave `unit` out"),
        (
            "feedback: {window: 5m, regenerate: {within: 6m}}",
            "feedback",
            "longer than `window`",
            "Shorten it",
        ),
        ("traffic: {unit: user}", "traffic.unit", "'user'", "'request' or 'session'"),
        ("traffic: 3", "traffic", "3", "a mapping"),
        ("feedback: {window: 24}", "feedback.window", "24", "90s, 15m, 24h or 7d"),
        ("feedback: {window: 1 day}", "feedback.window", "'1 day'", "90s, 15m, 24h or 7d"),
        ("feedback: {window: 0s}", "feedback.window", "some time", "24h"),
        ("feedback: {window: 400d}", "feedback.window", "400d", "365d"),
        ("feedback: {window: 99999999999999999999d}", "feedback.window", "too long", "365d"),
        ("feedback: {signals: {thumb: 0}}", "feedback.signals.thumb.weight", "weight of 0", "-1 to 1"),
        ("feedback: {signals: {thumb: 2}}", "feedback.signals.thumb.weight", "out of range", "at least -1"),
        ("feedback: {signals: {}}", "feedback.signals", "0 entries", "at least 1"),
        ('feedback: {signals: {"a b": 1}}', 'feedback.signals["a b"]', "'a b'", "letters, digits"),
        ("feedback: {hold: 48h}", "feedback", "longer than `window`", "Raise `window`"),
        ("feedback: {hold: 0s}", "feedback.hold", "to the second", "1s"),
        ("feedback: {signals: {thumb: 1, abandoned: -1}}", "feedback", "'abandoned'", "hold: 6h"),
        (
            "feedback: {signals: {churned: {weight: -1, late: true}}}",
            *("feedback", "'churned'", "leave the signal out"),
        ),
        ("feedback: {tie_margin: -1}", "feedback.tie_margin", "-1", "at least 0"),
        ("promotion: {mode: manual}", "promotion.mode", "'manual'", "'automatic'"),
        ("promotion: {watch: soon}", "promotion.watch.for", "'soon'", "90s, 15m, 24h or 7d"),
        ("promotion: {watch: 0s}", "promotion.watch", "some time", "7d"),
        ("promotion: {watch: 7}", "promotion.watch", "7", "a mapping"),
        ("promotion: {watch: {share: 0}}", "promotion.watch.share", "0 ", "greater than 0"),
        ("promotion: {watch: {level: 1}}", "promotion.watch.level", "1 ", "less than 1"),
        ("promotion: {watch: {last: 7d}}", "promotion.watch.last", "no such key", "for"),
        ("promotion: {mode: staged, steps: [5%]}", "promotion.steps", "1 entries", "at least 2"),
        ("promotion: {mode: staged, steps: [5%, 50%]}", "promotion", "up to 100%", "[5%, 25%, 100%]"),
        ("promotion: {mode: staged, steps: [25%, 5%, 100%]}", "promotion", "grow", "[5%, 25%, 100%]"),
        ("promotion: {mode: staged, steps: [some, 100%]}", "promotion.steps[0].share", "'some'", "5%"),
        ("promotion: {mode: staged, steps: [0%, 100%]}", "promotion.steps[0].share", "out of range", "0"),
        ("promotion: {steps: [5%, 100%]}", "promotion", "`mode` is automatic", "leave `steps` out"),
        (
            "promotion: {mode: staged, steps: [5%, {share: 100%, approval: true}]}",
            *("promotion", "nothing ends", "100% alone"),
        ),
        (
            "promotion: {mode: staged, steps: [{share: 5%, for: 1h, approval: true}, 100%]}",
            *("promotion.steps[0]", "Several things", "Keep one"),
        ),
        ("promotion: {min_duration: soon}", "promotion.min_duration", "'soon'", "90s, 15m, 24h or 7d"),
        ("promotion: {min_comparisons: -1}", "promotion.min_comparisons", "-1", "at least 0"),
    ],
)
def test_bad_values_are_refused_with_place_value_and_remedy(
    issues: Issues, line: str, path: str, found: str, remedy: str
) -> None:
    """A value of the wrong kind or out of bounds is shown with what would be right, and its line."""
    (issue,) = issues(GOOD + f"    {line}\n")

    assert issue.path == f"{EXPERIMENT}.{path}"
    assert found in issue.problem
    assert remedy in issue.remedy
    assert issue.line == len(GOOD.splitlines()) + 1


@pytest.mark.parametrize(
    ("params", "path", "remedy"),
    [
        ("temperature: 2.1", "temperature", "at least 0 and at most 2"),
        ("top_p: 1.1", "top_p", "at least 0 and at most 1"),
        ("max_tokens: 0", "max_tokens", "at least 1"),
        ("max_tokens: 1.5", "max_tokens", "a whole number"),
        ("presence_penalty: -3", "presence_penalty", "at least -2 and at most 2"),
        ("stop: []", "stop", "at least 1"),
        ("stop: [a, b, c, d, e]", "stop", "at most 4"),
        ("logit_bias: {50256: 101}", "logit_bias.50256", "at least -100 and at most 100"),
        ("reasoning_effort: extreme", "reasoning_effort", "'high'"),
        ("max_tokens: 5, max_completion_tokens: 5", "max_tokens", "Keep one of them"),
        ("messages: []", "messages", "Known keys"),
        ("stream: true", "stream", "Known keys"),
        ("n: 2", "n", "Known keys"),
        ("model: other", "model", "Known keys"),
        ("temprature: 1", "temprature", "Did you mean temperature?"),
    ],
)
def test_params_are_sampling_fields_within_their_bounds(
    issues: Issues, params: str, path: str, remedy: str
) -> None:
    """A policy may fix sampling, not the conversation or the shape of the answer."""
    (issue,) = issues(GOOD.replace('system: "You help."', f"params: {{{params}}}"))

    assert issue.path == f"{EXPERIMENT}.policies.base.params.{path}"
    assert remedy in issue.remedy
    assert issue.line == 8


@pytest.mark.parametrize(
    ("text", "path", "nearest"),
    [
        (GOOD + "model_lists: []\n", "model_lists", "model_list"),
        (GOOD + "    polices: {}\n", f"{EXPERIMENT}.polices", "policies"),
        (GOOD.replace("system:", "sytem:", 1), f"{EXPERIMENT}.policies.base.sytem", "system"),
        (GOOD.replace("api_key", "api_keys"), "model_list[0].litellm_params.api_keys", "api_key"),
        (GOOD + "    traffic: {shares: 1}\n", f"{EXPERIMENT}.traffic.shares", "share"),
    ],
)
def test_unknown_keys_name_the_nearest_known_one(issues: Issues, text: str, path: str, nearest: str) -> None:
    """A misspelt key is refused, and the right spelling offered."""
    assert f"Did you mean {nearest}?" in only(issues(text), path).remedy


def test_sampling_fields_beside_the_model_are_sent_to_the_policy(issues: Issues) -> None:
    """LiteLLM lets sampling fields stand in litellm_params; here they make the policy."""
    text = GOOD.replace("api_key: os.environ/PROVIDER_KEY", "temperature: 0.5")

    assert "a policy's `params`" in only(issues(text), "model_list[0].litellm_params.temperature").remedy


def test_sampling_fields_beside_a_policys_model_belong_under_its_params(issues: Issues) -> None:
    """The error names `params`, not the key whose name happens to be similar."""
    (issue,) = issues(GOOD.replace("warm: {model: small,", "warm: {model: small, temperature: 0.7,"))

    assert issue.path == f"{EXPERIMENT}.policies.warm.temperature"
    assert "`params: {temperature: ...}`" in issue.remedy
    assert "template" not in issue.remedy


@pytest.mark.parametrize(
    ("entry", "key", "remedy"),
    [
        ("api_key: '${OPENAI_API_KEY}'", "api_key", "os.environ/OPENAI_API_KEY"),
        ("api_key: $OPENAI_API_KEY", "api_key", "os.environ/ and the name"),
        ("api_base: '${BASE}'", "api_base", "os.environ/BASE"),
        ("api_base: 'https://${HOST}/v1'", "api_base", "os.environ/HOST"),
        ("extra_headers: {x-team: '${TEAM:-secret}'}", "extra_headers.x-team", "os.environ/TEAM"),
    ],
)
def test_other_programs_references_to_the_environment_are_refused(
    issues: Issues, entry: str, key: str, remedy: str
) -> None:
    """Sent as they stand they would be a wrong key, which would come out at the first request."""
    (issue,) = issues(f"model_list:\n- {{model_name: m, litellm_params: {{model: openai/m, {entry}}}}}\n")

    assert issue.path == f"model_list[0].litellm_params.{key}"
    assert "not looked up" in issue.problem
    assert remedy in issue.remedy
    assert "secret" not in issue.problem + issue.remedy


@pytest.mark.parametrize(
    "origin",
    [
        "app.example.com",
        "https://app.example.com/",
        "https://App.example.com",
        "https://*.example.com",
        "null",
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused(issues: Issues, origin: str) -> None:
    """Such an origin would never match, and the page's calls would fail without any explanation."""
    (issue,) = issues(f"{GOOD}cors_origins: ['{origin}']\n")

    assert (issue.path, repr(origin) in issue.problem) == ("cors_origins[0]", True)
    assert "https://app.example.com or" in issue.remedy


def test_prompts_may_hold_anything(load: Load) -> None:
    """References to the environment are found in keys and addresses only, not in prompts."""
    text = GOOD.replace("You help, warmly.", "Say ${NAME} or $HOME.")
    assert load(text).experiments["support"].policies["warm"].system == "Say ${NAME} or $HOME."


def test_every_fault_is_reported_at_once(issues: Issues) -> None:
    """One run shows all there is to mend, in the order of the file, whatever kinds of fault there are."""
    text = """\
model_list:
  - model_name: small
    litellm_params: {model: gpt-4o}
  - model_name: small
    litellm_params: {model: openai/x, api_key: os.environ/UNSET}
experiments:
  support:
    incumbent: nobody
    delta: 2
    delta: 3
    policies:
      base: {model: smal, params: {temperature: 9}}
extra: 1
"""
    assert [(issue.path, issue.line) for issue in issues(text)] == [
        ("model_list[0].litellm_params.model", 3),
        ("model_list[1].model_name", 4),
        ("model_list[1].litellm_params.api_key", 5),
        ("experiments.support.incumbent", 8),
        ("experiments.support.delta", 10),
        ("experiments.support.delta", 10),
        ("experiments.support.policies", 11),
        ("experiments.support.policies.base.model", 12),
        ("experiments.support.policies.base.params.temperature", 12),
        ("extra", 13),
    ]


def test_an_unknown_model_comes_with_the_models_there_are(issues: Issues) -> None:
    """A policy's model must be in model_list."""
    issue = only(
        issues(GOOD.replace("warm: {model: small", "warm: {model: smal")), f"{EXPERIMENT}.policies.warm.model"
    )

    assert issue.problem == "There is no model 'smal'."
    assert issue.remedy == "Did you mean small? Models in model_list: small."
    assert str(issue).startswith("experiments.support.policies.warm.model (line 9): There is no model")


def test_the_incumbent_must_be_one_of_the_policies(issues: Issues) -> None:
    """A file whose incumbent is not one of the policies is refused."""
    issue = only(issues(GOOD.replace("incumbent: base", "incumbent: bass")), f"{EXPERIMENT}.incumbent")

    assert issue.problem == "'bass' is not a policy."
    assert "Did you mean base?" in issue.remedy


def test_fewer_than_two_policies_are_refused(issues: Issues) -> None:
    """One policy has nothing to be compared with."""
    text = "\n".join(line for line in GOOD.splitlines() if "warm:" not in line)

    assert only(issues(text), f"{EXPERIMENT}.policies").problem == "Only 1 given."


def test_more_than_128_policies_are_refused(issues: Issues) -> None:
    """Plans and ledgers grow with the square of the number of policies."""
    many = "".join(f"      p{number}: {{model: small}}\n" for number in range(127))
    issue = only(issues(GOOD + many), f"{EXPERIMENT}.policies")

    assert issue.problem == "129 given."
    assert "At most 128" in issue.remedy


def test_an_experiment_may_not_be_called_like_a_model(issues: Issues) -> None:
    """Clients name both in the same field."""
    assert (
        "also the name of a model"
        in only(issues(GOOD.replace("support:", "small:")), "experiments.small").problem
    )


@pytest.mark.parametrize("name", ["a b", "a/b", "{tag}", "x" * 65, "é", ""])
def test_names_that_cannot_be_keys_or_labels_are_refused(issues: Issues, name: str) -> None:
    """Names of experiments and policies become store keys and metric labels."""
    found = issues(GOOD.replace("support:", f'"{name}":').replace("warm:", f'"{name}":'))

    assert [issue.problem for issue in found] == [f"{name!r} cannot be a name."] * 2


def test_a_system_prompt_and_a_template_exclude_each_other(issues: Issues, tmp_path: Path) -> None:
    """A policy has one system prompt."""
    (tmp_path / "warm.j2").write_text("hi", encoding="utf-8")
    text = GOOD.replace('system: "You help, warmly."', 'system: "You help.", template: warm.j2')

    assert "Keep `system` or `template`" in only(issues(text), f"{EXPERIMENT}.policies.warm.template").remedy


def test_a_key_written_twice_is_refused(issues: Issues) -> None:
    """YAML would silently keep the last one."""
    issue = only(
        issues(GOOD.replace("    incumbent: base\n", "    incumbent: base\n    incumbent: warm\n")),
        f"{EXPERIMENT}.incumbent",
    )

    assert issue.problem == "'incumbent' is written twice, on lines 6 and 7."


@pytest.mark.parametrize(("environ", "state"), [({}, "not set"), ({"PROVIDER_KEY": ""}, "empty")])
def test_a_missing_environment_variable_is_named(write: Write, environ: dict[str, str], state: str) -> None:
    """An unset or empty variable is a fault of its own."""
    with pytest.raises(ConfigError) as caught:
        load_config(write(GOOD), environ)

    (issue,) = caught.value.issues
    assert (issue.path, issue.line) == ("model_list[0].litellm_params.api_key", 3)
    assert issue.problem == f"The environment variable PROVIDER_KEY is {state}."


def test_environment_references_elsewhere_are_refused(issues: Issues) -> None:
    """References elsewhere would be taken literally, which is never meant."""
    issue = only(issues(GOOD.replace("You help.", "os.environ/PROMPT")), f"{EXPERIMENT}.policies.base.system")

    assert (
        issue.remedy == "Environment references work in litellm_params, auth, webhooks and promotion.confirm."
    )


def test_a_model_without_a_provider_is_refused(issues: Issues) -> None:
    """`model` says who answers."""
    issue = only(
        issues(GOOD.replace("openai/gpt-4o-mini", "gpt-4o-mini")), "model_list[0].litellm_params.model"
    )

    assert issue.problem == "'gpt-4o-mini' does not name a provider."
    assert "openai/gpt-4o-mini" in issue.remedy


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "timeout: sk-leak"),
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "api_base: sk-leak"),
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "api_keey: sk-leak"),
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "api_version: [sk-leak]"),
        GOOD.replace("api_key: os.environ/PROVIDER_KEY", "extra_headers: sk-leak"),
        GOOD.replace("{model: openai/gpt-4o-mini, api_key: os.environ/PROVIDER_KEY}", "sk-leak"),
        GOOD + "auth: sk-leak\n",
        GOOD + "auth: {client_keys: [sk-leak]}\n",
        GOOD + "auth: {client_keys: sk-leak}\n",
        GOOD + "auth: {admin_keys: [sha256:sk-leak]}\n",
        GOOD + "api_key: sk-leak\n",
    ],
)
def test_secrets_are_never_repeated(issues: Issues, text: str) -> None:
    """A key in the wrong place is reported by its place; what could be a secret is not shown."""
    assert "sk-leak" not in "\n".join(map(str, issues(text)))


@pytest.mark.parametrize("key", ["timeout", "model", "api_base"])
def test_values_from_the_environment_are_never_repeated(write: Write, key: str) -> None:
    """Only the name of the variable is shown when its value is wrong."""
    params = f"model: openai/m, {key}: os.environ/WRONG" if key != "model" else "model: os.environ/WRONG"
    text = GOOD.replace("model: openai/gpt-4o-mini, api_key: os.environ/PROVIDER_KEY", params)
    with pytest.raises(ConfigError) as caught:
        load_config(write(text), {"WRONG": "sk-leak"})

    assert "sk-leak" not in str(caught.value)
    assert caught.value.issues[0].path == f"model_list[0].litellm_params.{key}"


def test_a_plain_key_in_the_file_is_refused(issues: Issues) -> None:
    """The file holds hashes, so that a reader of the file cannot use the gateway."""
    found = issues(GOOD + "auth: {client_keys: [llmpo-plain-key]}\n")

    assert "llmpo keys new" in only(found, "auth.client_keys[0]").remedy


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("Hello\n{% if %}", "has a syntax error on line 2"),
        ("{{ user_message | shout }}", "has a syntax error on line 1"),
        ("Hello {{ user_mesage }}", "reads user_mesage, which is not defined"),
        ("{% include 'other.j2' %}", "refers to another template on line 1"),
    ],
)
def test_templates_that_cannot_work_are_refused_at_load(
    issues: Issues, tmp_path: Path, template: str, problem: str
) -> None:
    """A template is compiled, and the names it reads are known, before it serves anyone."""
    (tmp_path / "warm.j2").write_text(template, encoding="utf-8")
    text = GOOD.replace('system: "You help, warmly."', "template: warm.j2")
    issue = only(issues(text), f"{EXPERIMENT}.policies.warm.template")

    assert f"The template warm.j2 {problem}" in issue.problem


def test_a_misspelt_template_variable_names_the_right_one(issues: Issues, tmp_path: Path) -> None:
    """The remedy lists what a template may read."""
    (tmp_path / "warm.j2").write_text("{{ user_mesage }}", encoding="utf-8")
    (issue,) = issues(GOOD.replace('system: "You help, warmly."', "template: warm.j2"))

    assert issue.remedy == "Did you mean user_message? A template may read messages, metadata, user_message."


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), (b"\xff\xfe", "not UTF-8"), (b"x" * 1_000_001, "too large")],
)
def test_unreadable_templates_are_refused(
    issues: Issues, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    """The file must be there, be text, and be of a sane size."""
    if content is not None:
        (tmp_path / "warm.j2").write_bytes(content)
    (issue,) = issues(GOOD.replace('system: "You help, warmly."', "template: warm.j2"))

    assert problem in issue.problem


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("", "It is empty.", None),
        ("- a\n", "It does not hold `key: value` lines.", None),
        ("model_list:\n  - {a: b\nexperiments: 3\n", "It is not YAML", 3),
        ("a: *nothing\n", "It is not YAML: found undefined alias 'nothing'", 1),
        ("a: &a [*a]\n", "It is not YAML: an alias may not stand inside its own anchor", 1),
        ("{[a, b]: c}\n", "It is not YAML: a key must be plain text", 1),
        ("a: !!python/object:os.system x\n", "It is not YAML: could not determine a constructor", 1),
        ("a: \x07\n", "It is not YAML", None),
    ],
)
def test_files_that_are_no_configuration_say_so(
    issues: Issues, text: str, problem: str, line: int | None
) -> None:
    """A broken file is reported as one fault, with the line where the reader knows it."""
    (issue,) = issues(text)

    assert issue.problem.startswith(problem)
    assert issue.line == line


def test_a_path_no_file_can_have_is_refused(issues: Issues) -> None:
    """This includes paths that the system itself does not allow."""
    (issue,) = issues(GOOD.replace('system: "You help, warmly."', 'template: "a\\0b"'))

    assert "cannot be read: embedded null byte" in issue.problem


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: It cannot be read: No such file"):
        load_config(tmp_path / "nowhere.yaml", ENVIRON)


def test_missing_keys_say_what_to_add(issues: Issues) -> None:
    """A required key that is absent is described."""
    found = issues(GOOD.replace("    incumbent: base\n", ""))

    assert (
        "The policy that serves until another one is promoted"
        in only(found, f"{EXPERIMENT}.incumbent").remedy
    )
    assert only(issues("experiments: {}\n"), "model_list").problem == "This key is missing."


def with_fallbacks(**fallbacks: str) -> str:
    """The good file with these models, each with its fallbacks as YAML writes a list."""
    entry = "  - {{model_name: {}, litellm_params: {{model: openai/x}}, fallbacks: {}}}\n"
    models = "".join(entry.format(name, others) for name, others in fallbacks.items())
    return GOOD.replace("experiments:", models + "experiments:")


def test_an_unknown_fallback_is_refused(issues: Issues) -> None:
    """The error names the nearest known model."""
    issue = only(issues(with_fallbacks(big="[smal]")), "model_list[1].fallbacks[0]")
    assert issue.problem == "There is no model 'smal'."
    assert "Did you mean small?" in issue.remedy


@pytest.mark.parametrize(
    ("fallbacks", "path", "circle"),
    [
        ({"big": "[big]"}, "model_list[1].fallbacks[0]", "big -> big"),
        ({"big": "[small, mid]", "mid": "[big]"}, "model_list[1].fallbacks[1]", "big -> mid -> big"),
        (
            {"big": "[mid]", "mid": "[low]", "low": "[small, big]"},
            "model_list[3].fallbacks[1]",
            "low -> big -> mid -> low",
        ),
    ],
)
def test_fallbacks_in_a_circle_are_refused(
    issues: Issues, fallbacks: dict[str, str], path: str, circle: str
) -> None:
    """The circle is shown."""
    assert circle in only(issues(with_fallbacks(**fallbacks)), path).problem


def test_fallbacks_that_meet_again_are_no_circle(write: Write) -> None:
    """Two models may share a fallback, directly and by way of another."""
    config = load_config(write(with_fallbacks(big="[mid, small]", mid="[small]")), ENVIRON)
    assert [entry.fallbacks for entry in config.model_list] == [[], ["mid", "small"], ["small"]]
