"""The closed set of roles in which comparisons come; each has a ledger of its own where it only informs.

Comparisons that are evidence are all in one ledger. Those of a role that is not promoted on
(`feedback.promote_on`) are counted by the same scripts under keys of their own, where there are no forecasts:
so they add nothing to the evidence, and their log is apart (docs/decisions/0127-roles.md).
"""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """Who says what a comparison says."""

    EXPLICIT = "explicit"  # a user who was asked, or pressed something to say it
    IMPLICIT = "implicit"  # what a user did, or did not do
    JUDGE = "judge"  # a model that compared two answers
