"""Details of the events about guardrails (`events.py` has the kinds)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GuardrailTripped:
    """A guardrail found a policy worse than the one it is compared with, by more than its tolerance.

    Attributes:
        guardrail: Its name.
        policy: Index of the policy found worse; gateways tell its name.
        reference: Index of the policy it was compared with; gateways tell its name.
        did: What followed: `ejected`, `paused`, `asked`, `taken_back` or `noted`.
        run: The number under which the pairs were counted: the generation, or the run of a watch.
        count: Which count of the policy it was; a person who admits it again begins another.
        contrast: Factors of the two numbers and what is added to them, as `llm_po.guardrails.Contrast` says.
        level: Largest probability that it ever finds a policy worse that is not.
        hour: Which hour of counting the pairs are from, or None for all of them.
        pairs: The counted pairs: the policy's number in steps, the other's, and how often.
        nats: The evidence.
        needed_nats: The evidence at which it trips.
        worse: The policy's mean number, in the metric's own unit.
        usual: The other's.
        fence: The fencing number of the planner that saw it.
        generation: The generation.
    """

    guardrail: str
    policy: int | str
    reference: int | str
    did: str
    run: int
    count: int
    contrast: list[float]
    level: float
    hour: int | None
    pairs: list[list[int]]
    nats: float
    needed_nats: float
    worse: float
    usual: float
    fence: int
    generation: int


@dataclass(frozen=True, slots=True)
class Readmitted:
    """A person admits a policy again that guardrails found worse.

    Attributes:
        actor: Name of the person's API key; `open` if none is needed.
        reason: The person's words.
        policy: Index of the policy; gateways tell its name.
        guardrails: The guardrails that had found it worse.
        generation: The generation.
    """

    actor: str
    reason: str
    policy: int | str
    guardrails: list[str]
    generation: int
