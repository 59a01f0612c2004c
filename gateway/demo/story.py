"""The demo from start to end: starts the parts, follows the experiment, checks the promotion."""

from __future__ import annotations

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console

from gateway.demo.checking import check_promotion
from gateway.demo.processes import LOOPBACK, Child, child, clean_environment, free_port
from gateway.demo.scene import SUPPORT, TONE, SimulatedExperiment, gateway_yaml
from gateway.demo.stage import Show, stage
from gateway.demo.users import Crowd, CrowdTally, run_crowd, wait_until_ready
from gateway.demo.view import DemoEnding, Frame, Pleased
from gateway.demo.watch import Reading, Watcher
from gateway.errors import GatewayError

SUPPORT_VISITS_PER_SECOND: Final = 17.0
TONE_VISITS_PER_SECOND: Final = 6.0
START_SECONDS: Final = 60.0
FRAME_SECONDS: Final = 0.25
AFTERMATH_SECONDS: Final = 3.0  # of traffic on the promoted policy, before `--exit` ends


class DemoError(GatewayError):
    """The demo did not reach its end."""


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's options.

    Attributes:
        exits: End by itself once the promotion is verified, instead of running until interrupted.
        port: Where the gateway listens.
        limit_seconds: Give up after this long when `exits`.
        seed: Seed of the simulated answers and tastes.
    """

    exits: bool
    port: int
    limit_seconds: float
    seed: int


async def run_demo(options: Options, console: Console) -> DemoEnding | None:
    """Run the demo.

    Returns:
        The ending, or None if it was interrupted before.

    Raises:
        ChildDiedError: A part of it ended by itself; the message has its last log lines.
        DemoError: There was no promotion in time.
    """
    play = _Play(options)
    with _stop_signals() as stopped, stage(console) as show:
        async with _parts(options) as children:
            try:
                await _first_of(play.perform(show), stopped.wait(), *(part.watch() for part in children))
            except DemoError as error:  # its message alone does not explain the cause
                gateway = children[-1]
                raise DemoError(
                    f"{error}\nThe last log lines of the {gateway.name}:\n{gateway.last_words()}"
                ) from error
    return play.ending


class _Play:
    """The part of the demo that lasts while its processes run."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._started = time.monotonic()
        self._tally = CrowdTally()
        self._decided_at_seconds: float | None = None
        self._frame = Frame(gateway=f"http://{LOOPBACK}:{options.port}", elapsed_seconds=0.0)

    @property
    def ending(self) -> DemoEnding | None:
        """The ending, once there is one."""
        return self._frame.ending

    async def perform(self, show: Show) -> None:
        """Run from the first question to the end; without `exits` it runs until interrupted."""
        show(self._frame)
        try:
            await wait_until_ready(self._frame.gateway, timeout_seconds=START_SECONDS)
        except TimeoutError:
            raise DemoError(f"The gateway was not ready after {START_SECONDS:.0f} s.") from None
        crowds = (
            (self._crowd(SUPPORT, SUPPORT_VISITS_PER_SECOND), self._tally),
            (self._crowd(TONE, TONE_VISITS_PER_SECOND), CrowdTally()),
        )
        async with aiohttp.ClientSession() as session:
            watcher = Watcher(session, self._frame.gateway, SUPPORT.name)
            await _first_of(self._follow(watcher, show), *(run_crowd(*crowd) for crowd in crowds))

    async def _follow(self, watcher: Watcher, show: Show) -> None:
        checking: asyncio.Task[DemoEnding] | None = None
        try:
            while not self._is_over():
                reading = await self._look(watcher)
                if reading is not None and reading.is_decided:
                    if checking is None:
                        self._decided_at_seconds = self._frame.elapsed_seconds
                        checking = asyncio.create_task(check_promotion(reading, self._frame.gateway))
                    if checking.done():
                        self._frame = replace(self._frame, ending=checking.result())
                show(self._frame)
                await asyncio.sleep(FRAME_SECONDS)
        finally:
            if checking is not None:
                checking.cancel()

    async def _look(self, watcher: Watcher) -> Reading | None:
        now = time.monotonic()
        pleased = Pleased(self._tally.pleased, self._tally.alone)
        is_decided = self._decided_at_seconds is not None
        self._frame = replace(
            self._frame,
            reading=await watcher.look(now),
            elapsed_seconds=now - self._started,
            comparisons_per_second=watcher.comparisons_per_second,
            questions=self._tally.answered,
            pleased_before=self._frame.pleased_before if is_decided else pleased,
            pleased_since=pleased - self._frame.pleased_before if is_decided else Pleased(),
        )
        return self._frame.reading

    def _is_over(self) -> bool:
        if not self._options.exits:
            return False
        elapsed_seconds = self._frame.elapsed_seconds
        if self._frame.ending is not None and self._decided_at_seconds is not None:
            return elapsed_seconds >= self._decided_at_seconds + AFTERMATH_SECONDS
        if elapsed_seconds > self._options.limit_seconds:
            raise DemoError(f"No verified promotion after {self._options.limit_seconds:.0f} s.")
        return False

    def _crowd(self, experiment: SimulatedExperiment, visits_per_second: float) -> Crowd:
        return Crowd(
            gateway=self._frame.gateway,
            experiment=experiment.name,
            visits_per_second=visits_per_second,
            gives_thumbs=experiment.gives_thumbs,
            seed=self._options.seed,
        )


@asynccontextmanager
async def _parts(options: Options) -> AsyncIterator[tuple[Child, ...]]:
    """The simulated provider and the gateway, each in a process of its own, on temporary files."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmpo-demo-")))
        environment = clean_environment(directory / "data")
        provider_port = free_port()
        config = directory / "gateway.yaml"
        config.write_text(gateway_yaml(f"http://{LOOPBACK}:{provider_port}"))
        provider = ["demo", "provider", "--port", str(provider_port), "--seed", str(options.seed)]
        gateway = ["serve", "--config", str(config), "--host", LOOPBACK, "--port", str(options.port)]
        yield (
            await stack.enter_async_context(
                child("provider", provider, directory=directory, environment=environment)
            ),
            await stack.enter_async_context(
                child("gateway", gateway, directory=directory, environment=environment)
            ),
        )


async def _first_of(*awaitables: Awaitable[object]) -> None:
    """Wait for the first to end, raise if it failed, and cancel the others."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


@contextmanager
def _stop_signals() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set, so that everything is stopped in order."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
