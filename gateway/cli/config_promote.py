"""`llmpo config promote`: writes a winner into the configuration file, and prints the patch."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.remote import DEFAULT_URL, KeyOption, experiment_path, get_json
from gateway.config.editing import with_incumbent
from gateway.config.environment import Environment
from gateway.config.load import load_config
from gateway.errors import GatewayError
from gateway.experiments.catalogue import definitions_of
from gateway.experiments.definitions import Definition
from policy_store.states import ExperimentState


@dataclass(frozen=True, slots=True)
class Winner:
    """A policy that serves because of a decision.

    Attributes:
        experiment: Name of its experiment.
        policy: Its name.
        fingerprint: Fingerprint of its content.
    """

    experiment: str
    policy: str
    fingerprint: str

    @classmethod
    def certified(cls, path: Path) -> Winner:
        """The winner that a certificate names.

        Raises:
            GatewayError: If the file cannot be read, or is no certificate that names a winner.
        """
        try:
            said: Mapping[str, Any] = json.loads(path.read_bytes())
            certificate = said.get("certificate", said)
            about, champion = certificate["experiment"], certificate["champion"]
            return cls(about["name"], about["policies"][champion], about["policy_fingerprints"][champion])
        except OSError as error:
            raise GatewayError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise GatewayError(f"{path} is no certificate that names a winner.") from error

    def check(self, definitions: Mapping[str, Definition], file: Path, *, compares_content: bool) -> None:
        """Refuse a file that lacks the policy, or defines it differently.

        Raises:
            GatewayError: Naming the policy and the file.
        """
        definition = definitions.get(self.experiment)
        policies = {} if definition is None else {each.name: each.fingerprint for each in definition.policies}
        if self.policy not in policies:
            raise GatewayError(f"{file} has no policy {self.policy!r} in experiment {self.experiment!r}.")
        if compares_content and policies[self.policy] != self.fingerprint:
            raise GatewayError(
                f"{file} defines {self.policy!r} of {self.experiment!r} otherwise than the policy that won. "
                "Put back what it was, or start a new experiment with it."
            )


def promote(
    file: Annotated[Path, typer.Argument(help="The configuration file.")],
    experiment: Annotated[
        str | None, typer.Option(help="Only this experiment [default: all that are decided].")
    ] = None,
    url: Annotated[str, typer.Option("--url", help="Ask this gateway for the winner.")] = DEFAULT_URL,
    certificate: Annotated[
        Path | None, typer.Option(help="Read the winner from a certificate instead.", show_default=False)
    ] = None,
    api_key: KeyOption = None,
    is_dry: Annotated[bool, typer.Option("--dry-run", help="Print the patch, and write nothing.")] = False,
    may_be_unset: Annotated[
        bool,
        typer.Option(
            "--without-environment",
            help="Leave out what refers to variables that are not set, and compare policies by name only.",
        ),
    ] = False,
) -> None:
    """Write the winner into the file, keeping comments and order, and print the patch as a unified diff.

    If the file defines the policy differently from the one that won, the command refuses. When a gateway
    takes up the new file, its evidence and the serving policy do not change.
    """
    config = load_config(file, Environment(os.environ), may_be_unset=may_be_unset)
    definitions = definitions_of(config)
    if experiment is not None and experiment not in definitions:
        raise GatewayError(f"{file} has no experiment {experiment!r}. There are: {', '.join(definitions)}.")
    names = [experiment] if experiment else list(definitions)
    winners = _of_gateway(url, api_key, names) if certificate is None else [Winner.certified(certificate)]
    if not winners:
        raise GatewayError(f"Nothing is decided: no policy was promoted in {', '.join(names)}.")
    # Not read as text, which would change the ends of lines.
    before = after = file.read_bytes().decode()
    for winner in winners:
        winner.check(definitions, file, compares_content=not may_be_unset)
        after = with_incumbent(after, winner.experiment, winner.policy)
    typer.echo(patch(file, before, after), nl=False)
    if after == before:
        typer.echo(f"{file} names the winner already.", err=True)
    elif not is_dry:
        _replace(file, after)


def _of_gateway(url: str, api_key: str | None, names: list[str]) -> list[Winner]:
    listed = {row["name"] for row in get_json(url, "/v1/experiments", api_key)["data"]}
    found = []
    for name in filter(listed.__contains__, names):
        answer = get_json(url, experiment_path(name), api_key)
        if ExperimentState(answer["state"]).facts.serves == "champion":
            details = {each["name"]: each["fingerprint"] for each in answer["policy_details"]}
            found.append(Winner(name, answer["incumbent"], details[answer["incumbent"]]))
    return found


def patch(file: Path, before: str, after: str) -> str:
    """The change as a unified diff, as `git apply` and `patch -p1` read it."""
    name = file.as_posix().lstrip("/")
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _replace(file: Path, text: str) -> None:
    """Write the file whole or not at all: a gateway may be watching it. Raises GatewayError."""
    target = file.resolve()
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        fresh.write_bytes(text.encode())
        fresh.chmod(target.stat().st_mode)
        fresh.replace(target)
    except OSError as error:  # in a directory that is read-only, or a file mounted into a container
        with suppress(OSError):
            fresh.unlink()
        raise GatewayError(
            f"{file} cannot be written: {error.strerror}. Apply the patch above by hand."
        ) from error
