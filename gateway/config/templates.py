"""Prompt templates: one sandboxed Jinja environment, and the checks that a template has to pass at start.

A template sees `messages`, `metadata` and `user_message` and gives the text of a system message. It runs
in a sandbox and cannot change its variables, and every name that it reads must exist.
"""

from __future__ import annotations

import difflib
from typing import Final

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

VARIABLES: Final = ("messages", "metadata", "user_message")


class TemplateProblem(Exception):  # noqa: N818 - becomes a ConfigError where its place in the file is known
    """A template that cannot be used: what is wrong with it, and what would be right."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy


# The text goes to a model, not to a browser; escaping HTML would corrupt it.
_ENVIRONMENT: Final = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=False
)
del _ENVIRONMENT.globals["lipsum"]  # random filler text has no place in a prompt


def check_template(text: str) -> None:
    """Refuse a template with a syntax error, another file to include, or a name that is not defined.

    Raises:
        TemplateProblem: The first fault found, with its line where Jinja knows it.
    """
    try:
        tree = _ENVIRONMENT.parse(text)
        _ENVIRONMENT.compile(tree)  # unknown filters and tests show only here
    except jinja2.TemplateSyntaxError as error:
        raise TemplateProblem(
            f"has a syntax error on line {error.lineno}: {str(error.message).rstrip('.')}.",
            "Correct the Jinja syntax.",
        ) from error
    # Compiling folds constants into the tree, so names are read from a fresh one.
    tree = _ENVIRONMENT.parse(text)
    if included := next(tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)), None):
        raise TemplateProblem(
            f"refers to another template on line {included.lineno}.", "Put the whole prompt into one file."
        )
    unknown = sorted(meta.find_undeclared_variables(tree) - set(VARIABLES) - set(_ENVIRONMENT.globals))
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0], VARIABLES, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise TemplateProblem(
        f"reads {', '.join(unknown)}, which is not defined.",
        f"{hint}A template may read {', '.join(VARIABLES)}.",
    )


def compile_template(text: str) -> jinja2.Template:
    """A template ready to render; `check_template` has accepted the text before."""
    return _ENVIRONMENT.from_string(text)
