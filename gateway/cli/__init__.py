"""The `llmpo` command: its subcommands and their exit statuses.

Commands are listed here by module path and imported only when they run, so that `llmpo --help` answers at
once and a command loads only the modules it needs.

Exit statuses: 0 done; 1 the command failed, or a check found something false; 2 wrong usage or configuration;
130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from gateway import __version__
from gateway.errors import ConfigError, GatewayError
from gateway.running.memory import loading
from policy_store.errors import StoreError

FAILED: Final = 1
MISUSED: Final = 2
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command and where it is defined: `target` is `module:attribute`, a typer app or a function."""

    name: str
    target: str
    summary: str

    def stub(self) -> TyperCommand:
        """A stand-in that shows the command in lists without importing it."""
        return TyperCommand(self.name, help=self.summary)

    def load(self) -> Any:
        """The command itself."""
        module, _, attribute = self.target.partition(":")
        with loading():
            found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            found.rich_markup_mode = None
            command: Any = typer.main.get_group(found)
        else:
            alone = typer.Typer(add_completion=False, rich_markup_mode=None)
            alone.command()(found)
            command = typer.main.get_command(alone)
        command.name = self.name
        return command


COMMANDS: Final = {
    command.name: command
    for command in (
        LazyCommand("serve", "gateway.cli.serve:serve", "Run the gateway."),
        LazyCommand(
            "demo", "gateway.cli.demo:app", "Watch a promotion happen: simulated providers and users."
        ),
        LazyCommand("config", "gateway.cli.config:app", "Check, compare and change configuration files."),
        LazyCommand(
            "optimize", "gateway.cli.optimize:optimize", "Find the best policy on a list of tasks, offline."
        ),
        LazyCommand("keys", "gateway.cli.keys:app", "Make, list and revoke API keys."),
        LazyCommand("experiments", "gateway.cli.experiments:app", "Show experiments, and control them."),
        LazyCommand(
            "webhooks",
            "gateway.cli.webhooks:app",
            "Look at webhooks, test them, replay what was not delivered.",
        ),
        LazyCommand(
            "store", "gateway.cli.store:app", "Show the state of the store; accept it after it lost data."
        ),
        LazyCommand("backup", "gateway.cli.backup:backup", "Write experiments to a file."),
        LazyCommand("restore", "gateway.cli.backup:restore", "Put experiments from such a file in force."),
        LazyCommand("archive", "gateway.cli.archive:archive", "Keep experiments' logs in files."),
        LazyCommand("verify", "gateway.cli.verify:verify_decision", "Recompute a promotion's certificate."),
        LazyCommand(
            "simulate",
            "gateway.cli.simulate:simulate_worlds",
            "Run a method in a world of known preferences.",
        ),
        LazyCommand(
            "estimate",
            "gateway.cli.estimate:estimate_experiment",
            "Say how long an experiment will take, before it runs.",
        ),
        LazyCommand(
            "hardness",
            "gateway.cli.hardness:hardness",
            "Compute how many comparisons a world needs, and of which pairs.",
        ),
    )
}


class LazyGroup(TyperGroup):
    """Lists stand-ins for `COMMANDS` and imports only the command that runs."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": {name: found.stub() for name, found in COMMANDS.items()}})

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` start with, imported; a usage error where there is none."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and COMMANDS[name].load(), rest


# Plain text everywhere: importing the library that draws frames around help takes longer than everything
# else.
app = typer.Typer(
    cls=LazyGroup,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """An LLM gateway that finds, proves and promotes the best policy."""
    if version:
        typer.echo(f"llmpo {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; an expected error is one line on standard error."""
    try:
        typer.main.get_command(app).main(args=arguments, prog_name="llmpo")
    except SystemExit as finished:
        return finished.code if isinstance(finished.code, int) else int(finished.code is not None)
    except (GatewayError, StoreError) as error:
        for fault in faults_of(error):
            complain(fault)
        return status_of(error)
    return 0


def status_of(error: GatewayError | StoreError) -> int:
    """The exit status of a command that ends with this error."""
    return MISUSED if isinstance(error, ConfigError) else FAILED


def faults_of(error: GatewayError | StoreError) -> tuple[str, ...]:
    """What an error says, one text for each fault."""
    if isinstance(error, ConfigError):
        return tuple(str(issue) for issue in error.issues)
    return (str(error) or type(error).__name__,)


def complain(text: str) -> None:
    """Say on standard error what went wrong."""
    sys.stderr.write(f"error: {text}\n")
