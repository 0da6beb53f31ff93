"""The imports between Python files, and their circles."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

Graph: TypeAlias = Mapping[str, frozenset[str]]
"""From each module to the modules that it imports."""


def modules_in(root: Path, package: str) -> dict[str, Path]:
    """The modules of a package below `root`, by their dotted names."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((root / package).rglob("*.py"))
    }


def imports(path: Path, known: Container[str] = ()) -> Iterator[str]:
    """Return every module that a file imports: at the top, in a function, or for type checkers.

    Args:
        known: Modules of this tree. With them, `from package import module` imports the module, not a name.
    """
    for module, names in _statements(path):
        if not names:
            yield module
        yield from (name if name in known else module for name in names)


@cache
def _statements(path: Path) -> list[tuple[str, list[str]]]:
    """Return the modules of a file's imports, each with what is imported from it. Several tests read every file."""
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "Imports name the whole module."
            assert node.module is not None
            found.append((node.module, [f"{node.module}.{alias.name}" for alias in node.names]))
    return found


def graph_of(modules: Mapping[str, Path]) -> Graph:
    """Return which of these modules import which others, including imports for type checkers."""
    return {name: frozenset(imports(path, modules)) & modules.keys() for name, path in modules.items()}


def circles(graph: Graph) -> list[list[str]]:
    """Return the groups of nodes that reach each other, each sorted."""
    reached = {node: _reachable(graph, node) for node in graph}
    groups = {
        tuple(sorted(other for other in reached[node] if node in reached[other]))
        for node in graph
        if node in reached[node]
    }
    return [list(group) for group in sorted(groups)]


def _reachable(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += graph[node]
    return found
