"""The frozen record of an experiment's present standing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from policy_store.experiment import Experiment
from policy_store.guard_records import GuardStanding
from policy_store.moves import MOVES, Move
from policy_store.plan_records import PublishedPlan
from policy_store.stage_records import Stage
from policy_store.states import ExperimentState
from policy_store.watch_records import Watch

# The fields of control that make a view, each behind the number of its generation or watch, in the order in
# which `scripts/shared/view.lua` reads them and `codec.view_from` takes them.
PLAN_FIELDS: Final = ("plan_version", "plan_fence", "plan_at", "plan", "plan_waiting", "plan_under_way")
VIEW_FIELDS: Final = (
    *("experiment", "state", "incumbent", "certificate"),
    *("steps", "step", "step_at", "step_comparisons", "look"),
    *PLAN_FIELDS,
)
WATCH_FIELDS: Final = ("champion", "previous", "terms", "started_at", "verdict", *PLAN_FIELDS)


@dataclass(frozen=True, slots=True)
class ExperimentView:
    """One consistent reading of an experiment, for the router and the pages.

    `revision` changes whenever anything the router reads (state, incumbent, plan, generation) changes.
    `watch` is that of the promotion in the present generation, if it is or was watched; `stage` says where a
    staged promotion stands; `guards` says which policies guardrails found worse. `look` is the revealed
    secret of the last look: None before, empty if lost.
    """

    experiment: Experiment
    generation: int
    revision: int
    state: ExperimentState
    incumbent: int
    plan: PublishedPlan | None
    certificate: dict[str, Any] | None
    watch: Watch | None = None
    stage: Stage | None = None
    look: str | None = None
    guards: GuardStanding = field(default_factory=GuardStanding)

    @property
    def may_take_look(self) -> bool:
        """Whether its budget may still end with a last look, which has not been taken yet."""
        return self.experiment.last_look and self.look is None and self.state in MOVES[Move.RUN_OUT].sources
