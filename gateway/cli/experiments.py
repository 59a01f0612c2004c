"""`llmpo experiments`: shows the experiments of a running gateway, and moves them by hand."""

from __future__ import annotations

import json as json_text
from collections.abc import Iterator
from datetime import timedelta
from itertools import chain
from textwrap import shorten
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from gateway.cli import COMMANDS
from gateway.cli.event_lines import event_lines
from gateway.cli.events import events
from gateway.cli.printing import table_console
from gateway.cli.remote import DEFAULT_URL, JsonOption, KeyOption, UrlOption, experiment_path, get_json
from gateway.cli.steering import add_commands
from gateway.experiments.conclusions import BY_HAND
from gateway.rough import rough_count
from gateway.running.printable import on_one_line
from policy_store.states import STATES

BAR_CELLS: Final = 24
PROMPT_WIDTH: Final = 120
AGREEMENTS: Final = {"agree": "they agree", "disagree": "they disagree", "open": "too few to say"}
LATEST_EVENTS: Final = 8
SEGMENT_PAIRS: Final = 3
PLANNED: Final = frozenset(state.value for state, facts in STATES.items() if facts.is_planned)

_VERIFY: Final = COMMANDS["verify"]


class _Verbs(TyperGroup):
    """Also has `verify`, the same command as `llmpo verify`, which is imported only when it runs."""

    def __init__(self, **settings: Any) -> None:
        commands = {**settings.pop("commands"), _VERIFY.name: _VERIFY.stub()}
        super().__init__(**settings, commands=commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` start with."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, _VERIFY.load() if name == _VERIFY.name else command, rest


app = typer.Typer(no_args_is_help=True, cls=_Verbs)
add_commands(app)
app.command()(events)


@app.command("list")
def list_experiments(
    url: UrlOption = DEFAULT_URL, api_key: KeyOption = None, json: JsonOption = False
) -> None:
    """List the experiments."""
    answer = get_json(url, "/v1/experiments", api_key)
    if json:
        typer.echo(json_text.dumps(answer))
        return
    table = Table("experiment", "state", "incumbent", "leader", box=None, pad_edge=False)
    table.add_column("comparisons", justify="right")
    for row in answer["data"]:
        table.add_row(
            *map(Text, (row["name"], row["state"], row["incumbent"], row["leader"] or "-")),
            str(row["comparisons"]),
        )
    table_console().print(table)


@app.command("show")
def show_experiment(
    name: Annotated[str, typer.Argument(help="Name of the experiment.")],
    url: UrlOption = DEFAULT_URL,
    api_key: KeyOption = None,
    json: JsonOption = False,
) -> None:
    """Show one experiment: evidence, wins between policies, and events."""
    answer = get_json(url, experiment_path(name), api_key)
    if json:
        typer.echo(json_text.dumps(answer))
        return
    console = table_console()
    state = answer["state"].replace("_", " ")
    console.print(Text(f"{answer['name']} is {state} (generation {answer['generation']})", "bold"))
    shown = ShownExperiment(answer)
    console.print(Text(shown.standing()))
    # Gateways of earlier versions send no claim, and there is none for a policy that a person chose.
    if "claim" in answer and (answer["certificate"] or {}).get("outcome") != BY_HAND:
        console.print(Text(shown.promise()))
    warnings = (f"Warning: {warning}" for warning in answer.get("warnings", []))  # earlier versions: none
    told = (
        *(shown.gains(), shown.judged(), shown.sources(), shown.signals(), shown.reporting()),
        *(shown.staged(), shown.watched()),
    )
    for line in chain(warnings, *told):
        console.print(Text(line))
    console.print(shown.evidence())
    console.print(shown.wins())
    if answer.get("segments"):  # gateways of earlier versions know none
        console.print(shown.segments())
    if answer.get("guardrails"):  # nor these
        console.print(shown.guardrails())
    console.print(shown.policies())
    for line in event_lines(answer["events"][-LATEST_EVENTS:]):
        console.print(Text(line))


def gain_sentence(gain: dict[str, Any]) -> str:
    """A sentence that says how often a policy is preferred to the incumbent."""
    between = f"between {gain['low']:.0%} and {gain['high']:.0%} with {gain['confidence']:.0%} confidence"
    if gain["preference"] is None:
        return f"{gain['policy']} and {gain['incumbent']} were not compared with each other."
    return f"{gain['policy']} is preferred to {gain['incumbent']} in {gain['preference']:.0%}, {between}."


def judge_sentence(judge: dict[str, Any]) -> str:
    """What a judge compared, how decided and how biased it was, and what it cost."""
    role = "are evidence" if judge["role"] == "evidence" else "only inform forecasts"
    text = f"The judge {judge['model']} compared {judge['compared']:,} pairs of answers; its verdicts {role}."
    if judge["asked"]:
        text += (
            f" It preferred one in both orders in {judge['decisive_share']:.0%}, contradicted itself in "
            f"{judge['first_shown'] + judge['second_shown'] + judge['disagreed']:,} (position bias "
            f"{judge['position_bias']:+.0%}), and was unreadable in {judge['unreadable']:,}."
        )
    today = f"{judge['usd_today']:.4g} of {judge['spend_per_day']:g}"
    return f"{text} It cost {judge['usd']:.4g} USD, {today} today."


class ShownExperiment:
    """Shows the gateway's answer about one experiment on a console."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def standing(self) -> str:
        """Which policy serves, and how far the experiment is from a decision."""
        answer = self._answer
        text = f"{answer['incumbent']} serves after {answer['comparisons']} comparisons"
        inherited = answer["inherited"]
        if inherited is not None:
            text += f", {inherited['comparisons']} of them from generation {inherited['generation']}"
        if held := answer.get("reports_held"):  # gateways of earlier versions hold none
            text += f"; {held:,} reports are held until feedback.hold is over"
        plan = answer["plan"] or {}
        if by_hand := answer.get("by_hand"):  # gateways of earlier versions know no such moves
            text += f"; {by_hand['kind'].replace('_', ' ')} by {by_hand['detail']['actor']}"
            text += f" ({on_one_line(by_hand['detail']['reason'])})"
        is_open = answer["state"] in PLANNED and answer["certificate"] is None
        if is_open and plan.get("expected_remaining") is not None:
            text += f"; about {rough_count(plan['expected_remaining']):,} more to a decision"
        return f"{text}."

    def promise(self) -> str:
        """The promise about the policy that is promoted."""
        claim = self._answer["claim"].replace("{policy}", "the promoted policy")
        return f"Promised with {1 - self._answer['delta']:.0%} confidence: {claim}."

    def gains(self) -> Iterator[str]:
        """The gain over the incumbent, and what answers cost."""
        gain, costs = self._answer["gain"], self._answer["answer_costs"]
        if gain is not None:
            yield gain_sentence(gain)
        known = {row["policy"]: row["per_answer"] for row in costs["policies"]}
        unit = " USD" if costs["source"] == "measured" else ""
        named = [gain["policy"], gain["incumbent"]] if gain is not None else [self._answer["incumbent"]]
        told = [f"{name} {known[name]:.3g}{unit}" for name in named if known[name]]
        if told:
            yield f"An answer costs ({costs['source']}): {', '.join(told)}."

    def judged(self) -> Iterator[str]:
        """What the judge said and cost; gateways of earlier versions know none."""
        judge = self._answer.get("judge")
        if judge is None:
            return
        yield judge_sentence(judge)
        for pair in judge["pairs"]:
            users, model = pair["users"], pair["judge"]
            yield (
                f"{pair['pair'][0]} over {pair['pair'][1]}: users {users['wins']:,} of "
                f"{users['wins'] + users['losses']:,}, the judge {model['wins']:,} of "
                f"{model['wins'] + model['losses']:,} ({AGREEMENTS[pair['verdict']]})."
            )

    def staged(self) -> Iterator[str]:
        """Where a promotion step by step stands; gateways of earlier versions know none."""
        stage = self._answer.get("stage")
        if stage is None:
            return
        ends = {
            "approval": "a person's approval",
            "time": str(timedelta(seconds=round(stage["seconds_left"] or 0))),
            "comparisons": f"{stage['comparisons_left']} more comparisons",
        }
        yield (
            f"Step {stage['step']} of {len(stage['shares'])}: {stage['policy']} answers "
            f"{stage['shares'][stage['step'] - 1]:.3g} of ordinary traffic, until {ends[stage['waits_for']]}."
        )

    def watched(self) -> Iterator[str]:
        """How the watch over the promotion stands; gateways of earlier versions know none."""
        watch = self._answer.get("watch")
        if watch is None:
            return
        sources = watch.get("comparisons_by_source", {})  # gateways of earlier versions do not say
        came = ", ".join(f"{source} {count:,}" for source, count in sources.items())
        came = f" ({came})" if len(sources) > 1 else ""
        yield (
            f"Watch, {'going on' if watch['is_open'] else 'over'}: {watch['champion']} was preferred "
            f"{watch['wins']:,} times and {watch['previous']} {watch['losses']:,} times in "
            f"{watch['comparisons']:,} comparisons{came}; evidence that {watch['champion']} is worse: "
            f"{watch['nats']:.2f} of {watch['needed']:.2f} nats."
        )
        ends = []
        if watch["seconds_left"] is not None:
            ends.append(f"in {timedelta(seconds=round(watch['seconds_left']))}")
        if watch["comparisons_left"] is not None:
            ends.append(f"after {watch['comparisons_left']:,} more comparisons")
        if ends:
            yield f"It ends {' or '.join(ends)}."

    def sources(self) -> Iterator[str]:
        """What informs the forecasts; gateways of earlier versions know nothing of it."""
        for source in self._answer.get("sources", []):
            text = f"Informs forecasts: {source['name']}, {source['comparisons']:,} comparisons"
            if source["used"] is not None:
                text += f", believed with probability {source['used']:.2f}"
            if source.get("gained_nats") is not None:
                text += f", gained {source['gained_nats']:.2f} nats so far"
            if source["pairs"]:
                between = f"95 % interval {source['low']:.0%} to {source['high']:.0%}"
                text += (
                    f"; agrees with people about {source['agreed']} of {source['pairs']} pairs ({between})"
                )
            yield f"{text}."

    def reporting(self) -> Iterator[str]:
        """How often answers of each policy are reported; gateways of earlier versions do not say."""
        for row in self._answer.get("reporting", []):
            text = (
                f"Reports on {row['policy']}: {row['reported']:,} ({row['expected']:,.0f} if all came alike)"
            )
            if row["times"] is not None:
                high = "any number of" if row["high"] is None else f"{row['high']:.2f}"
                text += (
                    f", {row['times']:.2f} times as often as on the policies it is compared with (95 % "
                    f"interval {row['low']:.2f} to {high} times)"
                )
            yield f"{text}."

    def signals(self) -> Iterator[str]:
        """Whether users say what found signals say; gateways of earlier versions find none."""
        for signal in self._answer.get("signals", []):
            text = f"Found in conversations: {signal['signal']} (weight {signal['weight']:g})"
            if not signal["rated"]:
                yield f"{text}; users rated no such answer yet."
                continue
            word = "good" if signal["weight"] > 0 else "bad"
            between = f"{signal['low']:.0%} to {signal['high']:.0%}"
            yield (
                f"{text}; users rated {signal['rated']:,} such answers, {signal['agreed']:,} of them {word} "
                f"(95 % interval {between}, by chance {signal['chance']:.0%})."
            )

    def evidence(self) -> Table:
        """A bar for each policy, up to the line."""
        answer = self._answer
        meaning = "evidence against" if answer["epsilon"] == 0 else "evidence for"
        table = Table("policy", meaning, box=None, pad_edge=False)
        table.add_column("nats", justify="right")
        table.add_column("needed", justify="right")
        for row in answer["evidence"]:
            needed = row["needed"]
            filled = row["nats"] / needed if needed else 0.0
            cells = round(BAR_CELLS * min(1.0, max(0.0, filled)))
            table.add_row(
                Text(row["policy"]),
                "█" * cells + "░" * (BAR_CELLS - cells),
                f"{row['nats']:.2f}",
                "-" if needed is None else f"{needed:.2f}",
            )
        return table

    def segments(self) -> Table:
        """Who is preferred in each segment, for the pairs compared most."""
        table = Table("segment", "preferred", box=None, pad_edge=False)
        for title in ("to", "in", "95 % interval", "wins", "losses", "ties"):
            table.add_column(title, justify="right")
        for segment in self._answer["segments"]:
            name = f"{segment['path']} {segment['value']}"
            for row in segment["pairs"][:SEGMENT_PAIRS]:
                rate = "-" if row["win_rate"] is None else f"{row['win_rate']:.0%}"
                table.add_row(
                    Text(name),
                    Text(row["policy"]),
                    Text(row["rival"]),
                    rate,
                    f"{row['low']:.0%} to {row['high']:.0%}",
                    *(f"{row[result]:,}" for result in ("wins", "losses", "ties")),
                )
                name = ""
            if more := len(segment["pairs"][SEGMENT_PAIRS:]):
                table.add_row("", f"and {more} more")
        return table

    def guardrails(self) -> Table:
        """What guardrails say of each policy."""
        table = Table("guardrail", "policy", "finding", box=None, pad_edge=False)
        for title in ("number", "usual", "pairs", "nats", "needed"):
            table.add_column(title, justify="right")
        for row in self._answer["guardrails"]:
            found = row["finding"].replace("_", " ")
            done = f"{found}, {row['did'].replace('_', ' ')}" if row["did"] else found
            if row.get("unpriced"):  # gateways of earlier versions do not say
                done += f"; not measured: no price for {', '.join(row['unpriced'])}"
            table.add_row(
                Text(row["guardrail"]),
                Text(row["policy"]),
                Text(done),
                *("-" if row[name] is None else f"{row[name]:.4g}" for name in ("number", "usual")),
                f"{row['pairs']:,}",
                f"{row['nats']:.2f}",
                f"{row['needed']:.2f}",
            )
        return table

    def policies(self) -> Table:
        """The content of each policy, one row each; `--json` shows all of it."""
        table = Table("policy", "model and parameters", "prompt", box=None, pad_edge=False)
        for policy in self._answer["policy_details"]:
            content = policy["content"]
            if content is None:
                table.add_row(Text(policy["name"]), "not shown", "")
                continue
            params = (f"{name} {value}" for name, value in content["params"].items())
            prompt = " ".join((content["system"] or content["template"] or "").split())
            table.add_row(
                Text(policy["name"]),
                Text(", ".join([content["model"]["model"], *params])),
                Text(shorten(prompt, PROMPT_WIDTH, placeholder=" …")),
            )
        return table

    def wins(self) -> Table:
        """Wins of the row's policy over the column's."""
        answer = self._answer
        table = Table("wins over", box=None, pad_edge=False)
        for policy in answer["policies"]:
            table.add_column(Text(policy), justify="right")
        for policy, row in zip(answer["policies"], answer["wins"], strict=True):
            table.add_row(Text(policy), *map(str, row))
        return table
