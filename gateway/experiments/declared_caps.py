"""The caps (`exposure.py`) that an experiment's section declares, and whether they can be kept."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.config.experiments import ExperimentSpec
from gateway.errors import ConfigIssue
from gateway.experiments.collecting import WAYS
from gateway.experiments.exposure import TOLERANCE, ExposureCaps


def exposure_caps(spec: ExperimentSpec) -> ExposureCaps:
    """The caps that an experiment's section declares."""
    declared = ((name, policy.max_share) for name, policy in spec.policies.items())
    return ExposureCaps(
        share=spec.traffic.share,
        answers_per_unit=WAYS[spec.traffic.collect].answers_per_unit,
        max_shares={name: share for name, share in declared if share is not None},
        min_share=spec.traffic.min_share,
    )


def exposure_issues(name: str, spec: ExperimentSpec) -> Iterator[ConfigIssue]:
    """Faults of caps that no plan can keep while as many units take part as `traffic.share` says.

    Let s be `traffic.share` and g the share of a compared unit's answers that each policy of its pair gives:
    1/2 if one policy answers, 1 if both do. All those units can be compared if and only if

        the candidates' max_share (1 if there is none) sum to at least s g, and
        min_share <= 1 - s (1 - g).

    Necessary: every comparison has a candidate, which answers g of the unit, so candidates together answer at
    least s g; the incumbent answers at most all units that take no part and g of those that do, 1 - s + s g.
    Sufficient: always compare the incumbent, with each candidate in proportion to its max_share. A candidate
    then answers s g max_share over their sum, which is at most max_share, and the incumbent 1 - s + s g.
    Neither condition becomes harder to meet when another policy becomes the incumbent: a former incumbent is
    a candidate without a cap.
    """
    caps, path = exposure_caps(spec), f"experiments.{name}"
    if spec.incumbent in caps.max_shares:
        yield ConfigIssue(
            f"{path}.max_share" if spec.grid else f"{path}.policies.{spec.incumbent}.max_share",
            "The incumbent answers every unit that is not compared, so it has no cap.",
            "Cap the candidates, or set `traffic.min_share`.",
        )
        return
    if not caps.answers_per_unit:
        return
    answered = caps.answers_per_unit / 2
    candidates = sum(caps.max_shares.get(each, 1.0) for each in spec.policies if each != spec.incumbent)
    if candidates < caps.share * answered - TOLERANCE:
        yield ConfigIssue(
            f"{path}.traffic.share",
            f"The candidates may answer {candidates:.4g} of all units together (`max_share`), and comparing "
            f"{caps.share:g} of them needs {caps.share * answered:.4g}.",
            f"Lower `share` to {candidates / answered:.4g} or less, or raise a `max_share`.",
        )
    if caps.min_share > 1 - caps.share * (1 - answered) + TOLERANCE:
        yield ConfigIssue(
            f"{path}.traffic.min_share",
            f"With a `share` of {caps.share:g} the incumbent answers at most "
            f"{1 - caps.share * (1 - answered):.4g} of all units, less than {caps.min_share:g}.",
            f"Lower `share` to {(1 - caps.min_share) / (1 - answered):.4g} or less, or lower `min_share`.",
        )
