"""The public names, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter

import pytest

import starlette_webhooks
import starlette_webhooks.testing
from starlette_webhooks.cli import main
from tests.imports import modules_in
from tests.servers import ROOT

MODULES = modules_in(ROOT, "starlette_webhooks")
IMPORTABLE = [name for name in MODULES if not name.endswith("__main__")]


def test_every_public_name_is_there() -> None:
    wrong: list[str] = []
    for module in IMPORTABLE:
        loaded = importlib.import_module(module)
        for name, count in Counter(getattr(loaded, "__all__", [])).items():
            if count > 1 or getattr(loaded, name, None) is None:
                wrong.append(f"{module}.{name}")
    assert wrong == []


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


def test_every_public_name_has_a_docstring() -> None:
    without: list[str] = []
    for module in IMPORTABLE:
        tree = ast.parse(MODULES[module].read_text())
        without += [] if ast.get_docstring(tree) else [module]
        without += [f"{module}.{node.name}" for node in public_definitions(tree) if not ast.get_docstring(node)]
    assert without == []


def public_definitions(tree: ast.Module) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def test_importing_the_package_loads_no_framework_no_engine_and_no_pydantic() -> None:
    heavy = ["svix", "fastapi", "litestar", "pydantic", "pydantic_settings", "httpx", "sqlite3", "pytest"]
    # Compared with before, because tools that measure the tests load modules as Python starts.
    code = (
        "import sys; before = set(sys.modules); import starlette_webhooks;"
        f"print([name for name in {heavy} if name in sys.modules.keys() - before])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (run.stdout.strip(), run.stderr) == ("[]", "")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Webhook'"):
        starlette_webhooks.Webhook  # noqa: B018


def test_names_that_are_loaded_on_first_use_are_listed() -> None:
    assert set(starlette_webhooks.__all__) <= set(dir(starlette_webhooks))


def test_a_name_that_the_testing_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Clocks'"):
        starlette_webhooks.testing.Clocks  # noqa: B018


def test_a_command_that_is_installed_incompletely_is_not_taken_for_one_without_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "starlette_webhooks.cli.root", None)
    with pytest.raises(ModuleNotFoundError):
        main([])
