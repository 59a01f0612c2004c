"""What a confirm hook says of a certified policy."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel

from gateway.experiments.verbs import LONGEST_REASON

UNSAID: Final = "The hook gave no reason."


class HookAnswer(BaseModel):
    """Approval or veto, and why. What else a hook answers is dropped."""

    decision: Literal["approve", "veto"]
    reason: Annotated[str, AfterValidator(lambda text: text.strip()[:LONGEST_REASON] or UNSAID)] = UNSAID
