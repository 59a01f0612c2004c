"""Of every key that the store has it is decided whether a backup holds it."""

from __future__ import annotations

from inspect import signature
from typing import Final

from policy_store.backup_records import DECIDES, LEFT_OUT, SHARED, deciding_keys
from policy_store.names import ExperimentKeys, GenerationKeys, Names, WebhookKeys
from policy_store.roles import Role

NAMES: Final = Names("here:")
EXPERIMENT: Final = NAMES.experiment("support")
MARKS: Final = {
    *("added", "continued", "heard", "maker", "metric", "noticed", "rated", "ratings", "session", "sticky"),
    *("turn", "unit"),
}
# Parts of names, and other ways to the same keys.
NO_KEYS: Final = frozenset(
    {
        *("deliveries", "entry_of", "event_id", "experiment", "generation", "name", "named"),
        *("prefix", "queue", "root", "split", "tag", "webhook"),
    }
)


def ends(keys: Names | ExperimentKeys | GenerationKeys | WebhookKeys, start: str) -> dict[str, set[str]]:
    """What follows `start` in the keys that each public member gives."""
    found = {}
    for name in vars(type(keys)):
        if not name.startswith("_") and name not in NO_KEYS:
            made = getattr(keys, name)
            made = made(*map(str, range(len(signature(made).parameters)))) if callable(made) else made
            found[name] = {key.removeprefix(start) for key in ([made] if isinstance(made, str) else made)}
    return found


def test_every_key_of_an_experiment_decides_or_is_a_mark_or_is_left_out() -> None:
    """A new key fails here until it is said which: one that decides has to be read with the others."""
    start = f"{EXPERIMENT.prefix}:"
    read = {key.removeprefix(start) for key in deciding_keys(EXPERIMENT, {"1:policies": "2"})}
    found = ends(EXPERIMENT, start) | ends(EXPERIMENT.generation(1), start)
    decides = {name for name, own in found.items() if any(map(DECIDES.fullmatch, own))}
    left_out = {name for name, own in found.items() if any(map(LEFT_OUT.fullmatch, own))}

    assert left_out == {"lease", "look", "staged"}
    assert found.keys() - decides - left_out == MARKS
    assert {name for name in decides if not found[name] <= read} == {"votes"}  # read little by little
    assert all(map(DECIDES.fullmatch, read | found["votes"]))


def test_what_only_informs_is_backed_up_like_evidence() -> None:
    """Each role has a ledger with the same keys, also when a role is new."""
    start = f"{EXPERIMENT.prefix}:"
    read = {key.removeprefix(start) for key in deciding_keys(EXPERIMENT, {"1:policies": "2"})}
    evidence = {end for end in read if end.startswith("1:") and end.split(":")[1] not in set(Role)}
    for role in Role:
        assert {f"1:{role}:{end.removeprefix('1:')}" for end in evidence} <= read


def test_every_key_that_experiments_share_is_backed_up_or_left_out() -> None:
    """What only running gateways need is in no backup, nor is whose store it is."""
    webhook = NAMES.webhook("alerts")
    found = ends(NAMES, NAMES.root) | ends(webhook, NAMES.root)
    held = {name for name, own in found.items() if all(map(SHARED.fullmatch, own))}

    assert held == {"answer", "api_keys", "dead", "due", "messages", "token_key"}
    assert found.keys() - held == {
        "confirmed",
        "experiments",
        "identity",
        "lease",
        "limits",
        "replicas",
        "trial",
    }
    assert not any(SHARED.fullmatch(end) for name in found.keys() - held for end in found[name])
    control = webhook.deliveries[0].removeprefix(NAMES.root)
    assert SHARED.fullmatch(control)
