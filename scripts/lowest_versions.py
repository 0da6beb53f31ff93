"""Print a constraints file for pip with the lowest allowed version of each direct dependency in `pyproject.toml`."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?>=(?P<version>[\w.]+)")


def lowest_versions() -> list[str]:
    """Return one line per dependency of the package and of its extras."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    requirements = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        requirements += extra
    lines = []
    for requirement in requirements:
        match = REQUIREMENT.match(requirement)
        if match is None:
            raise SystemExit(f"`{requirement}` in pyproject.toml has no lowest version. Write it as `name>=version`.")
        lines.append(f"{match['name']}=={match['version']}")
    return sorted(set(lines))


if __name__ == "__main__":
    print("\n".join(lowest_versions()))
