"""`llmpo config`: shows what is wrong with a configuration file, or what the file sets up."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.config_diff import diff
from gateway.cli.config_promote import promote
from gateway.cli.config_summary import ConfigSummary
from gateway.cli.printing import table_console
from gateway.cli.probing import obstacles, probe
from gateway.config.environment import Environment
from gateway.config.gateway_file import GatewayConfig
from gateway.config.load import json_schema, load_config
from gateway.config.references import provider_faults, providers_named
from gateway.errors import ConfigError
from gateway.experiments.catalogue import definitions_of
from gateway.experiments.declared_caps import exposure_issues
from gateway.experiments.judge import judge_issues
from gateway.running.logs import BLANK, redact_text
from gateway.upstream.prices import model_prices
from gateway.upstream.provider_needs import names_in_package
from gateway.upstream.targets import OUR_PROVIDERS, model_targets
from gateway.upstream.translating.upstream import provider_names

app = typer.Typer(no_args_is_help=True)
app.command()(diff)
app.command()(promote)


@app.callback()
def config() -> None:
    """Check, compare and change configuration files; print their JSON Schema."""


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The YAML file.", show_default=False)] = None,
    option: Annotated[
        Path | None, typer.Option("--config", help="The YAML file, as for `llmpo serve`.")
    ] = None,
    may_be_unset: Annotated[
        bool,
        typer.Option(
            "--without-environment", help="Leave out values that refer to variables that are not set."
        ),
    ] = False,
    is_probed: Annotated[
        bool, typer.Option("--probe", help="Ask each model once; this costs a few tokens per model.")
    ] = False,
) -> None:
    """Read a configuration as `llmpo serve` would: a summary, or every fault and exit status 2.

    Unknown providers are faults here. A warning names each model whose key or address is missing, or which
    LiteLLM cannot ask for another reason; without this check, that would show only at the first request. No
    provider is asked, except with --probe, where exit status 1 says that a model did not answer.
    """
    path = file or option
    if path is None or (file and option):
        raise typer.BadParameter("Name one file: llmpo config check FILE")
    environ = Environment(os.environ)
    loaded = load_config(
        path,
        environ,
        lambda data: provider_faults(
            providers_named(data), (names_in_package() or provider_names()) | OUR_PROVIDERS
        ),
        may_be_unset=may_be_unset,
    )
    issues = [issue for name, spec in loaded.experiments.items() for issue in exposure_issues(name, spec)]
    issues += judge_issues(loaded)
    if issues:
        raise ConfigError(issues)
    typer.echo(f"{path} is right.")
    ConfigSummary(loaded).show(table_console())
    if not may_be_unset:
        for name, obstacle in obstacles(loaded, environ):
            for secret in loaded.entry(name).litellm_params.secrets():
                obstacle = obstacle.replace(secret, BLANK)  # noqa: PLW2901 - without the secret from here on
            typer.echo(f"warning: model {name}: {redact_text(obstacle)}", err=True)
    _warn_of_unpriced(loaded)
    if is_probed:
        _probe(loaded)


def _warn_of_unpriced(loaded: GatewayConfig) -> None:
    """Say which guardrails on costs have answers that they cannot measure."""
    prices = model_prices(loaded.model_list)
    for name, definition in definitions_of(loaded).items():
        if unpriced := definition.unpriced(prices):
            policies = ", ".join(definition.policies[each].name for each in unpriced)
            typer.echo(
                f"warning: experiment {name}: its guardrail on cost measures no answer of {policies}, whose "
                "model has no known price. Set input_cost_per_token and output_cost_per_token.",
                err=True,
            )


def _probe(loaded: GatewayConfig) -> None:
    """Report for each model whether it answers. Raises typer.Exit if one does not."""
    found = asyncio.run(probe(list(model_targets(loaded.model_list, Environment(os.environ)).values())))
    for one in found:
        outcome = f"answered in {one.seconds:.2f} s" if one.failure is None else f"FAILED: {one.failure}"
        typer.echo(f"probe: model {one.model}: {outcome}")
        if one.may_be_native:
            typer.echo(
                f"probe: model {one.model}: its server answers /v1/messages itself: set `messages: native`."
            )
    if any(one.failure for one in found):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of the configuration file."""
    typer.echo(json.dumps(json_schema(), indent=2))
