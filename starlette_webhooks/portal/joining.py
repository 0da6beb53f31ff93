"""Joins the modules of the portal into one script, because a browser would fetch dozens of small files one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import TopologicalSorter

__all__ = ["join_modules"]

_IMPORT = re.compile(r'^import \{ (?P<names>[^}]+) \} from "\./(?P<name>\w+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)


def join_modules(modules: Mapping[str, str]) -> str:
    """Return one script that does what the modules do, given by their names without `.js`.

    Each module becomes a function that is called once and returns what the module exports. Those that it imports come
    before it. The modules use only the forms `import { a, b as c } from "./name.js"` and `export function`, `class` or
    `const`.

    Raises:
        CycleError: Two modules import each other.
        ValueError: A module imports what another does not export.
    """
    exports = {name: _EXPORT.findall(source) for name, source in modules.items()}
    # Sorted, because the order of files in a directory differs between machines, and all must serve the same script.
    needed = {name: _imported(name, modules[name], exports) for name in sorted(modules)}
    order = TopologicalSorter(needed).static_order()
    return "\n".join(_called(name, modules[name], exports[name]) for name in order)


def _imported(module: str, source: str, exports: Mapping[str, list[str]]) -> list[str]:
    """Return the names of the modules that a module imports."""
    found = []
    for match in _IMPORT.finditer(source):
        names = [name.split(" as ")[0] for name in match["names"].split(", ")]
        unknown = sorted(set(names) - set(exports.get(match["name"], ())))
        if unknown:
            raise ValueError(f"{module}.js imports {', '.join(unknown)}, which {match['name']}.js does not export.")
        found.append(match["name"])
    return found


def _called(name: str, source: str, exports: list[str]) -> str:
    body = _IMPORT.sub(lambda match: f"const {{ {match['names'].replace(' as ', ': ')} }} = ${match['name']};", source)
    return f"const ${name} = (() => {{\n{_EXPORT.sub('', body)}\nreturn {{ {', '.join(exports)} }};\n}})();\n"
