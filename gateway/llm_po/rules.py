"""Every stopping rule by name, with its guarantee and its verdict on a tally.

A verdict follows from the tally and the design alone; `certificate.recompute` calls the same functions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from gateway.llm_po.checks import same_policies
from gateway.llm_po.evidence import Tally
from gateway.llm_po.glr import glr_verdict
from gateway.llm_po.last_look import with_last_look
from gateway.llm_po.stopping import Design, StoppingRule, Verdict, verdict
from gateway.llm_po.structured.goodness_of_fit import goodness_of_fit
from gateway.llm_po.structured.likelihood_ratio import lr_verdict

Guarantee = Literal["exact", "asymptotic"]

GUARANTEES: Final[dict[StoppingRule, Guarantee]] = {
    "e-process": "exact",
    "glr": "exact",
    "lr-mixture": "asymptotic",
}
"""Exact: the error level holds at every sample size. Asymptotic: in the limit, and if the structure is
right."""


def reached(tally: Tally, design: Design) -> Verdict | None:
    """The verdict that the design's rule supports now; None while there is none and the budget lasts.

    Raises:
        TallyError: If tally and design disagree about K.
    """
    same_policies(tally.policies, design.policies)
    if design.stopping == "e-process":
        return with_last_look(verdict(tally, design), tally, design)
    if not design.may_decide or tally.comparisons < design.min_comparisons:
        return None
    certified = _by_likelihood(tally, replace(design, min_comparisons=0, max_comparisons=None))
    if (
        certified is None
        and design.max_comparisons is not None
        and tally.comparisons >= design.max_comparisons
    ):
        return Verdict("inconclusive", None, None, None)
    return certified


def _by_likelihood(tally: Tally, design: Design) -> Verdict | None:
    """The verdict of a rule on likelihoods. Minimum and budget include ties, so the caller checks those."""
    if design.stopping == "glr" or design.features is None:
        return glr_verdict(tally.wins, design)
    certified = lr_verdict(tally.wins, design, design.features)
    if certified is None or not design.holds_on_misfit:
        return certified
    return None if goodness_of_fit(tally.wins, design.features).is_misfit else certified
