"""The home page as HTML. Independent of frameworks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from example_app.documents import Document
from example_app.workspace import SCOPES, APIKey, User

__all__ = ["HEADERS", "home", "sign_in"]

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d9dde3, #3a3f47); --soft: light-dark(#5b6472, #a0a8b4);
  --back: light-dark(#f6f7f9, #15181c); --card: light-dark(#fff, #1d2126); --key: light-dark(#0b5cad, #7ab8ff); }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); font: 16px/1.5 system-ui, sans-serif }
header { display: flex; gap: 1.5rem; align-items: center; padding: .75rem 1.5rem; background: var(--card);
  border-bottom: 1px solid var(--line) }
header strong { margin-right: auto }
a { color: var(--key) }
main { display: grid; gap: 1.25rem; max-width: 68rem; margin: 1.5rem auto; padding: 0 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); align-items: start }
section { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem 1.25rem }
h1, h2 { font-size: 1.1rem; margin: 0 0 .5rem }
p { margin: 0 0 .75rem; color: var(--soft) }
ul { list-style: none; margin: 0 0 1rem; padding: 0 }
li { display: flex; flex-wrap: wrap; gap: .25rem .75rem; justify-content: space-between; padding: .5rem 0;
  border-top: 1px solid var(--line) }
small, .soft { color: var(--soft) }
code, output { font: .85rem ui-monospace, monospace; overflow-wrap: anywhere }
label { display: block; margin-bottom: .75rem }
fieldset { border: 0; margin: 0 0 .75rem; padding: 0 }
fieldset label { margin: 0 }
input:not([type=checkbox]) { display: block; width: 100%; font: inherit; padding: .4rem .6rem; border-radius: .35rem;
  border: 1px solid var(--line) }
button { font: inherit; padding: .35rem .9rem; border-radius: .35rem; border: 1px solid var(--line); cursor: pointer }
output:not(:empty) { display: block; margin-top: .75rem; padding: .6rem; border: 1px solid var(--line);
  border-radius: .35rem }
"""

_SCRIPT = """
"use strict";
async function call(method, path, body) {
  const answer = await fetch(path, {
    method, headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body),
  });
  if (answer.ok) return answer.status === 204 ? {} : answer.json();
  const error = await answer.json().catch(() => ({}));
  throw new Error(typeof error.detail === "string" ? error.detail : "The request failed.");
}
for (const form of document.querySelectorAll("form")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { method, path } = form.dataset, output = form.querySelector("output");
    const fields = new FormData(form), body = Object.fromEntries(fields);
    if (fields.has("scopes")) body.scopes = fields.getAll("scopes");
    try {
      const made = await call(method, path, method === "POST" ? body : undefined);
      if (!made.secret) return location.reload();
      output.textContent = `Copy the key now. It is not shown again: ${made.secret}`;
    } catch (error) {
      output.textContent = error.message;
    }
  });
}
const list = document.querySelector("#events");
const shown = new Set();
function show(event) {
  if (shown.has(event.id)) return;
  shown.add(event.id);
  const [item, name, time] = ["li", "span", "small"].map((tag) => document.createElement(tag));
  name.textContent = event.eventType;
  time.textContent = new Date(event.timestamp).toLocaleTimeString();
  item.title = JSON.stringify(event.payload.data);
  item.append(name, time);
  list.prepend(item);
  while (list.children.length > 10) list.lastChild.remove();
}
if (list) {
  // What is stored after the stream has opened comes over it. The list, if read then, has what was stored before.
  const stream = new EventSource("api/v1/webhooks/events/stream");
  const listed = new Promise((opened) => stream.addEventListener("open", opened, { once: true }))
    .then(() => call("GET", "api/v1/webhooks/events?limit=10"))
    .then(({ events }) => events.reverse().forEach(show));
  stream.onmessage = (message) => listed.then(() => show(JSON.parse(message.data)));
}
"""


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; connect-src 'self'; img-src data:; style-src 'sha256-{_digest(_STYLE)}'; "
        f"script-src 'sha256-{_digest(_SCRIPT)}'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}
"""The headers of each page."""


def sign_in() -> str:
    """Return the page for users who are not signed in."""
    return _page(
        "<header><strong>Folio</strong></header>",
        """<section><h1>Sign in</h1>
        <p>Try <code>ada@example.com</code> with the password <code>ada-demo</code>.</p>
        <p>In this demo only, <code>olga@example.com</code> with <code>olga-demo</code> may open the console.</p>
        <form data-method="POST" data-path="session">
        <label>Email <input name="email" type="email" autocomplete="username" required></label>
        <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
        <button>Sign in</button><output></output></form></section>""",
    )


def home(user: User, keys: Iterable[APIKey], documents: Iterable[Document], *, operates: bool) -> str:
    """Return the page of a user. `operates` adds a link to the operator's console."""
    console = '<a href="operate/">Console</a>' if operates else ""
    header = f"""<header><strong>Folio</strong>{console}<a href="webhooks/">Webhooks</a><span>{escape(user.name)}</span>
    <form data-method="DELETE" data-path="session"><button>Sign out</button><output></output></form></header>"""
    return _page(header, _documents(documents) + _keys(keys) + _EVENTS)


_EVENTS = """<section><h2>Events</h2><p>New events appear as they happen. Customers get the same stream.</p>
<ul id="events" aria-live="polite"></ul></section>"""


def _documents(documents: Iterable[Document]) -> str:
    items = "".join(
        f"<li><span>{escape(document.title)}</span><small>{document.created_at:%H:%M}</small></li>"
        for document in documents
    )
    return f"""<section><h2>Documents</h2><p>Creating one emits <code>document.created</code> in the same
    transaction.</p><ul>{items}</ul>
    <form data-method="POST" data-path="api/v1/documents">
    <label>Title <input name="title" maxlength="200" required></label>
    <button>Create document</button><output></output></form></section>"""


def _keys(keys: Iterable[APIKey]) -> str:
    items = "".join(
        f"""<li><span>{escape(key.name)}<br><small>{escape(", ".join(sorted(key.scopes)))}</small></span>
        <form data-method="DELETE" data-path="api/v1/keys/{escape(key.id)}"><button>Revoke</button>
        <output></output></form></li>"""
        for key in keys
    )
    scopes = "".join(
        f'<label><input type="checkbox" name="scopes" value="{scope}" checked> {scope}</label>' for scope in SCOPES
    )
    return f"""<section><h2>API keys</h2><p>Creating one emits <code>api_key.created</code>, and revoking one emits
    <code>api_key.revoked</code>.</p><ul>{items}</ul><form data-method="POST" data-path="api/v1/keys">
    <label>Name <input name="name" maxlength="100" required></label><fieldset>{scopes}</fieldset>
    <button>Create key</button><output></output></form></section>"""


def _page(header: str, main: str) -> str:
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Folio</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>{_STYLE}</style></head>
<body>{header}<main>{main}</main><script>{_SCRIPT}</script></body></html>"""
