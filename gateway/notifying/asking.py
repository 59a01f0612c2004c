"""Puts a confirm hook's question to its receiver, signed like a webhook, and reads what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError

from gateway.config.webhooks import Receiver
from gateway.experiments.hook_answer import HookAnswer
from gateway.notifying.sending import Sender
from gateway.running.logs import get_logger

_log = get_logger(__name__)

_MOST_READ: Final = 64 * 1024


async def ask_hook(
    sender: Sender, receiver: Receiver, question_id: str, question: Mapping[str, Any]
) -> HookAnswer | None:
    """The receiver's answer; None where it gives none that can be read, so that it is asked again."""
    body = json.dumps({"type": "promotion.confirm", "data": question}, separators=(",", ":"))
    receipt = await sender.send(receiver, question_id, body, most_read=_MOST_READ)
    reason = receipt.reason
    if receipt.is_taken:
        try:
            return HookAnswer.model_validate_json(receipt.body)
        except ValidationError:
            reason = "its answer is not a decision"
    _log.warning("confirm_hook_not_answered", experiment=question["experiment"], reason=reason)
    return None
