"""The public names, what imports what, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import starlette_webhooks

PACKAGE = Path(starlette_webhooks.__file__).parent
MODULES = {
    ".".join(("starlette_webhooks", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
# Who may import what, from the top down: a layer imports its own and those below.
LAYERS = [
    ["fastapi", "litestar", "testing", "cli"],
    ["", "applications", "middleware"],
    ["routes"],
    ["portal", "streams", "openapi"],
    ["authentication", "emitter"],
    ["backends", "delivery", "relay", "stores"],
    ["attempts", "endpoints", "event_types", "events", "feed", "identifiers", "pagination", "payloads", "settings"],
    ["signing", "tokens"],
    ["_version", "concurrency", "exceptions", "scope", "types", "waiting"],
]
FOREIGN = {
    "fastapi": {"starlette_webhooks.fastapi"},
    "litestar": {"starlette_webhooks.litestar"},
    "pytest": {"starlette_webhooks.testing.plugin"},
}


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported at run time, at the top or in a function."""
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "Imports name the whole module."
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            found = [name for name in submodules if name in MODULES]
            yield from found
            if len(found) < len(submodules):
                yield node.module


def layer(module: str) -> int:
    part = module.partition("starlette_webhooks")[2].lstrip(".").split(".")[0]
    return next(number for number, names in enumerate(LAYERS) if part in names)


@pytest.mark.parametrize("module", list(MODULES))
def test_imports_only_go_down(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    for imported in imports(tree):
        if imported.split(".")[0] != "starlette_webhooks" or imported == "starlette_webhooks":
            continue
        assert layer(imported) >= layer(module), f"{module} imports {imported}, which lies above it"


@pytest.mark.parametrize("module", list(MODULES))
def test_other_packages_are_imported_where_they_belong(module: str) -> None:
    found = {name.split(".")[0] for name in imports(ast.parse(MODULES[module].read_text()))}
    for package, homes in FOREIGN.items():
        assert package not in found or module in homes, f"{module} imports {package}"
    if not module.startswith("starlette_webhooks.backends.svix"):
        assert not {"svix", "asyncio"} & found
    # Trio is optional, and AnyIO has no form of what is parked there.
    assert "trio" not in found or module == "starlette_webhooks.waiting"


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_every_public_name_is_there(module: str) -> None:
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", [])
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(loaded, name) is not None


@pytest.mark.parametrize("module", ["starlette_webhooks", "starlette_webhooks.testing"])
def test_public_names_are_sorted_within_their_groups_and_the_groups_too(module: str) -> None:
    source = MODULES[module].read_text()
    listed = re.search(r"__all__ = \[\n(.*?)\n\]", source, re.DOTALL)
    assert listed is not None
    groups: dict[str, list[str]] = {}
    for line in listed[1].splitlines():
        text = line.strip()
        if text.startswith("#"):
            groups[text] = []
        else:
            groups[list(groups)[-1]].append(text.strip('",'))
    assert list(groups) == sorted(groups)
    assert all(names == sorted(names) for names in groups.values())


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("__main__")])
def test_every_public_name_has_a_docstring(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    assert ast.get_docstring(tree), module
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name} has none"


def test_importing_the_package_loads_no_framework_no_engine_and_no_pydantic() -> None:
    heavy = ["svix", "fastapi", "litestar", "pydantic", "pydantic_settings", "httpx", "sqlite3", "pytest"]
    code = f"import sys, starlette_webhooks; print([name for name in {heavy} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Webhook'"):
        starlette_webhooks.Webhook  # noqa: B018
