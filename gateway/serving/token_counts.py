"""Counts the tokens of a message, as its model's provider counts them.

Counting is no answer, so it leads to no fallback or ejection and counts for no policy. An experiment counts
with the prompt of its incumbent, the one policy that may answer any request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import UpstreamError
from gateway.experiments.snapshot import Snapshot, unknown_model
from gateway.upstream.base import ModelTarget, PolicyPart, Upstream, UpstreamRequest
from gateway.upstream.json_text import parsed
from gateway.upstream.surfaces import MESSAGES, TOKEN_COUNT


@dataclass(frozen=True, slots=True)
class Counted:
    """A message and its number of tokens.

    Attributes:
        payload: The message as its model would get it.
        tokens: The provider's count; None if it gives none.
    """

    payload: Mapping[str, Any]
    tokens: int | None


class TokenCounts:
    """Asks providers that speak Anthropic's format.

    Args:
        upstream: Calls them.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def count(self, payload: dict[str, Any], headers: Mapping[str, str], snapshot: Snapshot) -> Counted:
        """The tokens of a checked request.

        Raises:
            UnknownModelError: If there is no model or experiment of that name.
            RenderError: If the incumbent's template failed.
            UpstreamError: If the provider finds fault with the request.
        """
        target, sent, part = _as_sent(payload, snapshot)
        if not target.speaks(MESSAGES):
            return Counted(sent, None)
        asked = UpstreamRequest(target, sent, TOKEN_COUNT, headers, policy_part=part)
        try:
            answer = await self._upstream.complete(asked)
        except UpstreamError as error:
            if error.is_callers_fault:
                raise
            return Counted(sent, None)  # the server has no such route or failed, so an estimate is used
        return Counted(sent, parsed(answer.body)[TOKEN_COUNT.items])


def _as_sent(payload: dict[str, Any], snapshot: Snapshot) -> tuple[ModelTarget, dict[str, Any], PolicyPart]:
    """The target that would be asked, and the request (for an experiment, with the incumbent's prompt)."""
    name = payload["model"]
    experiment = snapshot.experiments.get(name)
    if experiment is None:
        if name not in snapshot.models:
            raise unknown_model(name, snapshot)
        return snapshot.models[name], payload, PolicyPart()
    policy = experiment.policies[experiment.incumbent]
    rendered, part = policy.put_to(payload, MESSAGES.name)
    prompt = {"system": rendered["system"]} if "system" in rendered else {}
    return snapshot.models[policy.model], {**payload, **prompt}, part
