"""`llmpo verify`: recomputes a decision from the experiment's log alone."""

from __future__ import annotations

import asyncio
import json as json_text
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from gateway.cli import MISUSED, complain
from gateway.cli.experiments import gain_sentence
from gateway.cli.remote import DEFAULT_URL, KeyOption, experiment_path, get_lines
from gateway.cli.store_place import PATIENCE_SECONDS, opened_store
from gateway.errors import GatewayError
from gateway.experiments.integrity import SEVERAL_PAIRS
from gateway.proof.archived_log import with_archive
from gateway.proof.experiment_log import ExperimentLog
from gateway.proof.recorded import RecordedExperiment, read_log
from gateway.proof.verification import Verification, hand_sentence, verify
from gateway.running.printable import on_one_line
from policy_store.backed_up import BackedUpExperiment
from policy_store.backup_file import BackupFile, is_backup
from policy_store.errors import StoreError
from policy_store.layout import check_layout
from policy_store.store import PolicyStore

DIFFERS: Final = 1
NO_VERDICT: Final = MISUSED
SHOWN_DIFFERENCES: Final = 50
_PAIR: Final = 2


def verify_decision(
    experiment: Annotated[str, typer.Argument(help="Name of the experiment.")],
    url: Annotated[
        str | None, typer.Option(help=f"Ask a running gateway for the log [default: {DEFAULT_URL}].")
    ] = None,
    redis_url: Annotated[str | None, typer.Option(help="Read the log from this Redis or Valkey.")] = None,
    redis_prefix: Annotated[
        str,
        typer.Option(envvar="LLMPO_REDIS_PREFIX", help="Prefix of the gateway's key names in that store."),
    ] = "",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Read the log from the embedded store in this directory, whose gateway may be running."
        ),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Read an exported log (JSON lines) or a backup.")] = None,
    archive: Annotated[
        Path | None, typer.Option(help="Folder of `llmpo archive` with what the store has removed since.")
    ] = None,
    api_key: KeyOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Recompute the certificate of a decided experiment from its log: 0 confirmed, 1 differs, 2 no verdict.

    With --archive the log and the archive are first compared with each other. There is no verdict if either
    cannot be read, the archive was changed, or the experiment is not decided yet.
    """
    source = LogSource(url, redis_url, redis_prefix, data_dir, log, api_key, archive)
    try:
        found = verify(source.recorded(experiment))
    except (GatewayError, StoreError) as error:
        complain(str(error))
        raise typer.Exit(NO_VERDICT) from error
    if json:
        fields = {**asdict(found), "differences": list(found.differences), "confirmed": found.is_confirmed}
        typer.echo(json_text.dumps(fields))
    else:
        _print(found)
    raise typer.Exit(0 if found.is_confirmed else DIFFERS)


@dataclass(frozen=True, slots=True)
class LogSource:
    """Where a log is read from. At most one place is named; without one, a running gateway is asked.

    Raises:
        BadParameter: If several are named.
    """

    url: str | None
    redis_url: str | None
    redis_prefix: str
    data_dir: Path | None
    log: Path | None
    api_key: str | None
    archive: Path | None = None

    def __post_init__(self) -> None:
        named = [place for place in (self.url, self.redis_url, self.data_dir, self.log) if place is not None]
        if len(named) > 1:
            raise typer.BadParameter("Name one source: --url, --redis-url, --data-dir or --log.")

    def recorded(self, name: str) -> RecordedExperiment:
        """An experiment as its log describes it.

        Raises:
            GatewayError: If the log cannot be read, or is another experiment's.
        """
        lines = self.lines(name)
        found = read_log(lines if self.archive is None else with_archive(lines, self.archive))
        if found.name != name:
            raise GatewayError(f"This is the log of {found.name!r}, not of {name!r}.")
        return found

    def lines(self, name: str) -> Iterable[bytes]:
        """The log of an experiment.

        Raises:
            GatewayError: If it cannot be read.
        """
        if self.log is not None and is_backup(self.log):
            backup = BackupFile(self.log)
            check_layout(backup.about.layout)
            return asyncio.run(ExperimentLog(BackedUpExperiment(backup, name)).whole(name))
        if self.log is not None:
            try:
                return self.log.read_bytes().splitlines()
            except OSError as error:
                raise GatewayError(f"{self.log} cannot be read: {error.strerror}.") from error
        if self.redis_url is not None or self.data_dir is not None:
            return asyncio.run(self._stored(name))
        return get_lines(self.url or DEFAULT_URL, experiment_path(name, "/log"), self.api_key)

    async def _stored(self, name: str) -> list[bytes]:
        async with opened_store(self.redis_url, self.redis_prefix, self.data_dir) as redis:
            return await ExperimentLog(PolicyStore(redis, timeout_seconds=PATIENCE_SECONDS)).whole(name)


def _print(found: Verification) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import, and not needed for --json
    from rich.markup import escape as escaped  # noqa: PLC0415 - not needed for --json

    def escape(text: str) -> str:
        """What a log says, as plain text: a log may be anybody's."""
        return escaped(on_one_line(text))

    console = Console(highlight=False, soft_wrap=True)
    champion = f", champion [bold]{escape(found.champion)}[/]" if found.champion else ""
    about = f"{escape(found.name)} (generation {found.generation}): {escape(found.outcome)}{champion}"
    verdict = "[bold green]confirmed[/]" if found.is_confirmed else "[bold red]not confirmed[/]"
    console.print(f"{verdict}  {about}")
    for line in found.differences[:SHOWN_DIFFERENCES]:
        console.print(f"  [red]-[/] {escape(line)}")
    if len(found.differences) > SHOWN_DIFFERENCES:
        console.print(f"  and {len(found.differences) - SHOWN_DIFFERENCES} more (--json shows all)")
    for line in _confirmed(found) if found.is_confirmed else ():
        console.print(f"  {escape(line)}")
    for move in found.by_hand:
        console.print(f"  {escape(hand_sentence(move))}")


def _confirmed(found: Verification) -> Iterator[str]:
    """What was confirmed, and on what grounds."""
    inherited = f", {found.inherited} of them inherited" if found.inherited else ""
    counted = f"recomputed from {found.comparisons} comparisons{inherited}"
    if found.statistic_nats is not None and found.threshold_nats is not None:
        counted += f": evidence {found.statistic_nats:.3f} nats, line {found.threshold_nats:.3f}"
    yield counted
    if found.last_look is not None:
        yield look_sentence(found.last_look)
    if found.is_by_hand:
        yield "a person decided: the record claims nothing about the evidence"
    if found.claim is not None:
        yield f"promised: {found.claim}"
    if found.gain is not None:
        yield gain_sentence(found.gain)
    if found.integrity is not None:
        yield from integrity_sentences(found.integrity, found.policies)
    if found.watch is not None:
        yield watch_sentence(found.watch)


def integrity_sentences(integrity: dict[str, Any], policies: int) -> Iterator[str]:
    """What the certificate says of its votes, and what follows from the number of policies."""
    least = integrity["would_have_to_go"]
    if least is not None:
        yield f"its lead would be gone {_least(least['even'])}"
        if least["undecided"] is not None:
            yield f"it would not have been certified yet {_least(least['undecided'])}"
    if integrity["anonymous_votes"]:
        yield f"votes without a user, session or key of their own: {integrity['anonymous_votes']:,}"
    if integrity["voter_cap"] != 1:
        yield integrity["assumption"]
    if "independence" in integrity:
        yield integrity["independence"]
    elif policies > _PAIR:
        yield SEVERAL_PAIRS


def _least(least: dict[str, int | None]) -> str:
    if least["comparisons"] is None or least["voters"] is None:
        return "only with what was inherited"
    comparisons, voters = _counted(least["comparisons"], "comparison"), _counted(least["voters"], "voter")
    return f"without {comparisons}, or without {voters}, and no fewer"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def look_sentence(look: dict[str, Any]) -> str:
    """What the last look came to, and by what number."""
    came_to = "decided" if look["decided"] else "did not decide"
    return f"the last look {came_to}: u = {look['uniform']:.6f}, fixed before the first comparison"


def watch_sentence(watch: dict[str, Any]) -> str:
    """What the watch over the promotion counted."""
    return (
        f"watched for {watch['comparisons']} comparisons: {watch['champion_name']} won {watch['wins']}, "
        f"{watch['previous_name']} {watch['losses']}; evidence against the promotion "
        f"{watch['evidence_nats']:.3f} nats, line {watch['needed_nats']:.3f}"
    )
