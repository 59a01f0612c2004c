"""Whatever a file holds, reading it gives a configuration or a ConfigError, and repeats no secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.load import json_schema, load_config
from gateway.config.references import Fault, provider_faults, providers_named
from gateway.errors import ConfigError

from .conftest import ENVIRON, GOOD, Issues

SECRET = "sk-leak"
KEYS = sorted(
    {key for model in json_schema()["$defs"].values() for key in model["properties"]}
    | {"model_list", "experiments", "auth", "base", "warm", "support", "small"}
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["small", "base", "24h", "openai/x", "os.environ/PROVIDER_KEY", "os.environ/", "sha256:0", "matched"]
    ),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
quick = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path in plain data."""
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(found for key, value in inner for found in places(value, (*path, key)))]


GOOD_PLACES = places(yaml.safe_load(GOOD))[1:]


def good_with(path: tuple[Any, ...], value: Any) -> Any:
    """A right configuration with one part exchanged."""
    data = yaml.safe_load(GOOD)
    part = data
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return data


def read(directory: Path, text: str) -> str:
    """The issues of a file; empty if it is right."""
    path = directory / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    said = ""
    for environ in (ENVIRON, {}):
        try:
            load_config(path, environ, unknown_providers, may_be_unset=not environ)
        except ConfigError as error:
            said += str(error)
    return said


def unknown_providers(data: Any) -> Iterator[Fault]:
    """As `llmpo config check` looks for them."""
    return provider_faults(providers_named(data), {"openai"})


@quick
@given(path=st.sampled_from(GOOD_PLACES), value=ANYTHING)
def test_any_part_may_be_anything(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[Any, ...], value: Any
) -> None:
    """Replacing any part of a right file by anything is read or refused, never a crash."""
    read(tmp_path_factory.getbasetemp(), yaml.safe_dump(good_with(path, value)))


@quick
@given(text=st.text(alphabet=st.sampled_from("ab:- \n[]{}&*!<>#'\"|,?%@0e1.\t"), max_size=40))
def test_any_text_may_be_in_the_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Text that is or is not YAML is read or refused, never a crash."""
    read(tmp_path_factory.getbasetemp(), text)


@pytest.mark.parametrize("path", [path for path in GOOD_PLACES if path[0] == "model_list"], ids=str)
@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: [x], lambda x: {"key": x}, lambda x: {"model": {"a": x}}]
)
def test_a_misplaced_key_is_never_repeated(tmp_path: Path, path: tuple[Any, ...], wrap: Any) -> None:
    """A provider key pasted anywhere near the models is not shown, except as the name of a model."""
    said = read(tmp_path, yaml.safe_dump(good_with(path, wrap(SECRET))))

    if path[-1] not in {"model", "model_name"}:
        assert SECRET not in said


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000,
        "[" * 100_000,
        "".join(f"{' ' * depth}a:\n" for depth in range(300)),
        "x: {<<: {[a]: b}}",
        "a: 2024-13-45",
        "a: !!int abc",
        "a: " + "9" * 5000,
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
    ],
    ids=[
        "deep",
        "deeper than the stack",
        "deep blocks",
        "merged key",
        "date",
        "tag",
        "huge number",
        "aliases of aliases",
    ],
)
def test_hostile_yaml_is_one_fault(issues: Issues, text: str) -> None:
    """Depth, size and tricks end in a sentence about the file."""
    (issue,) = issues(text)

    assert issue.problem.startswith("It is not YAML: ")
