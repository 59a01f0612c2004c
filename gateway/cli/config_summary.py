"""What a configuration sets up, for `llmpo config check`."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.config.experiments import ExperimentSpec
from gateway.config.gateway_file import GatewayConfig
from gateway.config.judging import LiveJudgeSpec
from gateway.experiments.collecting import WAYS, Takes
from gateway.experiments.declared_caps import exposure_caps
from gateway.experiments.judge import counts_verdicts, share_judged
from gateway.experiments.promises import promised


class ConfigSummary:
    """Models, keys, and experiments with their main settings, of a configuration.

    Args:
        config: The whole file.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config

    def show(self, console: Console) -> None:
        """Print the whole summary; the terminal wraps long sentences."""
        console.print(self.models())
        for name, experiment in self._config.experiments.items():
            console.print(self.policies(name))
            typer.echo(terms(experiment))
        typer.echo(self.keys())

    def models(self) -> Table:
        """Each model with its address, without credentials."""
        table = Table("model", "is", "at", title="Models", title_justify="left")
        for entry in self._config.model_list:
            address = entry.litellm_params.api_base or "the provider's own address"
            scheme, mark, rest = address.partition("://")
            shown = f"{scheme}{mark}{rest.rpartition('@')[2]}"
            table.add_row(Text(entry.model_name), Text(entry.litellm_params.model), Text(shown))
        return table

    def policies(self, name: str) -> Table:
        """The policies of an experiment."""
        experiment = self._config.experiments[name]
        table = Table(
            "policy", "model", "prompt", "fixes", title=Text(f"Experiment {name}"), title_justify="left"
        )
        for policy_name, policy in experiment.policies.items():
            mark = " (incumbent)" if policy_name == experiment.incumbent else ""
            prompt = "system" if policy.system else "the caller's"
            if policy.template:
                prompt = policy.template.path
            fixed = ", ".join(f"{field}={value}" for field, value in policy.params.request_fields().items())
            table.add_row(Text(policy_name + mark), Text(policy.model), Text(prompt), Text(fixed))
        return table

    def keys(self) -> str:
        """The number of keys of each role in the file."""
        auth = self._config.auth
        named = [key.role for key in auth.keys.values()]
        clients = len(auth.client_keys) + named.count("client")
        admins = len(auth.admin_keys) + named.count("admin")
        return f"Keys in the file: {clients} for clients, {admins} for administrators."


def terms(experiment: ExperimentSpec) -> str:
    """Which traffic takes part in an experiment, and how it is decided."""
    traffic, budget, caps = experiment.traffic, experiment.max_comparisons, exposure_caps(experiment)
    bounds = [f"{name} answers at most {share:.4g} of all" for name, share in caps.max_shares.items()]
    if caps.min_share:
        bounds.append(f"the incumbent answers at least {caps.min_share:.4g} of all")
    return (
        f"{100 * traffic.share:.4g}% of the {traffic.unit}s take part, {traffic.collect}; "
        f"delta {experiment.delta:g}, epsilon {experiment.epsilon:g} "
        f"({promised(experiment.epsilon, experiment.promise).replace('_', ' ')}), "
        f"{'any number of' if budget is None else f'at most {budget}'} comparisons"
        f"{', with a last look' if experiment.last_look else ''}; "
        f"{experiment.space} space, {experiment.guarantee} guarantee by {experiment.stopping}"
        + "".join(f"; {bound}" for bound in bounds)
        + ("" if experiment.judge is None else f"; {judging_summary(experiment, experiment.judge)}")
    )


def judging_summary(experiment: ExperimentSpec, judge: LiveJudgeSpec) -> str:
    """Which requests a judge compares, and the most it may spend."""
    of = f"{100 * share_judged(judge):.4g}% of the other requests are judged"
    if WAYS[experiment.traffic.collect].takes is Takes.VERDICT:
        of = "judged"
    elif counts_verdicts(experiment):
        of += " as evidence"
    rubric = "no rubric" if judge.rubric is None else judge.rubric.path
    return f"{of} by {judge.model} ({rubric}), at most {judge.spend_per_day:g} USD a day"
