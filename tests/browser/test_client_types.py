"""`client.d.ts` describes `client.js`, and a program in TypeScript can use it: the TypeScript compiler checks both."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from starlette_webhooks.browser import read_module

CONFIG = {
    "compilerOptions": {
        "strict": True,
        "allowJs": True,
        "noEmit": True,
        "target": "es2022",
        "module": "nodenext",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": [],
    },
    "include": ["*.ts"],
}
CONFORMS = """\
import * as declared from "./declared/client.js";
import * as actual from "./actual/client.js";

type Names = keyof typeof declared;
// An error here names what is declared and does not exist, or exists and is not declared.
const missing: never[] = [] as Exclude<Names, keyof typeof actual>[];
const undeclared: never[] = [] as Exclude<keyof typeof actual, Names>[];

const APIError: typeof declared.APIError = actual.APIError;
const Gap: typeof declared.Gap = actual.Gap;
const API: typeof declared.API = actual.API;
// The compiler infers `done: boolean` for what an iterator returns, so only the names of its methods are compared.
const methods: Record<Exclude<keyof declared.EventStream, "throw">, unknown> = actual.stream();
const events: Pick<declared.EventStream, "lastEventId" | "close"> = actual.stream();
"""
USES = """\
import { API, APIError, Gap, stream } from "./declared/client.js";
import type { EventStream, StreamOptions, WebhookEvent } from "./declared/client.js";

type Paid = WebhookEvent<{ amount: number }>;

export async function follow(saved: string | null, signal: AbortSignal): Promise<void> {
  const chosen: StreamOptions = { after: saved, eventTypes: ["invoice.paid"] as const, hiddenAfter: Infinity, signal };
  const options = { ...chosen, key: async () => "sk_1", url: API, headers: { a: "b" }, timeout: 1000, channel: "eu" };
  const events: EventStream<Paid> = stream<Paid>(options);
  try {
    for await (const event of events) {
      const amount: number = event.payload.data.amount;
      console.log(event.id, event.eventType, event.test ?? false, amount, events.lastEventId?.length);
      break;
    }
  } catch (error) {
    if (error instanceof Gap) console.log(error.requested, error.oldest?.length);
    if (error instanceof APIError) console.log(error.status.toFixed(), error.code, error.detail, error.message);
  }
  events.close();
}

// @ts-expect-error
stream({ key: 7 });
// @ts-expect-error
stream({ eventType: "invoice.paid" });
// @ts-expect-error
stream("https://api.example.com");
// @ts-expect-error
new APIError("403");
// @ts-expect-error
for (const event of stream()) console.log(event);
"""


@pytest.fixture(scope="module")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The TypeScript compiler, from the npm registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    directory = tmp_path_factory.mktemp("typescript")
    command = [npm, "install", "--prefix", str(directory), "--no-audit", "--no-fund", "typescript@5"]
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except subprocess.SubprocessError as exc:
        pytest.skip(f"npm cannot install typescript: {exc}")
    return directory / "node_modules" / ".bin" / "tsc"


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_types_of_the_module_are_those_of_its_code(compiler: Path, tmp_path: Path) -> None:
    for name, files in {"declared": ("client.js", "client.d.ts"), "actual": ("client.js",)}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_bytes(read_module(file))
    texts = {"tsconfig.json": json.dumps(CONFIG), "package.json": '{"type": "module"}'}
    for file, text in {**texts, "conforms.ts": CONFORMS, "uses.ts": USES}.items():
        (tmp_path / file).write_text(text)
    checked = subprocess.run([compiler, "-p", tmp_path], capture_output=True, text=True, timeout=60)
    assert (checked.stdout, checked.stderr, checked.returncode) == ("", "", 0)


def test_every_option_that_is_declared_is_read_and_the_other_way_round() -> None:
    declared = re.search(r"interface StreamOptions \{(.*?)\n\}", read_module("client.d.ts").decode(), re.DOTALL)
    assert declared is not None
    names = set(re.findall(r"^  (\w+)\?:", declared[1], re.MULTILINE))
    code = read_module("client.js").decode()
    read = set(re.findall(r"(?<=options\.)\w+|(?<=options\?\.)\w+", code))
    for group in re.findall(r"const \{([^}]*)\} = this\.#options", code):
        read |= {name.partition(":")[0].strip() for name in group.split(",")}
    assert read == names
