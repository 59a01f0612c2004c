"""Measures of the code's form, so that anyone can repeat them.

    .venv/bin/python -m benchmarks.measures [--names] [TREE]

prints, for `gateway` and `policy_store` of a tree (default: this one):

- *lines of modules*: every line of every file, as median, 90 % quantile and largest.
- *lines of functions*: lines of the body from its first to its last statement, without the docstring;
  methods, nested functions and stubs of protocols count.
- *public functions documented*: the share of definitions whose name is not private (`_name`) that have a
  docstring or are marked as overrides, whose contract the base class documents. `__init__` and other special
  methods count.
- *private functions used once*: functions and methods with a private name that their module mentions exactly
  once, as a share of all functions and methods (nested ones left out).
- *public names defined twice*: names without an underscore that two modules or more define: functions,
  classes and constants. `--names` lists them with their modules, and the private functions used once.
- *constants without Final*: assignments at a module's level to a name in capitals.
- *own-line comments*: lines that hold a comment only, per 1,000 lines.
"""

from __future__ import annotations

import argparse
import ast
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

ROOT: Final = Path(__file__).parent.parent
PACKAGES: Final = ("gateway", "policy_store")
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """A file and what it says."""

    name: str
    lines: list[str]
    tree: ast.Module


def modules(tree: Path) -> list[Module]:
    """The modules of a tree, in the order of their names."""
    found = []
    for package in PACKAGES:
        for path in sorted((tree / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            found.append(Module(str(path.relative_to(tree)), text.splitlines(), ast.parse(text)))
    return found


@dataclass(frozen=True)
class Spread:
    """Of some numbers: the middle one, the one that nine in ten do not exceed, and the largest."""

    median: float
    ninety: float
    largest: float

    @classmethod
    def of(cls, numbers: Sequence[int]) -> Spread:
        """The spread of at least one number."""
        ordered = sorted(numbers)
        return cls(statistics.median(ordered), ordered[round(0.9 * (len(ordered) - 1))], ordered[-1])

    def __str__(self) -> str:
        return f"{self.median:g} / {self.ninety:g} / {self.largest:g}"


@dataclass(frozen=True)
class Measures:
    """What is printed."""

    module_lines: Spread
    function_lines: Spread
    documented: float
    used_once: float
    defined_twice: dict[str, list[str]]
    without_final: int
    constants: int
    comments: float

    def __str__(self) -> str:
        rows = {
            "lines of modules (median / 90 % / largest)": str(self.module_lines),
            "lines of functions (median / 90 % / largest)": str(self.function_lines),
            "public functions documented": f"{self.documented:.2f}",
            "private functions used once": f"{self.used_once:.1%}",
            "public names defined twice": str(len(self.defined_twice)),
            "constants without Final": f"{self.without_final} of {self.constants}",
            "own-line comments per 1,000 lines": f"{self.comments:.1f}",
        }
        return "\n".join(f"{name:<46}{value}" for name, value in rows.items())


def measured(found: Sequence[Module]) -> Measures:
    """The measures of a tree's modules."""
    everywhere = [node for module in found for node in ast.walk(module.tree) if isinstance(node, Function)]
    public = [function for function in everywhere if not _is_private(function.name)]
    once = [function for module in found for function in used_once(module)]
    direct = sum(1 for module in found for _ in functions_and_methods(module.tree))
    finals = [is_final for module in found for is_final in _constants(module.tree)]
    lines = [line.lstrip() for module in found for line in module.lines]
    return Measures(
        module_lines=Spread.of([len(module.lines) for module in found]),
        function_lines=Spread.of([body_lines(function) for function in everywhere]),
        documented=sum(map(_is_documented, public)) / len(public),
        used_once=len(once) / direct,
        defined_twice=defined_twice(found),
        without_final=finals.count(False),
        constants=len(finals),
        comments=1000 * sum(line.startswith("#") for line in lines) / len(lines),
    )


def body_lines(function: Function) -> int:
    """Lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def functions_and_methods(tree: ast.Module) -> Iterator[Function]:
    """The functions of a module and of its classes, without those inside other functions."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in (tree, *classes):
        yield from (each for each in node.body if isinstance(each, Function))


def used_once(module: Module) -> list[Function]:
    """Private functions and methods of a module that it mentions once, beside their definition."""
    mentioned = Counter(
        node.id if isinstance(node, ast.Name) else node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute)
    )
    return [
        function
        for function in functions_and_methods(module.tree)
        if _is_private(function.name) and mentioned[function.name] == 1
    ]


def defined_twice(found: Sequence[Module]) -> dict[str, list[str]]:
    """Public names that several modules define, each with their names."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for module in found:
        for name in {name for node in module.tree.body for name in _defined(node)}:
            if not name.startswith("_"):
                homes[name].append(module.name)
    return {name: sorted(where) for name, where in sorted(homes.items()) if len(where) > 1}


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _constants(tree: ast.Module) -> Iterator[bool]:
    """For each constant of a module, whether it is declared to be one."""
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
            yield from (annotation.startswith("Final") for name in _defined(node) if name.isupper())


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _is_documented(function: Function) -> bool:
    marks = {ast.unparse(decorator).rpartition(".")[2] for decorator in function.decorator_list}
    return ast.get_docstring(function) is not None or "override" in marks


def main() -> None:
    """Print the measures of a tree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tree", nargs="?", type=Path, default=ROOT)
    parser.add_argument(
        "--names", action="store_true", help="list the names defined twice, and what is used once"
    )
    options = parser.parse_args()
    found = modules(options.tree)
    result = measured(found)
    print(result)
    if options.names:
        for name, where in result.defined_twice.items():
            print(f"{name}: {', '.join(where)}")
        for module in found:
            if names := [function.name for function in used_once(module)]:
                print(f"{module.name}: {', '.join(names)}")


if __name__ == "__main__":
    main()
