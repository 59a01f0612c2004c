"""The demo's experiments, and the configuration file that its gateway is started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import yaml

# USD per token, so that the metrics show costs.
PRICES: Final = {
    "sim-small": {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07},
    "sim-large": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05},
}
ROLE: Final = "You are the support assistant of a coffee machine shop."


@dataclass(frozen=True, slots=True)
class SimulatedPolicy:
    """A candidate: which simulated model answers, under which system prompt."""

    name: str
    model: str
    system: str


@dataclass(frozen=True, slots=True)
class SimulatedExperiment:
    """An experiment of the demo. The first policy is the incumbent.

    `gives_thumbs`: users rate single answers, as its way of collecting needs; otherwise they ask for two and
    compare them.
    """

    name: str
    collect: str
    gives_thumbs: bool
    policies: tuple[SimulatedPolicy, ...]
    share: float
    min_comparisons: int
    epsilon: float
    delta: float = 0.05

    @property
    def incumbent(self) -> str:
        """The policy that answers ordinary traffic until a promotion."""
        return self.policies[0].name

    def section(self) -> dict[str, object]:
        """Its section of the gateway's configuration."""
        return {
            "incumbent": self.incumbent,
            "policies": {
                policy.name: {"model": policy.model, "system": policy.system} for policy in self.policies
            },
            "delta": self.delta,
            "epsilon": self.epsilon,
            "traffic": {"share": self.share, "collect": self.collect, "unit": "request"},
            "promotion": {"min_comparisons": self.min_comparisons, "min_duration": "0s"},
        }


# The best candidate is the small model with a better prompt, which costs less than the obvious choice.
SUPPORT: Final = SimulatedExperiment(
    name="support-assistant",
    collect="side_by_side",
    gives_thumbs=False,
    policies=(
        SimulatedPolicy("baseline", "sim-small", ROLE),
        SimulatedPolicy("brief", "sim-small", f"{ROLE} Be brief."),
        SimulatedPolicy("warm", "sim-small", f"{ROLE} Be warm."),
        SimulatedPolicy("bigger-model", "sim-large", ROLE),
        SimulatedPolicy(
            "stepwise",
            "sim-small",
            f"{ROLE} Answer in numbered steps with exact amounts, then ask whether it worked.",
        ),
    ),
    share=0.5,
    min_comparisons=100,
    epsilon=0.0,
)
# A second experiment beside it in the console: thumbs for single answers instead of side-by-side choices
# (which is slower), and a margin, so that it would end even between equals.
TONE: Final = SimulatedExperiment(
    name="tone-of-voice",
    collect="matched",
    gives_thumbs=True,
    policies=(
        SimulatedPolicy("neutral", "sim-large", ROLE),
        SimulatedPolicy("warm", "sim-large", f"{ROLE} Be warm, and ask whether it worked."),
    ),
    share=0.8,
    min_comparisons=200,
    epsilon=0.02,
)


def gateway_yaml(provider_url: str, experiments: tuple[SimulatedExperiment, ...] = (SUPPORT, TONE)) -> str:
    """The gateway's configuration file for these experiments on the simulated provider at `provider_url`."""
    models = sorted({policy.model for experiment in experiments for policy in experiment.policies})
    config = {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"openai/{model}",
                    "api_base": f"{provider_url}/v1",
                    "api_key": "simulated",
                    **PRICES[model],
                },
            }
            for model in models
        ],
        "experiments": {experiment.name: experiment.section() for experiment in experiments},
    }
    return yaml.safe_dump(config, sort_keys=False)
