"""The one script and the one style sheet of the portal."""

from __future__ import annotations

import shutil
import subprocess
from graphlib import CycleError

import pytest

from starlette_webhooks.portal.assets import load_assets, read_portal_files
from starlette_webhooks.portal.joining import join_modules

MODULES = {
    "start": (
        "// Prints.\n\n"
        'import { Greeting, double as twice } from "./numbers.js";\n'
        'import { read } from "./reading.js";\n\n'
        "const own = 21;\n"
        "console.log(twice(own), new Greeting().text);\n"
        "read().then((text) => console.log(text));\n"
    ),
    "reading": 'import { own } from "./numbers.js";\n\nexport async function read() {\n  return own;\n}\n',
    "numbers": (
        'export const double = (n) => n * 2;\nexport const own = "its own";\n'
        'export class Greeting {\n  text = "hello";\n}\nexport function unused() {}\n'
    ),
}


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed.")
def test_joined_modules_do_what_they_do_apart() -> None:
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", join_modules(MODULES)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "42 hello\nits own\n"


def test_the_script_does_not_depend_on_the_order_of_files() -> None:
    modules = {**MODULES, "another": "export const other = 1;\n"}
    assert join_modules(modules) == join_modules(dict(reversed(modules.items())))


def test_an_import_of_what_no_module_exports_is_refused() -> None:
    wrong = {**MODULES, "numbers": "export const own = 1;\n"}
    with pytest.raises(ValueError, match=r"start\.js imports Greeting, double, which numbers\.js does not export"):
        join_modules(wrong)
    with pytest.raises(ValueError, match=r"numbers\.js does not export"):
        join_modules({"start": MODULES["start"]})


def test_modules_that_import_each_other_are_refused() -> None:
    again = {**MODULES, "numbers": f'import {{ read }} from "./reading.js";\n{MODULES["numbers"]}'}
    with pytest.raises(CycleError):
        join_modules(again)


def test_the_script_and_the_style_of_the_portal_hold_every_file_once() -> None:
    assets = load_assets("#4f46e5")
    script = assets.files["portal.js"].body.decode()
    style = assets.files["portal.css"].body.decode()
    for name, body in read_portal_files("#4f46e5").items():
        # The first line says what a file is for.
        first = body.decode().splitlines()[0]
        if name.endswith(".js"):
            assert script.count(first) == 1, name
            assert script.count(f"const ${name[:-3]} = ") == 1, name
        elif name.endswith(".css"):
            assert style.count(body.decode()) == 1, name
    # Neither is left, as a browser would refuse it within a function.
    lines = script.splitlines()
    assert not [line for line in lines if line.startswith("export ") or (line.startswith("import ") and "./" in line)]
