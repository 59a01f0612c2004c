"""A policy turns the caller's body into the one its model receives, and leaves the caller's alone."""

from __future__ import annotations

import copy
import timeit
from typing import Any

import pytest

from gateway.config.gateway_file import GatewayConfig
from gateway.errors import GatewayError, RenderError
from gateway.experiments.policies import MAX_SYSTEM_CHARACTERS, compile_policies

from .conftest import Compile

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


def body(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A request with these messages, or one short question."""
    return {"model": "support", "messages": list(messages) or [{"role": "user", "content": "Hi?"}], **fields}


def test_a_bare_policy_sends_the_caller_s_messages(compiled: Compile) -> None:
    """Without prompt and parameters a policy only chooses the model."""
    assert compiled().render(body(temperature=0.7)) == body(temperature=0.7)


def test_the_policy_s_system_message_goes_first(compiled: Compile) -> None:
    """A system message of the caller is kept, right after the policy's."""
    caller = body({"role": "system", "content": "Mine."}, {"role": "user", "content": "Hi?"})

    assert compiled(system="Policy's.").render(caller)["messages"] == [
        {"role": "system", "content": "Policy's."},
        {"role": "system", "content": "Mine."},
        {"role": "user", "content": "Hi?"},
    ]


def test_the_policy_s_parameters_win(compiled: Compile) -> None:
    """What a policy fixes is what is compared; everything else is the caller's."""
    rendered = compiled(params={"temperature": 0.2, "stop": "END"}).render(body(temperature=1.5, top_p=0.9))

    assert (rendered["temperature"], rendered["top_p"], rendered["stop"]) == (0.2, 0.9, ["END"])


@pytest.mark.parametrize(
    ("fixed", "displaced"),
    [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")],
)
def test_one_length_limit_displaces_the_other(compiled: Compile, fixed: str, displaced: str) -> None:
    """Providers refuse a request that has both names of the limit."""
    rendered = compiled(params={fixed: 5}).render(body(**{displaced: 100}))

    assert rendered[fixed] == 5
    assert displaced not in rendered


def test_multimodal_content_survives(compiled: Compile) -> None:
    """Content made of parts passes as it is."""
    parts = [{"type": "text", "text": "What is this?"}, PICTURE]
    rendered = compiled(system="Look.").render(body({"role": "user", "content": parts}))

    assert rendered["messages"][1]["content"] == parts


@pytest.mark.parametrize(
    "spec",
    [
        {"system": "S", "params": {"temperature": 0, "stop": ["a"], "max_tokens": 3}},
        {"template": "{{ user_message }} {{ metadata }} {{ messages | length }}"},
        {},
    ],
    ids=["system", "template", "bare"],
)
def test_the_caller_s_body_is_never_changed(compiled: Compile, spec: dict[str, Any]) -> None:
    """Changing the rendered list changes neither the caller's body nor the policy."""
    policy = compiled(**spec)
    caller = body(metadata={"tier": "gold"}, max_completion_tokens=9, stop=["b"])
    before = copy.deepcopy(caller)
    rendered = policy.render(caller)
    rendered["messages"][0] = {"role": "system", "content": "changed"}
    rendered["messages"].append({"role": "user", "content": "changed"})

    assert caller == before
    assert policy.render(caller) == policy.render(before)


def test_a_template_sees_messages_metadata_and_the_last_user_text(compiled: Compile) -> None:
    """The system message may depend on the request."""
    policy = compiled(template="{{ messages | length }}/{{ metadata.tier }}/{{ user_message }}")
    caller = body(
        {"role": "user", "content": "First."},
        {"role": "assistant", "content": "Yes."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Second,"}, PICTURE, {"type": "text", "text": "third."}],
        },
        metadata={"tier": "gold"},
    )

    assert policy.render(caller)["messages"][0] == {"role": "system", "content": "3/gold/Second,\nthird."}


def test_text_is_not_escaped(compiled: Compile) -> None:
    """Prompts go to a model, not to a browser."""
    rendered = compiled(template="{{ user_message }}").render(
        body({"role": "user", "content": "a < b & 'c'"})
    )

    assert rendered["messages"][0]["content"] == "a < b & 'c'"


@pytest.mark.parametrize(
    "content",
    [None, 3, [], [{"type": "text"}], [{"type": []}], [{"type": {}, "text": "x"}], ["text"], [PICTURE]],
)
def test_user_messages_without_text_are_empty_text(compiled: Compile, content: Any) -> None:
    """A template can be rendered for messages of any shape."""
    rendered = compiled(template="<{{ user_message }}>").render(body({"role": "user", "content": content}))

    assert rendered["messages"][0]["content"] == "<>"


def test_metadata_may_be_absent_or_null(compiled: Compile) -> None:
    """A default in the template then applies."""
    policy = compiled(template="{{ metadata.tier | default('free') }}")

    assert policy.render(body())["messages"][0]["content"] == "free"
    assert policy.render(body(metadata=None))["messages"][0]["content"] == "free"


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ("Hello\n{{ metadata.tier }}", "on line 2: UndefinedError"),
        ("{{ user_message | int('x') + [] }}", "on line 1: TypeError"),
        ("{{ messages.append(1) }}", "on line 1: SecurityError"),
        ("{{ messages.__class__.__mro__ }}", "on line 1: SecurityError"),
        ("{% for i in range(10 ** 9) %}x{% endfor %}", "on line 1: OverflowError"),
        (
            f"{{% for i in range(100) %}}{'x' * (MAX_SYSTEM_CHARACTERS // 50)}{{% endfor %}}",
            "OverlongPromptError",
        ),
    ],
    ids=["undefined", "type", "mutation", "escape", "range", "size"],
)
def test_a_template_that_fails_raises_a_typed_error(compiled: Compile, template: str, kind: str) -> None:
    """The incumbent can then answer; the error names the place and the kind."""
    with pytest.raises(RenderError, match=kind) as caught:
        compiled(template=template).render(body())

    assert isinstance(caught.value, GatewayError)


def test_errors_hold_nothing_the_caller_sent(compiled: Compile) -> None:
    """An error's text may reach replies and logs, where prompts have no place."""
    policy = compiled(template="{{ metadata[user_message] }}")
    with pytest.raises(RenderError) as caught:
        policy.render(body({"role": "user", "content": "my password is hunter2"}))

    assert "hunter2" not in str(caught.value)


def test_policies_keep_the_order_of_the_file() -> None:
    """Indexing policies gives them as the configuration lists them, each with its own model."""
    config = GatewayConfig.model_validate(
        {
            "model_list": [
                {"model_name": name, "litellm_params": {"model": f"openai/{name}"}}
                for name in ("small", "large")
            ],
            "experiments": {
                "e": {
                    "incumbent": "z",
                    "policies": {"z": {"model": "large", "cost": 2}, "a": {"model": "small"}},
                }
            },
        }
    )
    policies = compile_policies(config, config.experiments["e"])

    assert [(policy.name, policy.model, policy.cost) for policy in policies] == [
        ("z", "large", 2),
        ("a", "small", 0),
    ]


def test_rendering_costs_microseconds(compiled: Compile) -> None:
    """No deep copies: a long conversation costs hardly more than a short one."""
    policy = compiled(system="S" * 2000, params={"temperature": 0.2})
    caller = body(*({"role": "user", "content": "x" * 1000} for _ in range(100)))
    best = min(timeit.repeat(lambda: policy.render(caller), number=1000, repeat=5)) / 1000

    assert best < 50e-6  # a few microseconds, with room for a busy machine
