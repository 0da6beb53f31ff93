"""Mutation testing of the core: small faults, one at a time, each run against the tests that execute its line.

Known tools run the same tests for all mutants, which takes minutes here. `--measure` notes which tests execute what.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from coverage import CoverageData

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "starlette_webhooks"
DATA = ROOT / ".coverage" / "contexts"
REPORT = DATA.with_name("mutants.json")
# Mutants that change nothing that matters: the file, the line without indentation, what is replaced, by what, and why.
EQUIVALENT = ROOT / "scripts" / "equivalent_mutants.toml"
CORE = {"signing", "identifiers", "payloads", "authentication", "emitter", "middleware", "submissions", "emissions"}
CORE |= {"responding", "uncommitted", "stores", "delivery", "streams", "relay", "outbox"}
MOST_TESTS = 300
MEASURE = "-n logical --dist loadfile --no-loadscope-reorder --cov=starlette_webhooks --cov-context=test --cov-report="

# Each operator becomes its neighbour.
PAIRS = ("Lt LtE", "Gt GtE", "Eq NotEq", "Is IsNot", "In NotIn", "Add Sub", "Mult FloorDiv")
OTHER: dict[type, Any] = {
    getattr(ast, one): getattr(ast, other) for pair in PAIRS for one, other in (pair.split(), pair.split()[::-1])
}
SQL = ((r"<=", "<"), (r"(?<![<>])<(?![=>])", "<="), (r">=", ">"), (r"\bDESC\b", "ASC"), (r"\bAND\b", "OR"))


@dataclass(frozen=True)
class Mutant:
    """A small fault: the text between two bytes of a file, and what replaces it."""

    file: str
    line: int
    start: int
    end: int
    original: str
    mutant: str


def changed(node: ast.AST) -> str | None:
    """Return other source for this node, if there is a mutation for it."""
    match node:
        case ast.Compare(left=left, ops=[operator], comparators=right):
            return ast.unparse(ast.Compare(left, [OTHER[type(operator)]()], right))
        case ast.BoolOp(op=operator, values=values):
            return ast.unparse(ast.BoolOp(ast.Or() if isinstance(operator, ast.And) else ast.And(), values))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return f"({ast.unparse(operand)})"
        case ast.BinOp(left=left, op=operator, right=second) if type(operator) in OTHER:
            return ast.unparse(ast.BinOp(left, OTHER[type(operator)](), second))
        case ast.Name(id="min" | "max" as name):
            return "max" if name == "min" else "min"
        case ast.Constant(value=bool() as value):
            return repr(not value)
        case ast.Constant(value=int() as number) if number < 1000:
            return repr(number + 1)
        case ast.Expr(value=ast.Call() | ast.Await()) if not ast.unparse(node).startswith("logger."):
            return "pass"
        case ast.withitem(context_expr=expression, optional_vars=None) if "lock" in ast.unparse(expression).lower():
            return "__import__('contextlib').nullcontext()"
    return None


def of_python(path: Path) -> Iterator[Mutant]:
    """Yield all mutants of a module."""
    source = path.read_text()
    starts = [0, *accumulate(len(line) for line in source.encode().splitlines(keepends=True))]
    for node in ast.walk(ast.parse(source)):
        place = node.context_expr if isinstance(node, ast.withitem) else node
        if (other := changed(node)) is None or not isinstance(place, ast.expr | ast.stmt):
            continue
        last = place.end_lineno or place.lineno
        start, end = starts[place.lineno - 1] + place.col_offset, starts[last - 1] + (place.end_col_offset or 0)
        original = source.encode()[start:end].decode()
        yield Mutant(str(path.relative_to(ROOT)), place.lineno, start, end, original, other)


def of_sql(path: Path) -> Iterator[Mutant]:
    """Yield all mutants of a file of statements."""
    source = re.sub(r"--.*", lambda comment: " " * len(comment[0]), path.read_text())
    for pattern, other in SQL:
        for found in re.finditer(pattern, source):
            line = source.count("\n", 0, found.start()) + 1
            start, end = (len(source[:at].encode()) for at in found.span())
            yield Mutant(str(path.relative_to(ROOT)), line, start, end, source.splitlines()[line - 1], other)


def all_mutants(modules: list[str]) -> list[Mutant]:
    """Return the mutants of all modules of the core, or of those whose path contains one of these."""
    found: list[Mutant] = []
    for path in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.sql")]):
        name = path.relative_to(PACKAGE)
        if name.with_suffix("").parts[0] in CORE and any(part in str(name) for part in modules or [""]):
            found += (of_python if path.suffix == ".py" else of_sql)(path)
    return found


class Tests:
    """Which tests execute a line, from the measured contexts, such as `tests/test_a.py::test_b|run`."""

    def __init__(self) -> None:
        self._data = CoverageData(str(DATA))
        self._data.read()
        self._lines = Counter(test for _, test in self._pairs(*self._data.measured_files()))

    def _pairs(self, *files: str) -> list[tuple[int, str]]:
        lines = [pair for file in files for pair in self._data.contexts_by_lineno(file).items()]
        return [(line, context.rpartition("|")[0]) for line, found in lines for context in found if context]

    def of(self, mutant: Mutant) -> list[str]:
        """Return the tests that execute the line of a mutant, or else its module, the most specific ones first."""
        path = (ROOT / mutant.file).with_suffix(".py")
        # Statements belong to the module of the same name, and those of a schema to all modules of their store.
        files = [path] if path.exists() else PACKAGE.joinpath(*path.relative_to(PACKAGE).parts[:2]).glob("*.py")
        pairs = self._pairs(*map(str, files))
        inside = range(mutant.line, mutant.line + mutant.original.count("\n") + 1)
        own = {test for line, test in pairs if line in inside and mutant.file.endswith(".py")}
        return sorted(own or {test for _, test in pairs}, key=lambda test: (self._lines[test], test))[:MOST_TESTS]


def judge(mutant: Mutant, tests: list[str], tree: Path) -> str:
    """Run the tests of a mutant in this copy of the tree."""
    path = tree / mutant.file
    source = path.read_bytes()
    path.write_bytes(source[: mutant.start] + mutant.mutant.encode() + source[mutant.end :])
    verdict = "killed" if tests and pytest(tree, "-x", "--timeout", "30", *tests) else "alive"
    path.write_bytes(source)
    return verdict


def pytest(tree: Path, *arguments: str) -> int:
    """Run pytest in this tree and return its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "COVERAGE_FILE": str(DATA)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=tree != ROOT, check=False).returncode


def judge_all(mutants: list[Mutant], at_once: int) -> list[dict[str, object]]:
    """Judge mutants, some at once, each in a copy of the tree. Mutants known to be equivalent are not run."""
    equivalent = {tuple(one[:4]): one[4] for one in tomllib.loads(EQUIVALENT.read_text())["mutants"]}
    tests, trees, ignored = Tests(), SimpleQueue[Path](), shutil.ignore_patterns(".*", "build", "site")

    def run(mutant: Mutant) -> dict[str, object]:
        line = (ROOT / mutant.file).read_text().splitlines()[mutant.line - 1].strip()
        reason = equivalent.get((mutant.file, line, mutant.original, mutant.mutant))
        tree = trees.get()
        verdict = "equivalent" if reason else judge(mutant, tests.of(mutant), tree)
        trees.put(tree)
        print(f"{verdict:10} {mutant.file}:{mutant.line}  {mutant.original!r} -> {mutant.mutant!r}", flush=True)
        return {**asdict(mutant), "verdict": verdict, "reason": reason}

    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(at_once) as threads:
        for number in range(at_once):
            trees.put(shutil.copytree(ROOT, Path(directory) / str(number), ignore=ignored))
        return list(threads.map(run, mutants))


def main() -> None:
    """Read the arguments, measure or judge, and print the share of mutants that were killed."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a part of a path, such as stores/sqlite")
    parser.add_argument("--measure", action="store_true", help="run all tests once, to know which execute what")
    parser.add_argument("--number", type=int, default=300)
    given = parser.parse_args()
    if given.measure:
        DATA.parent.mkdir(exist_ok=True)
        sys.exit(pytest(ROOT, *MEASURE.split()))
    if not DATA.exists():
        parser.error("Nothing was measured yet. Run `scripts/mutants --measure`.")
    mutants = all_mutants(given.modules)
    chosen = random.Random(1).sample(mutants, min(given.number, len(mutants)))
    results = judge_all(chosen, os.cpu_count() or 1)
    REPORT.write_text(json.dumps(results, indent=1))
    counts = Counter(str(result["verdict"]) for result in results)
    print(f"{counts['killed']} of {len(results) - counts['equivalent']} that matter were killed: {dict(counts)}")


if __name__ == "__main__":
    main()
