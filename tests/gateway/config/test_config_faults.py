"""A wrong configuration file: every fault, each with its place, what was found and what would be right."""

from __future__ import annotations

import pytest

from gateway.config.load import load_config

from .conftest import ENVIRON, EXPERIMENT, GOOD, Issues, Load, Write, only


@pytest.mark.parametrize(
    ("line", "path", "found", "remedy"),
    [
        ("delta: 0", "delta", "0 ", "at least 1e-100 and less than 1"),
        ("delta: 1", "delta", "1 ", "at least 1e-100 and less than 1"),
        ("delta: 1.0e-300", "delta", "1e-300 ", "at least 1e-100 and less than 1"),
        ("epsilon: 0.49999999999999994", "epsilon", "0.49999999999999994 ", "at most 0.49"),
        ("delta: .nan", "delta", "nan", "finite number"),
        ("delta: small", "delta", "'small'", "a number"),
        ('delta: "0.05"', "delta", "'0.05'", "a number"),
        ("delta: yes", "delta", "True", "a number"),
        ("epsilon: 0.5", "epsilon", "0.5", "at least 0 and at most 0.49"),
        ("epsilon: -0.1", "epsilon", "-0.1", "at least 0 and at most 0.49"),
        ("max_comparisons: 0", "max_comparisons", "0", "a whole number at least 1"),
        ("max_comparisons: 10.5", "max_comparisons", "10.5", "a whole number"),
        ("max_comparisons: 10", "max_comparisons", "10", "Raise max_comparisons"),
        ("space: metric", "space", "'metric'", "'unstructured'"),
        ("traffic: {share: 1.5}", "traffic.share", "1.5", "at least 0 and at most 1"),
        (
            "traffic: {collect: duel}",
            "traffic.collect",
            "'duel'",
            "'matched', 'side_by_side', 'regenerate' or 'shadow'",
        ),
        ("traffic: {collect: regenerate, unit: session}", "traffic", "each turn", "Leave `unit` out"),
        (
            "feedback: {window: 5m, regenerate: {within: 6m}}",
            "feedback",
            "longer than `window`",
            "Shorten it",
        ),
        ("segments: []", "segments", "0 entries", "at least 1"),
        ("segments: metadata.plan", "segments", "'metadata.plan'", "a list"),
        ("segments: [plan]", "segments", "'plan'", "`metadata.plan`"),
        ("segments: [metadata.user.plan]", "segments", "'metadata.user.plan'", "`metadata.plan`"),
        ("segments: [metadata.]", "segments", "'metadata.'", "letters, digits, - and _"),
        ("segments: [header.x-plan]", "segments", "'header.x-plan'", "`metadata.plan`"),
        ("segments: [metadata.user_id]", "segments", "one person", "have in common"),
        ("segments: [metadata.a, metadata.a]", "segments", "twice", "once"),
        ("segments: [metadata.a, metadata.b, metadata.c, metadata.d]", "segments", "4 entries", "at most 3"),
        ("segments: [1]", "segments[0]", "1", "text"),
        ("traffic: {unit: user}", "traffic.unit", "'user'", "'request' or 'session'"),
        ("traffic: 3", "traffic", "3", "a mapping"),
        ("feedback: {window: 24}", "feedback.window", "24", "90s, 15m, 24h or 7d"),
        ("feedback: {window: 1 day}", "feedback.window", "'1 day'", "90s, 15m, 24h or 7d"),
        ("feedback: {window: 0s}", "feedback.window", "some time", "24h"),
        ("feedback: {window: 400d}", "feedback.window", "400d", "365d"),
        ("feedback: {window: 99999999999999999999d}", "feedback.window", "too long", "365d"),
        ("feedback: {signals: {thumb: 0}}", "feedback.signals.thumb.weight", "weight of 0", "-1 to 1"),
        ("feedback: {signals: {thumb: 2}}", "feedback.signals.thumb.weight", "out of range", "at least -1"),
        (
            "feedback: {signals: {stars: {weight: 1, scale: [5, 1]}}}",
            "feedback.signals.stars.scale",
            "lowest to the highest",
            "[1, 5]",
        ),
        (
            "feedback: {signals: {thumb: {weight: 1, scale: [0, 1]}}}",
            "feedback",
            "'thumb' is true or false",
            "signal of their own",
        ),
        ("feedback: {signals: {}}", "feedback.signals", "0 entries", "at least 1"),
        ('feedback: {signals: {"a b": 1}}', 'feedback.signals["a b"]', "'a b'", "letters, digits"),
        ("feedback: {hold: 48h}", "feedback", "longer than `window`", "Raise `window`"),
        ("feedback: {hold: 0s}", "feedback.hold", "to the second", "1s"),
        ("feedback: {signals: {thumb: 1, abandoned: -1}}", "feedback", "'abandoned'", "hold: 6h"),
        (
            "feedback: {signals: {churned: {weight: -1, late: true}}}",
            *("feedback", "'churned'", "leave the signal out"),
        ),
        (
            "feedback: {hold: 1h, signals: {copied: {weight: 1, found: true}}}",
            *("feedback", "'copied' is none that the gateway finds", "continued, reasked"),
        ),
        (
            "feedback: {hold: 1h, signals: {reasked: {weight: -1, found: true, role: explicit}}}",
            *("feedback", "no user says it", "`role`"),
        ),
        ("feedback: {signals: {reasked: {weight: -1, found: true}}}", "feedback", "'reasked'", "hold: 6h"),
        (
            "feedback: {hold: 1h, signals: {abandoned: {weight: -1, found: true}}}",
            *("feedback", "`continued` is not", "List `continued`"),
        ),
        (
            (
                "feedback: {hold: 1h, missing: loss, signals: {abandoned: {weight: -1, found: true}, "
                "continued: {weight: 1, found: true}}}"
            ),
            *("feedback", "`missing.no_feedback` counts", "one of them"),
        ),
        ("feedback: {found: {question_similarity: 0}}", "feedback.found.question_similarity", "0", "greater"),
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


def test_a_model_without_a_provider_is_refused(issues: Issues) -> None:
    """`model` says who answers."""
    issue = only(
        issues(GOOD.replace("openai/gpt-4o-mini", "gpt-4o-mini")), "model_list[0].litellm_params.model"
    )

    assert issue.problem == "'gpt-4o-mini' does not name a provider."
    assert "openai/gpt-4o-mini" in issue.remedy


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


@pytest.mark.parametrize(
    ("cost", "says"), [("0", "of every policy"), ("1e308", "1e-06 and 1e+06"), ("5e-324", "1e-06 and 1e+06")]
)
def test_costs_that_no_planner_can_weigh_are_refused(
    issues: Issues, load: Load, cost: str, says: str
) -> None:
    """`objective: cost` takes costs of an ordinary size only; without it they only break ties."""
    text = GOOD.replace("base: {model: small", f"base: {{model: small, cost: {cost}")
    text = text.replace("warm: {model: small", "warm: {model: small, cost: 1")
    (issue,) = issues(text + "    objective: cost\n")
    assert says in f"{issue.problem} {issue.remedy}"
    assert load(text).experiments["support"].objective == "comparisons"
