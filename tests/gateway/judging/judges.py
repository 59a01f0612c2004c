"""Judges for tests: models of the fake provider that read the two answers of a judge's request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from gateway.config.gateway_file import GatewayConfig
from gateway.experiments.judge import CompiledJudge, compile_judge
from tests.gateway.building import NAME, config_fields
from tests.gateway.fake_upstream import Behaviour, Exchange, body

FREE: Final = {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0}
_QUOTED: Final = re.compile(r"\[answer [AB] (\w+)\]\n(.*?)\n\[end of answer [AB] \1\]", re.DOTALL)


def answers_seen(exchange: Exchange) -> tuple[str, str]:
    """The two answers in a judge's request, in its order."""
    first, second = _QUOTED.findall(exchange.seen.body["messages"][1]["content"])
    return first[1], second[1]


def judge_by(verdict: Callable[[str, str], str], finish_reason: str = "stop") -> Behaviour:
    """A judge that says a word for the answers A and B, and why its answer ends there."""

    async def behave(exchange: Exchange) -> None:
        said = json.loads(body(exchange, f"Compared.\n{verdict(*answers_seen(exchange))}"))
        said["choices"][0]["finish_reason"] = finish_reason
        await exchange.whole(json.dumps(said).encode())

    return behave


def likes(word: str) -> Behaviour:
    """A judge that prefers the answer with a word."""
    return judge_by(lambda a, b: "TIE" if (word in a) == (word in b) else "A" if word in a else "B")


ALWAYS_FIRST: Final = judge_by(lambda _a, _b: "A")


def compiled_judge(share: float) -> CompiledJudge:
    """A judge beside users."""
    traffic = {"share": 0.5, "collect": "matched"}
    config = GatewayConfig.model_validate(judged_fields(traffic=traffic, judge={"share": share}))
    judge = compile_judge(config, config.experiments[NAME])
    assert judge is not None
    return judge


def judged_fields(
    *, prices: dict[str, float] = FREE, params: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """A configuration whose experiment has the model `judge` as its judge; `params` are its policies'."""
    judge = {"model": "judge", "spend_per_day": 5.0, **changes.pop("judge", {})}
    experiment = {"traffic": {"share": 1.0, "collect": "shadow"}, **changes, "judge": judge}
    fields = config_fields(**experiment)
    for policy in fields["experiments"][NAME]["policies"].values():
        policy["params"] = params or {}
    models = [*fields["model_list"]]
    models.append({"model_name": "judge", "litellm_params": {**models[0]["litellm_params"]}})
    models[-1]["litellm_params"]["model"] = "openai/judge"
    for entry in models:
        entry["litellm_params"] |= prices
    return {**fields, "model_list": models}
