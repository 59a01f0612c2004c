"""What is missing of the two answers of a pair, and what that comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.config.feedback import Missing
from policy_store.log_records import Result
from policy_store.report_records import MissingVerdict


class Lack(NamedTuple):
    """What is missing of two answers to one request.

    Attributes:
        what: What decides.
        result: The result of their comparison, seen from the pair's first policy.
    """

    what: Missing
    result: Result


def lack_of_pair(
    rules: Mapping[Missing, MissingVerdict],
    first: Missing | None,
    second: Missing | None,
    *,
    is_shown: bool,
) -> Lack | None:
    """What two answers to one request come to if their user reports nothing; None if that does not count.

    A loss is worse than an answer that lacks nothing, and as bad as another loss; a tie is as good as
    anything. If no rule names what they lack, they are two answers without feedback.

    Args:
        rules: What each lack comes to.
        first: What the first policy's answer lacks.
        second: What the second policy's answer lacks.
        is_shown: Whether the user could compare them, and so report.
    """
    lacks = {what: rules[what] for what in (first, second) if what is not None and what in rules}
    if not lacks:
        is_silent = is_shown and Missing.NO_FEEDBACK in rules
        return Lack(Missing.NO_FEEDBACK, Result.TIE) if is_silent else None
    what = next(iter(lacks))
    if MissingVerdict.TIE in lacks.values() or (first in lacks and second in lacks):
        return Lack(what, Result.TIE)
    return Lack(what, Result.LOSS if first in lacks else Result.WIN)
