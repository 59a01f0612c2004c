"""Translates between records and the store's text: arguments and results of scripts, and log entries."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final, cast

from policy_store.counts import Builds, Counts, Results, Segments, Trials, Waiting
from policy_store.errors import NewerVersionError
from policy_store.events import LoggedEvent
from policy_store.experiment import Experiment
from policy_store.guard_records import GuardStanding
from policy_store.log_records import Comparison, Inherited, LoggedPlan, LogRecord, Result
from policy_store.plan_records import Forecast, PlannedPair, ProposedPlan, PublishedPlan
from policy_store.report_records import Receipt, Recorded, Report
from policy_store.stage_records import Stage, StageStep
from policy_store.states import ExperimentState
from policy_store.view import ExperimentView
from policy_store.watch_records import Watch, WatchTerms

_MICRO: Final = 1_000_000
_SOURCE: Final = "source:"
_SIDE: Final = "side:"
_SERVED: Final = "served:"
_RESULT: Final = "result:"
_AT_HALF: Final = "half"
_UNIT_DIGITS: Final = 12  # of a unit in the log: among a million units, two begin alike once in 500 logs
_RECEIPTS: Final = {receipt.value: receipt for receipt in Receipt}
_FIRST: Final = 3  # position of the first policy's index in a report, see scripts/shared/reports.lua


def dump_json(value: Any) -> str:
    """Canonical JSON, so that scripts recognise a repeated call by its equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def seconds(micros: str) -> float:
    """Unix seconds from the store's microseconds."""
    return int(micros) / _MICRO


def pair_of_held(member: str) -> tuple[int, int]:
    """The pair of a held report, from its member of the sorted set."""
    said = json.loads(member.partition(" ")[2])
    return int(said[_FIRST]), int(said[_FIRST + 1])


def micros(at: float) -> int:
    """The time in microseconds, as scripts take it, from Unix seconds."""
    return round(at * _MICRO)


def plan_to_json(plan: ProposedPlan) -> str:
    """A proposal in the form that the store keeps."""
    written = {field.name: getattr(plan, field.name) for field in fields(plan)}
    written["pairs"] = [[pair.first, pair.second, pair.probability] for pair in plan.pairs]
    if not plan.used:  # as in plans from before there was any, which earlier versions can read
        del written["used"]
    return dump_json(written)


def plan_from_json(
    text: str,
    *,
    version: str,
    fence: str,
    at: str,
    waiting: str | None = None,
    under_way: str | None = None,
) -> PublishedPlan:
    """The plan in force, from its proposal and the fields that the store set."""
    written = json.loads(text)
    written["pairs"] = tuple(PlannedPair(*pair) for pair in written["pairs"])
    for name in ("evidence_nats", "needed_nats"):
        written[name] = tuple(written[name])
    lengths = (field.split("=") for field in (waiting or "").split())
    return PublishedPlan(
        ProposedPlan(**written),
        int(version),
        int(fence),
        seconds(at),
        _waiting_from(dict(lengths)),
        float(under_way or 0.0),
    )


def _waiting_from(lengths: Mapping[str, str]) -> dict[tuple[int, int], Waiting]:
    """The waiting outcomes by pair, from counts by `first:second:side`; pairs without any are left out."""
    found: dict[tuple[int, int], Waiting] = {}
    for name, length in lengths.items():
        first, second, side = map(int, name.split(":"))
        before = found.get((first, second), (0, 0))
        found[first, second] = (int(length), before[1]) if side == 0 else (before[0], int(length))
    return {pair: waiting for pair, waiting in found.items() if any(waiting)}


def forecast_fields(forecasts: Iterable[Forecast]) -> list[str]:
    """Alternating fields and values of the forecasts hash.

    `first:second` has the probability and the increments. Where forecasts go on, `first:second:on` has the
    other side's probability, both weights and the thresholds; earlier versions do not read it.
    """
    written = []
    for forecast in forecasts:
        pair = f"{forecast.first}:{forecast.second}"
        numbers = (forecast.probability_millionths, *forecast.increments, *(forecast.at_half or ()))
        written += [pair, ",".join(str(int(number)) for number in numbers)]
        if forecast.goes_on is not None:
            weights = (forecast.second_millionths, *forecast.goes_on.weights)
            thresholds = map(repr, forecast.goes_on.thresholds)
            written += [f"{pair}:on", ",".join((*map(str, weights), *thresholds))]
    return written


def logged_forecasts(forecasts: Iterable[Forecast]) -> str:
    """Forecasts as the log holds them: `first:second:probability...`, separated by spaces."""
    return " ".join(":".join(map(str, each.logged)) for each in forecasts)


def view_from(reply: Sequence[Any]) -> ExperimentView:
    """The view, from the result of `view` in shared/view.lua.

    Raises:
        NewerVersionError: A newer version moved the experiment to a state that this version does not know.
    """
    _, generation, revision, stored, watched, guards = reply
    experiment, state, incumbent, certificate, steps, step, step_at, step_comparisons, look, *plan = stored
    standing = _state_from(state)
    return ExperimentView(
        experiment=Experiment.from_json(experiment),
        generation=int(generation),
        revision=int(revision),
        state=standing,
        incumbent=int(incumbent),
        plan=_plan_from(*plan),
        certificate=json.loads(certificate) if certificate else None,
        watch=watch_from(*watched) if watched else None,
        stage=_stage_from(steps, step, step_at, step_comparisons) if standing.facts.is_staged else None,
        look=look,
        guards=GuardStanding.from_text(guards),
    )


def steps_to_json(steps: Iterable[StageStep]) -> str:
    """The steps of a staged promotion as the store keeps them."""
    return dump_json([asdict(step) for step in steps])


def _stage_from(steps: str, step: str, step_at: str, comparisons: str) -> Stage:
    return Stage(
        steps=tuple(StageStep(**each) for each in json.loads(steps)),
        step=int(step),
        started_at=seconds(step_at),
        comparisons=int(comparisons),
    )


def _plan_from(
    version: str | None,
    fence: str | None,
    at: str | None,
    plan: str | None,
    waiting: str | None,
    under_way: str | None,
) -> PublishedPlan | None:
    """From what `plan_fields` in shared/view.lua name."""
    if not (plan and version and fence and at):
        return None
    return plan_from_json(plan, version=version, fence=fence, at=at, waiting=waiting, under_way=under_way)


def watch_from(
    run: str, champion: str, previous: str, terms: str, started_at: str, verdict: str | None, *plan: Any
) -> Watch:
    """From the fields of a watch's run in control, as shared/view.lua names them."""
    return Watch(
        run=int(run),
        champion=int(champion),
        previous=int(previous),
        terms=WatchTerms(**json.loads(terms)),
        started_at=seconds(started_at),
        plan=_plan_from(*plan),
        verdict=json.loads(verdict) if verdict else None,
    )


def _state_from(text: str) -> ExperimentState:
    try:
        return ExperimentState(text)
    except ValueError as error:
        raise NewerVersionError(
            f"The experiment is {text!r}, a state this version does not know; upgrade this gateway."
        ) from error


def counts_from(reply: Sequence[Any]) -> Counts:
    """The counts, from the result of counts.lua."""
    _, policies, started_at, now, flat, policies_ever, inherited, inherited_from, waiting, held, *tried = (
        reply
    )
    counted = dict(zip(flat[::2], map(int, flat[1::2]), strict=True))
    return Counts(
        started_at=seconds(started_at),
        now=seconds(now),
        policies_ever=int(policies_ever or policies),
        inherited=int(inherited or 0),
        inherited_from=int(inherited_from) if inherited_from else None,
        waiting=_waiting_from(dict(zip(waiting[::2], waiting[1::2], strict=True))),
        reports_held=int(held),
        votes=counted.get("votes", 0),
        voters=counted.get("voters", 0),
        largest_voter=counted.get("largest_voter", 0),
        over_key_share=counted.get("over_key_share", 0),
        sides={
            cast("tuple[int, int, int, int]", tuple(map(int, name.removeprefix(_SIDE).split(":")))): value
            for name, value in counted.items()
            if name.startswith(_SIDE)
        },
        trials=_trials_from(*tried) if tried else None,
        builds=_builds_from(counted),
        by_source={
            name.removeprefix(_SOURCE): value for name, value in counted.items() if name.startswith(_SOURCE)
        },
        **_ledger(counted, int(policies)),
    )


def _trials_from(since: str, amounts: Sequence[str | None]) -> Trials:
    """From how often each policy was asked and how often it failed, in turn."""
    numbers = [int(amount or 0) for amount in amounts]
    return Trials(seconds(since), tuple(numbers[::2]), tuple(numbers[1::2]))


def _builds_from(counted: Mapping[str, int]) -> dict[int, Builds]:
    """What a counts hash says of the builds that served each policy; none where no provider named one."""
    found: dict[int, dict[str, int]] = {}
    for name, value in counted.items():
        if name.startswith(_SERVED):
            policy, _, build = name.removeprefix(_SERVED).partition(":")
            found.setdefault(int(policy), {})[build] = value
    return {
        policy: Builds(
            comparisons=served.pop(""),
            by_build=served,
            different=counted[f"builds:{policy}"],
            changes=counted.get(f"changes:{policy}", 0),
            changed_at=counted.get(f"changed_at:{policy}"),
        )
        for policy, served in sorted(found.items())
    }


def segments_from(counted: Mapping[str, str]) -> Segments:
    """The results in each segment by pair, from fields `result:first:second:result:path=value`."""
    found: dict[tuple[str, str], dict[tuple[int, int], dict[str, int]]] = {}
    for name, value in counted.items():
        if name.startswith(_RESULT):
            place, _, segment = name.removeprefix(_RESULT).partition("=")
            first, second, result, path = place.split(":", 3)
            pairs = found.setdefault((path, segment), {})
            pairs.setdefault((int(first), int(second)), {})[result] = int(value)
    words = [result.value for result in (Result.WIN, Result.LOSS, Result.TIE)]
    return {
        segment: {pair: Results(*(said.get(word, 0) for word in words)) for pair, said in pairs.items()}
        for segment, pairs in found.items()
    }


def _ledger(counted: Mapping[str, int], policies: int) -> dict[str, Any]:
    """The fields that `Counts` and `Inherited` share, from a counts hash."""
    indices = range(policies)
    is_kept_at_half = any(counted[name] for name in counted if name.startswith(f"{_AT_HALF}:"))

    def matrix(kind: str, *, symmetric: bool = False) -> tuple[tuple[int, ...], ...]:
        def total(row: int, column: int) -> int:
            pair = sorted((row, column)) if symmetric else (row, column)
            return counted.get(f"{kind}:{pair[0]}:{pair[1]}", 0)

        return tuple(tuple(total(row, column) for column in indices) for row in indices)

    return {
        "comparisons": counted.get("comparisons", 0),
        "wins": matrix("wins"),
        "ties": matrix("ties", symmetric=True),
        "evidence_nano_nats": matrix("evidence"),
        "evidence_at_half_nano_nats": matrix(_AT_HALF) if is_kept_at_half else (),
        "debts_nano_nats": tuple(counted.get(f"debt:{index}", 0) for index in indices),
        "eliminated_at": tuple(counted.get(f"eliminated:{index}") for index in indices),
    }


def note_on(report: Report) -> str:
    """What the log says of a report besides, in the form of `note_of` in shared/reports.lua."""
    position = "" if report.position is None else str(report.position)
    served = ",".join(report.served) if any(report.served) else ""
    return "|".join((report.unit[:_UNIT_DIGITS], str(report.given_at or ""), position, served))


def segments_on(report: Report) -> str:
    """The segments of a report, in the form of `segments_of` in shared/segments.lua."""
    return "".join(f";{path}={value}" for path, value in report.segments)


def _noted(unit: str, given: str, position: str, served: str) -> dict[str, Any]:
    """The fields of a comparison that are left out where nothing is known."""
    return {
        "units": tuple(unit.split(",")) if unit else (),
        "given_at": tuple(int(each or 0) for each in given.split(",")) if given else (),
        "position": int(position) if position else None,
        "served": tuple(served.split(",")) if served else (),
    }


def recorded_from(reply: Sequence[Any], report: Report) -> Recorded:
    """The `Recorded`, from the result of a script that counts or holds a report.

    Raises:
        ValueError: The experiment has no such policy.
    """
    if reply[0] == "no_such_policy":
        raise ValueError(f"The experiment has no policy of index {report.second}.")
    return Recorded(_RECEIPTS[reply[0]], int(reply[1]) if len(reply) > 1 else None)


def event_from(entry: Mapping[str, str]) -> LoggedEvent:
    """An event, from an entry of the log or of the events."""
    detail = {**json.loads(entry["detail"]), **json.loads(entry.get("given", "{}"))}
    return LoggedEvent(at=seconds(entry["at"]), kind=entry["kind"], detail=detail)


def log_record_from(entry: Mapping[str, str]) -> LogRecord:
    """A record, from an entry of the log."""
    if entry["type"] == "event":
        return event_from(entry)
    if entry["type"] == "inherited":
        return _inherited_from(entry)
    if entry["type"] == "plan":
        return LoggedPlan(
            version=int(entry["version"]),
            fence=int(entry["fence"]),
            comparisons=int(entry["comparisons"]),
            forecasts=tuple(tuple(map(int, each.split(":"))) for each in entry["forecasts"].split()),
            at=seconds(entry["at"]),
        )
    return Comparison(
        number=int(entry["number"]),
        first=int(entry["first"]),
        second=int(entry["second"]),
        result=Result(entry["result"]),
        probability_millionths=int(entry["forecast"]),
        plan_version=int(entry["version"]),
        source=entry["source"],
        at=seconds(entry["at"]),
        voters=tuple(entry["voters"].split(",")) if "voters" in entry else (),
        segments=dict(each.split("=", 1) for each in entry.get("segments", "").split(";") if each),
        second_millionths=int(entry["second_forecast"]) if "second_forecast" in entry else None,
        **_noted(*(entry.get(field, "") for field in ("unit", "given", "position", "served"))),
    )


def entries_from(words: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Ids and fields of a stream's entries, from a backup's items: id, number of words, words, and so on."""
    position = 0
    while position < len(words):
        end = position + 2 + int(words[position + 1])
        flat = words[position + 2 : end]
        yield words[position], dict(zip(flat[::2], flat[1::2], strict=True))
        position = end


def source_words(sources: Iterable[int | None]) -> list[str]:
    """Sources in the form for scripts: an index, or nothing for a newcomer."""
    return ["" if source is None else str(source) for source in sources]


def _inherited_from(entry: Mapping[str, str]) -> Inherited:
    sources = tuple(int(word) if word else None for word in entry["sources"].split(","))
    fields = (field.split("=") for field in entry["counts"].split())
    counted = {name: int(value) for name, value in fields}
    return Inherited(
        generation=int(entry["generation"]),
        after=int(entry["after"]),
        sources=sources,
        policies_ever=int(entry["policies_ever"]),
        at=seconds(entry["at"]),
        **_ledger(counted, len(sources)),
    )
