"""`webhooks` in a configuration file."""

from __future__ import annotations

from base64 import b64encode

import pytest

from gateway.config.load import load_config
from gateway.errors import ConfigError
from tests.gateway.config.conftest import ENVIRON, GOOD, Issues, Write

SECRET = "whsec_" + b64encode(bytes(32)).decode()
HOOK = f"""
webhooks:
  - name: ops
    url: https://example.com/hooks/s3cr3t
    secret: {SECRET}
    experiments: [support]
    events: [promoted]
"""


def test_addresses_and_secrets_may_come_from_the_environment(write: Write) -> None:
    """Values are hidden when the configuration is printed, and left out if they are not set."""
    text = (
        GOOD + "webhooks: [{url: os.environ/HOOK, secret: os.environ/NEW, previous_secret: os.environ/OLD}]\n"
    )
    environ = {**ENVIRON, "HOOK": "https://example.com/s3cr3t", "NEW": SECRET, "OLD": SECRET}
    config = load_config(write(text), environ)
    (webhook,) = config.webhooks
    assert [secret.get_secret_value() for secret in webhook.secrets] == [SECRET, SECRET]
    assert webhook.label.startswith("hook-")
    assert "s3cr3t" not in repr(config)
    assert SECRET not in repr(config)
    assert load_config(write(text), ENVIRON, may_be_unset=True).webhooks == []


def test_a_webhook_wants_what_it_names(write: Write) -> None:
    """A webhook without a list of events gets every event."""
    (webhook,) = load_config(write(GOOD + HOOK), ENVIRON).webhooks
    assert webhook.wants("support", "promoted")
    assert not webhook.wants("support", "paused")
    assert not webhook.wants("sales", "promoted")


@pytest.mark.parametrize(
    ("right", "wrong", "path", "said"),
    [
        ("[promoted]", "[promotd]", "webhooks[0].events[0]", "There is no kind of event 'promotd'."),
        ("[promoted]", "[corrected]", "webhooks[0].events[0]", "only in logs, and are never delivered"),
        ("[support]", "[suport]", "webhooks[0].experiments[0]", "Did you mean support?"),
        (
            "https://example.com/hooks/s3cr3t",
            "ftp://s3cr3t",
            "webhooks[0].url",
            "This is not an HTTP address.",
        ),
        (
            "https://example.com/hooks/s3cr3t",
            "https://me:s3cr3t@example.com",
            "webhooks[0].url",
            "carries a user name or a password",
        ),
        (SECRET, "s3cr3t", "webhooks[0].secret", "This secret cannot sign webhooks."),
        (SECRET, "whsec_s3cr3t!", "webhooks[0].secret", "This secret cannot sign webhooks."),
        (SECRET, "whsec_czNjcjN0", "webhooks[0].secret", "24 to 64 random bytes"),
        (SECRET, "${s3cr3t}", "webhooks[0].secret", "is not looked up"),
        ("name: ops", "secrets: s3cr3t", "webhooks[0].secrets", "Did you mean secret?"),
        ("webhooks:", HOOK.lstrip("\n").rstrip("\n"), "webhooks[1].name", "'ops' is listed twice."),
    ],
)
def test_faults_are_named_and_secrets_are_not(
    issues: Issues, right: str, wrong: str, path: str, said: str
) -> None:
    """Each fault has its place and a remedy."""
    found = issues(GOOD + HOOK.replace(right, wrong))
    assert path in [issue.path for issue in found]
    text = " ".join(map(str, found))
    assert said in text
    assert "czNjcjN0" not in text
    assert "s3cr3t" not in text.replace("${s3cr3t}", "").replace("os.environ/s3cr3t", "")


def test_two_without_a_name_need_two_addresses(issues: Issues) -> None:
    """The store tells webhooks apart by what they are called."""
    unnamed = HOOK.replace("- name: ops", "- previous_secret: null")
    (issue,) = issues(GOOD + unnamed + unnamed.replace("webhooks:\n", ""))
    assert (issue.path, issue.remedy) == ("webhooks[1].name", "Give every webhook its own name.")


def test_two_variables_with_one_address_are_one_fault(write: Write) -> None:
    """Only the values of the variables show it, so the fault is the whole file's."""
    hooks = [f"{{url: os.environ/{name}, secret: {SECRET}}}" for name in ("HOOK", "TWIN")]
    address = "https://example.com/s3cr3t"
    with pytest.raises(ConfigError) as caught:
        load_config(
            write(GOOD + f"webhooks: [{', '.join(hooks)}]\n"),
            {**ENVIRON, "HOOK": address, "TWIN": address},
        )
    (issue,) = caught.value.issues
    assert issue.path == "(the whole file)"
    assert "webhooks.1.name: This address is listed twice" in issue.problem
    assert "s3cr3t" not in str(issue)


CONFIRM = f"""
    promotion:
      confirm: {{url: os.environ/HOOK, secret: {SECRET}, deadline: 1m, no_answer: reject}}
"""


def test_a_confirm_hook_may_come_from_the_environment(write: Write) -> None:
    """The hook's address is hidden as well, and the hook is left out if it is not set."""
    text = GOOD + CONFIRM.lstrip("\n")
    config = load_config(write(text), {**ENVIRON, "HOOK": "https://example.com/s3cr3t"})
    promotion = config.experiments["support"].promotion
    assert promotion.confirm is not None
    assert promotion.confirm.url.get_secret_value() == "https://example.com/s3cr3t"
    assert (promotion.asks_first, promotion.asks_a_person) == (True, False)
    assert "s3cr3t" not in repr(config)
    unset = load_config(write(text), ENVIRON, may_be_unset=True)
    assert unset.experiments["support"].promotion.confirm is None


@pytest.mark.parametrize(
    ("right", "wrong", "key"),
    [
        (SECRET, "s3cr3t", "secret"),
        ("os.environ/HOOK", "s3cr3t", "url"),
        ("no_answer: reject", "secrets: s3cr3t", "secrets"),
        ("no_answer: reject", "no_answer: s3cr3t", "no_answer"),
        ("1m", "s3cr3t", "deadline"),
    ],
)
def test_faults_of_a_confirm_hook_repeat_nothing(issues: Issues, right: str, wrong: str, key: str) -> None:
    """Operators put secrets into wrong places."""
    text = GOOD + CONFIRM.lstrip("\n").replace(right, wrong).replace("os.environ/HOOK", "https://example.com")
    (issue,) = issues(text)
    assert issue.path == f"experiments.support.promotion.confirm.{key}"
    assert "s3cr3t" not in str(issue) or key == "deadline"


def test_a_confirm_hook_is_not_for_steps(issues: Issues) -> None:
    """A confirm hook is asked before a promotion, and a staged promotion has no such moment."""
    text = (
        GOOD + CONFIRM.lstrip("\n").replace("os.environ/HOOK", "https://example.com") + "      mode: staged\n"
    )
    (issue,) = issues(text)
    assert issue.path == "experiments.support.promotion"
    assert "is for `mode: automatic` and `mode: approval`" in issue.problem
