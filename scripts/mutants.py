"""Mutation testing of the core: small faults, one at a time, each run against the tests that execute its line.

Known tools have one command of tests for all mutants, which takes minutes here. This runs the tests that executed the
line when `--measure` ran all of them, in a copy of the tree.
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
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from coverage import CoverageData

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "starlette_webhooks"
DATA = ROOT / ".coverage" / "contexts"
REPORT = DATA.with_name("mutants.json")
# Mutants that change nothing that matters, each with the reason: [["module.py", "original", "mutant", "reason"]].
EQUIVALENT = ROOT / "scripts" / "equivalent_mutants.toml"
CORE = {"signing", "identifiers", "payloads", "authentication", "emitter", "middleware", "submissions", "emissions"}
CORE |= {"stores", "delivery", "streams", "relay", "outbox"}
MOST_TESTS = 300

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
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
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
        name = str(path.relative_to(PACKAGE))
        if name.split("/")[0].removesuffix(".py") in CORE and (not modules or any(part in name for part in modules)):
            found += (of_python if path.suffix == ".py" else of_sql)(path)
    return found


class Tests:
    """Which tests execute a line, from the measured contexts, such as `tests/test_a.py::test_b|run`."""

    def __init__(self) -> None:
        self._data = CoverageData(str(DATA))
        self._data.read()
        self._lines: Counter[str] = Counter()
        for file in self._data.measured_files():
            for contexts in self._data.contexts_by_lineno(file).values():
                self._lines.update(context.rpartition("|")[0] for context in contexts)

    def of(self, mutant: Mutant) -> list[str]:
        """Return the tests of a mutant, the most specific ones first; those beside its module where none is known."""
        lines = self._data.contexts_by_lineno(str(ROOT / mutant.file))
        last = mutant.line + mutant.original.count("\n")
        contexts = {context for line in range(mutant.line, last + 1) for context in lines.get(line, ())}
        if tests := {context.rpartition("|")[0] for context in contexts} - {""}:
            return sorted(tests, key=lambda test: (self._lines[test], test))[:MOST_TESTS]
        return [str(Path("tests") / Path(mutant.file).relative_to("starlette_webhooks").parent)]


def judge(mutant: Mutant, tests: list[str], tree: Path) -> str:
    """Run the tests of a mutant in this copy of the tree."""
    path = tree / mutant.file
    source = path.read_bytes()
    path.write_bytes(source[: mutant.start] + mutant.mutant.encode() + source[mutant.end :])
    status = pytest(tree, "-x", "--timeout", "30", *tests)
    path.write_bytes(source)
    return {0: "alive", 5: "untested"}.get(status, "killed")


def pytest(tree: Path, *arguments: str) -> int:
    """Run pytest in this tree and return its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "COVERAGE_FILE": str(DATA)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    output = None if tree == ROOT else subprocess.DEVNULL
    return subprocess.run(command, cwd=tree, env=environment, stdout=output, stderr=output, check=False).returncode


def judge_all(mutants: list[Mutant], at_once: int) -> list[dict[str, object]]:
    """Judge mutants, some at once, each in a copy of the tree. Mutants known to be equivalent are not run."""
    equivalent = {tuple(one[:3]): one[3] for one in tomllib.loads(EQUIVALENT.read_text())["mutants"]}
    tests, trees, ignored = Tests(), SimpleQueue[Path](), shutil.ignore_patterns(".*", "build", "site")

    def run(mutant: Mutant) -> dict[str, object]:
        reason = equivalent.get((mutant.file, mutant.original, mutant.mutant))
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
        cov = ("--cov=starlette_webhooks", "--cov-context=test", "--cov-report=")
        sys.exit(pytest(ROOT, "-n", "logical", "--dist", "loadfile", "--no-loadscope-reorder", *cov))
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
