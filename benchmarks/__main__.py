"""`python -m benchmarks [--short] [--json PATH] [SUBJECT...]`."""

from __future__ import annotations

import argparse
import json
from importlib import import_module
from pathlib import Path

from benchmarks.harness import Scale, facts

SUBJECTS = (
    "emit",
    "log",
    "stream",
    "dispatcher",
    "reading",
    "growth",
    "start",
    "tenants",
    "within",
    "postgresql",
    "portal",
)


def main() -> None:
    """Run subjects, print their tables, and write all figures as JSON."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure, compared with the alternatives.")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--short", action="store_true", help="less than two minutes: shows that it works")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks.json"), metavar="PATH")
    given = parser.parse_args()
    if unknown := set(given.subjects) - set(SUBJECTS):
        parser.error(f"there is no subject {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    machine = facts()
    print(json.dumps(machine, indent=2))
    scale = Scale(short=given.short, repeats=given.repeats)
    documents = []
    for name in given.subjects or SUBJECTS:
        print(f"\n# {name}", flush=True)
        documents.append(import_module(f"benchmarks.{name}").run(scale).document())
        given.json.write_text(json.dumps({"machine": machine, "short": scale.short, "subjects": documents}, indent=1))
    print(f"\nAll figures: {given.json}")


if __name__ == "__main__":
    main()
