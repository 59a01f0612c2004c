"""Many trials on all cores: results do not depend on the way they are run, and none is lost."""

from __future__ import annotations

import json
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.llm_po.errors import DesignError
from gateway.llm_po.lab.simulate import RunEnding, Trial, simulate
from gateway.llm_po.lab.worlds import bradley_terry
from gateway.simulation.runner import Job, run_jobs
from gateway.simulation.state import StateError, StateFile

WORLD = bradley_terry("easy", [1.5, 0.0, -0.5])
SETTINGS = {"--seeds": 220, "--delta": 0.05}
OURS = Job("ours", Trial(WORLD, max_comparisons=40), seeds=220, seed=4, budgets=(10, 50))
RANDOM = Job("random", Trial(WORLD, "random-pair", max_comparisons=40), seeds=120, seed=4)

Finished = tuple[str, tuple[RunEnding, ...]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The state file of `OURS` run to its end, and the endings."""
    path = tmp_path_factory.mktemp("finished") / "state.jsonl"
    whole = run_jobs([OURS], 1, StateFile(path, SETTINGS))
    return path.read_text(), whole["ours"].endings


def test_results_do_not_depend_on_the_number_of_processes() -> None:
    """One process, two processes and no runner at all give the same endings in the same order."""
    alone, together = run_jobs([OURS, RANDOM], processes=1), run_jobs([OURS, RANDOM], processes=2)

    assert alone["ours"].endings == together["ours"].endings == simulate(OURS.trial, 220, 4, (10, 50)).endings
    assert alone["random"].endings == together["random"].endings
    assert list(together) == ["ours", "random"]


def test_every_batch_is_reported_once() -> None:
    """Progress adds up to the number of runs, those found in a file included."""
    told: list[tuple[str, int]] = []

    run_jobs([OURS, RANDOM], processes=1, on_batch=lambda job, runs: told.append((job.name, runs)))

    assert sorted(told) == [("ours", 20), ("ours", 100), ("ours", 100), ("random", 20), ("random", 100)]


def test_interrupted_simulation_goes_on_where_it_stopped(tmp_path: Path, finished: Finished) -> None:
    """Batches of the file are not run again, the cut-off line of a killed process is."""
    path = tmp_path / "state.jsonl"
    header, first, second, _ = finished[0].splitlines()
    path.write_text("\n".join([header, first, second[: len(second) // 2]]))
    again = StateFile(path, SETTINGS)

    assert list(again.finished("ours", OURS.fingerprint)) == [0]
    assert run_jobs([OURS], 1, again)["ours"].endings == finished[1]
    assert sorted(StateFile(path, SETTINGS).finished("ours", OURS.fingerprint)) == [0, 100, 200]


def test_finished_simulation_runs_nothing_again(
    tmp_path: Path, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything comes from the file."""
    path = tmp_path / "state.jsonl"
    path.write_text(finished[0])
    monkeypatch.delattr("gateway.simulation.runner.run_batch")

    assert run_jobs([OURS], 1, StateFile(path, SETTINGS))["ours"].endings == finished[1]


def test_batch_of_another_size_is_run_again(tmp_path: Path, finished: Finished) -> None:
    """A file of a version that divided runs otherwise neither shortens a job nor changes its endings."""
    path = tmp_path / "state.jsonl"
    header, first, *others = finished[0].splitlines()
    shorter = json.loads(first)
    shorter["endings"] = shorter["endings"][:60]
    path.write_text("\n".join([header, json.dumps(shorter), *others, ""]))

    assert run_jobs([OURS], 1, StateFile(path, SETTINGS))["ours"].endings == finished[1]


def test_more_jobs_may_join_a_file(tmp_path: Path) -> None:
    """Another method under the same settings is added to what is there."""
    path = tmp_path / "state.jsonl"
    run_jobs([RANDOM], 1, StateFile(path, SETTINGS))

    both = run_jobs([RANDOM, OURS], 1, StateFile(path, SETTINGS))

    assert len(both["ours"].endings) == 220


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    """The message names each option that differs, and both values."""
    path = tmp_path / "state.jsonl"
    StateFile(path, SETTINGS)

    with pytest.raises(StateError, match=r"--seeds is 100, there it is 220\. "):
        StateFile(path, {**SETTINGS, "--seeds": 100})


def test_another_world_of_the_same_name_is_refused(tmp_path: Path) -> None:
    """Results are never mixed, even where names agree."""
    path = tmp_path / "state.jsonl"
    run_jobs([RANDOM], 1, StateFile(path, SETTINGS))
    other = replace(RANDOM, trial=Trial(bradley_terry("easy", [1.0, 0.0, -0.5]), "random-pair"))

    with pytest.raises(StateError, match="another world or with other settings"):
        run_jobs([other], 1, StateFile(path, SETTINGS))


@pytest.mark.parametrize("content", ["hello\n", "[1]\n", '{"version": 1}\n', '{"settings": {}}\n'])
def test_file_of_another_kind_is_refused_and_left_alone(content: str, tmp_path: Path) -> None:
    """Nothing is written into a file that is not ours."""
    path = tmp_path / "state.jsonl"
    path.write_text(content)

    with pytest.raises(StateError, match="not a state file"):
        StateFile(path, SETTINGS)
    assert path.read_text() == content


def test_file_of_another_version_is_refused(tmp_path: Path) -> None:
    """The message says which version is read."""
    path = tmp_path / "state.jsonl"
    path.write_text(json.dumps({"version": 99, "settings": {}}) + "\n")

    with pytest.raises(StateError, match="has version 99; only 1 can be read"):
        StateFile(path, SETTINGS)


def test_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A directory that is not there."""
    with pytest.raises(StateError, match="cannot be used"):
        StateFile(tmp_path / "nowhere" / "state.jsonl", SETTINGS)


def test_faults_of_a_run_reach_the_caller() -> None:
    """A batch that fails in another process fails here, with its own error."""
    impossible = [replace(OURS, seed=-1), replace(RANDOM, seed=-1)]

    with pytest.raises(DesignError, match="seed is -1"):
        run_jobs(impossible, processes=2)


def _simulate_for_long(told: str) -> None:
    """Announce the worker processes in a file once the first batch is done, and go on."""

    def tell(_job: Job, _runs: int) -> None:
        workers = [str(child.pid) for child in multiprocessing.active_children()]
        Path(told).with_suffix(".new").write_text(" ".join(workers), encoding="utf-8")
        Path(told).with_suffix(".new").rename(told)

    slow = Job("slow", Trial(bradley_terry("close", [0.05, 0.0]), max_comparisons=3_000), seeds=5_000)
    run_jobs([replace(OURS, seeds=100), slow], processes=2, on_batch=tell)


def test_workers_of_a_killed_simulation_end_with_it(tmp_path: Path) -> None:
    """A killed process cannot stop its workers: they notice by themselves and free their memory."""
    told = tmp_path / "workers"
    process = multiprocessing.get_context("spawn").Process(target=_simulate_for_long, args=(str(told),))
    process.start()
    while not told.exists():
        assert process.is_alive()
        time.sleep(0.05)
    workers = [int(pid) for pid in told.read_text(encoding="utf-8").split()]

    process.kill()
    process.join()

    assert workers
    while any(_is_running(worker) for worker in workers):
        time.sleep(0.05)  # the test's time limit ends this if they never do


def _is_running(pid: int) -> bool:
    """Whether there is such a process; one that ended and waits to be collected is not running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
