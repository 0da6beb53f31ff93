"""The Python reference is complete: the docstrings of its names describe every field and every argument."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from typing import Any, is_typeddict

from tests.pages import DOCS

PAGES = ("api", "emitting", "endpoints", "operating", "client", "receiving", "testing")
API = [DOCS / "reference" / f"{name}.md" for name in PAGES]
_ENTRY = re.compile(r"^::: ([\w.]+)$((?:\n +.+)*)", re.MULTILINE)
# "Arguments as for `emit`", "See `Client.stream`".
_ELSEWHERE = re.compile(r"\b(See|[Ll]ike|as for|those of) `|whose arguments it has")
_IMPLICIT = {"self", "cls", "args", "kwargs"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A name of the reference, with the options that decide what the page shows of it."""

    name: str
    options: str

    @property
    def thing(self) -> Any:
        """The class, function or alias."""
        module, _, attribute = self.name.rpartition(".")
        return getattr(import_module(module), attribute)

    @property
    def text(self) -> str:
        """The docstring."""
        return inspect.getdoc(self.thing) or ""

    @property
    def shows_constructor(self) -> bool:
        """Whether users create it."""
        return "merge_init_into_class: false" not in self.options

    def shows(self, member: str) -> bool:
        """Return whether the page shows a member of the class."""
        members = re.search(r"members: \[(.*)\]", self.options)
        if members is not None:
            return member in members[1].split(", ")
        filters = re.search(r"filters: (\[.*\])", self.options)
        hidden = ["!^_"] if filters is None else ast.literal_eval(filters[1])
        return not any(re.search(pattern.removeprefix("!"), member) for pattern in hidden)

    def functions(self) -> Iterator[tuple[str, Any]]:
        """The functions that the page shows: itself, or its methods."""
        if inspect.isfunction(self.thing):
            yield self.name, self.thing
        elif inspect.isclass(self.thing):
            for member, value in vars(self.thing).items():
                function = getattr(value, "__func__", value)
                if inspect.isfunction(function) and self.shows(member):
                    yield f"{self.name}.{member}", function


ENTRIES = [Entry(name, options) for page in API for name, options in _ENTRY.findall(page.read_text())]
SHAPES = [entry for entry in ENTRIES if is_dataclass(entry.thing) or is_typeddict(entry.thing)]
CREATED = [entry for entry in ENTRIES if inspect.isclass(entry.thing) and entry.shows_constructor]
FUNCTIONS = [(name, function, entry) for entry in ENTRIES for name, function in entry.functions()]


def undescribed(function: Any, text: str) -> list[str]:
    """The arguments of a function that a text does not mention."""
    words = set(re.findall(r"[a-z0-9]+", text.lower().replace("ids", "id ids").replace("types", "type types")))
    arguments = [name for name in inspect.signature(function).parameters if name not in _IMPLICIT]
    return [name for name in arguments if not set(name.lower().split("_")) <= words]


def test_the_reference_has_names_of_every_kind() -> None:
    assert "starlette_webhooks.Endpoint" in [entry.name for entry in SHAPES]
    assert "starlette_webhooks.Webhooks" in [entry.name for entry in CREATED]
    assert "starlette_webhooks.Emitter.emit" in [name for name, _, _ in FUNCTIONS]


def test_every_field_of_a_public_shape_is_described() -> None:
    missing = []
    for entry in SHAPES:
        shape = entry.thing
        names = shape.__annotations__ if is_typeddict(shape) else [field.name for field in fields(shape)]
        described = set(re.findall(r"^ +(\w+):", entry.text, re.MULTILINE))
        missing += [f"{entry.name}.{name}" for name in names if not name.startswith("_") and name not in described]
    assert missing == []


def test_every_argument_of_a_public_class_is_described() -> None:
    missing = []
    for entry in CREATED:
        constructor = vars(entry.thing).get("__init__")
        if constructor is not None:
            missing += [f"{entry.name}({name}=)" for name in undescribed(constructor, entry.text)]
    assert missing == []


def test_every_argument_of_a_public_function_is_described() -> None:
    missing = []
    for name, function, entry in FUNCTIONS:
        text = inspect.getdoc(function) or ""
        if not text or _ELSEWHERE.search(text) is None:
            missing += [f"{name}({argument}=)" for argument in undescribed(function, f"{text} {entry.text}")]
    assert missing == []


def test_every_public_function_has_a_docstring() -> None:
    assert [name for name, function, _ in FUNCTIONS if not inspect.getdoc(function)] == []
