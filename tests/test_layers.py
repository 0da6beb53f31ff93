"""Allowed imports: the layers of the package, no circles, and each framework only in its module."""

from __future__ import annotations

from pathlib import Path

from tests.imports import Graph, circles, graph_of, imports, modules_in
from tests.servers import ROOT

PACKAGE = "starlette_webhooks"
MODULES = modules_in(ROOT, PACKAGE)
# From top to bottom. A part imports parts of its own layer and of the layers below. "" is the package itself.
LAYERS = [
    ["testing", "cli", "client"],
    ["fastapi", "litestar"],
    [""],
    ["applications"],
    ["middleware"],
    ["routes", "console"],
    ["audited_dead_letters", "management", "openapi", "probes", "receiving"],
    ["portal"],
    ["streams"],
    ["blocking"],
    [
        "emitter",
        "host_outbox",
        "authentication",
        "sessions",
        "audit",
        "responding",
        "bodies",
        "event_type_names",
        "operational_reader",
    ],
    ["backends"],
    ["stores"],
    ["delivery", "relay", "outbox"],
    ["readiness"],
    ["environment", "setting_values", "settings"],
    ["attempts", "dead_letters", "endpoints", "event_states", "feed", "operations", "undelivered"],
    ["operational_events"],
    ["event_types", "payloads", "schemas"],
    ["emissions"],
    ["telemetry"],
    ["encoding", "events", "identifiers", "pagination", "recent_errors", "submissions"],
    ["times"],
    ["asymmetric", "conflicts", "uncommitted", "database_url", "encryption", "proxy_url", "signing", "tokens"],
    ["concurrency", "file_locks", "lifespans"],
    [
        "_version",
        "browser",
        "budget",
        "certificates",
        "exceptions",
        "forks",
        "health",
        "log_fields",
        "meta",
        "named_sql",
        "problems",
        "redaction",
        "scope",
        "token_buckets",
        "types",
        "waiting",
    ],
]
FRAMEWORKS: dict[str, str | tuple[str, ...]] = {
    "fastapi": "starlette_webhooks.fastapi",
    "litestar": "starlette_webhooks.litestar",
    "pytest": "starlette_webhooks.testing.plugin",
    "cryptography": ("starlette_webhooks.encryption", "starlette_webhooks.asymmetric"),
    "psycopg": ("starlette_webhooks.stores.postgresql", "starlette_webhooks.outbox"),
    "sqlalchemy": "starlette_webhooks.outbox",
    "asyncpg": "starlette_webhooks.outbox",
    "svix": "starlette_webhooks.backends.svix",
    "click": "starlette_webhooks.cli",
    "opentelemetry": "starlette_webhooks.telemetry",
    "rich": "starlette_webhooks.cli",
    # AnyIO supports both event loops, but does not offer what these two do.
    "asyncio": "starlette_webhooks.backends.svix",
    "trio": "starlette_webhooks.waiting",
}


def part_of(module: str) -> str:
    """Return the part of the package to which a module belongs: the second part of its name."""
    return (module.split(".") + [""])[1]


def layer(part: str) -> int:
    number = next((number for number, parts in enumerate(LAYERS) if part in parts), None)
    assert number is not None, f"Give `{part}` its place in LAYERS."
    return number


def climbs(graph: Graph) -> dict[tuple[str, str], list[str]]:
    """Return the imports that go up, as pairs of parts."""
    found: dict[tuple[str, str], list[str]] = {}
    for module, imported in graph.items():
        for other in imported:
            above, below = part_of(other), part_of(module)
            if layer(above) < layer(below):
                found.setdefault((below, above), []).append(f"{module} imports {other}")
    return found


def label(circle: list[str]) -> str:
    """Return a name for a circle that survives renamed files: the common part, if there is one."""
    parts = {".".join(module.split(".")[:2]) for module in circle}
    return f"within {parts.pop()}" if len(parts) == 1 else ", ".join(circle)


def test_every_part_has_its_layer() -> None:
    placed = [part for parts in LAYERS for part in parts]
    assert {part_of(module) for module in MODULES} <= set(placed)
    assert len(placed) == len(set(placed))


def test_imports_only_go_down() -> None:
    found = climbs(graph_of(MODULES))
    assert [line for lines in found.values() for line in lines] == []


def test_parts_of_one_layer_do_not_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {part_of(module): set() for module in MODULES}
    for module, imported in graph_of(MODULES).items():
        mine = part_of(module)
        arrows[mine] |= {part_of(other) for other in imported} - {mine}
    same_layer = {
        part: frozenset(other for other in others if layer(other) == layer(part)) for part, others in arrows.items()
    }
    assert circles(same_layer) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    found = {
        label(circle)
        for package in (PACKAGE, "benchmarks", "example_app", "tests")
        for circle in circles(graph_of(modules_in(ROOT, package)))
    }
    assert found == set()


def test_each_framework_is_imported_in_its_own_place() -> None:
    found = {(module, name.split(".")[0]) for module, path in MODULES.items() for name in imports(path)}
    of_frameworks = {(module, name) for module, name in found if name in FRAMEWORKS}
    assert {(module, name) for module, name in of_frameworks if not module.startswith(FRAMEWORKS[name])} == set()


# The walk itself


def write(root: Path, **sources: str) -> Graph:
    for name, source in sources.items():
        path = root / "house" / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return graph_of(modules_in(root, "house"))


def test_the_walk_sees_imports_for_type_checkers_and_in_functions(tmp_path: Path) -> None:
    graph = write(
        tmp_path,
        a="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from house.b import B",
        b="def late():\n    import house.c",
        c="from house import a",
    )
    assert graph == {"house.a": {"house.b"}, "house.b": {"house.c"}, "house.c": {"house.a"}}
    assert circles(graph) == [["house.a", "house.b", "house.c"]]


def test_the_walk_tells_a_module_of_a_package_from_a_name_of_it(tmp_path: Path) -> None:
    graph = write(tmp_path, __init__="from house.a import name", a="from house import b, name", b="")
    assert graph == {"house": {"house.a"}, "house.a": {"house", "house.b"}, "house.b": set()}
    assert circles(graph) == [["house", "house.a"]]


def test_a_tree_without_a_circle_has_none(tmp_path: Path) -> None:
    assert circles(write(tmp_path, a="import house.b\nimport house.c", b="import house.c", c="")) == []
