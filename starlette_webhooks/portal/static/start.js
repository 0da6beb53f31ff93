// Getting started.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { loader } from "./lists.js";
import { reading, verification } from "./snippets.js";
import { testButton } from "./testing.js";
import { linkButton } from "./ui.js";
import { urlText } from "./urls.js";

const SAMPLE = { name: "test.ping", example: { hello: "world" } };

export async function startPage(app, view) {
  view.title("Getting started", { text: "Receive your first verified webhook in four steps." });
  view.root.append(
    loader(app, view, {
      rows: 6,
      fetch: () => Promise.all([firstEnabled(app, view.signal), app.catalog()]),
      render: ([first, catalog]) => steps(app, first, catalog),
    }),
  );
}

async function firstEnabled(app, signal) {
  for await (const endpoints of app.endpointPages(signal)) {
    const found = endpoints.find((endpoint) => !endpoint.disabled);
    if (found) return found;
  }
  return null;
}

function steps(app, first, catalog) {
  const type = catalog.find((one) => one.example && one.name !== SAMPLE.name) ?? SAMPLE;
  const add = first
    ? h("div", { class: "actions" }, linkButton("See endpoints", "#/endpoints"))
    : app.write && h("div", { class: "actions" }, linkButton("Add endpoint", "#/endpoints/new", { kind: "primary", glyph: "plus" }));
  const test = first && app.write ? h("div", { class: "actions" }, testButton(app, first)) : null;
  return h(
    "ol",
    { class: "steps" },
    step(Boolean(first), "Add an endpoint", "Enter the URL of your server and choose the events to send there. The endpoint gets its own signing secret.", add),
    step(false, "Verify the signature", "Deliveries are signed according to Standard Webhooks. Put the endpoint's secret into WEBHOOK_SECRET, and verify each request before you trust it.", verification(app, type)),
    step(false, "Send a test event", first ? ["It is delivered to ", urlText(first.url), " like a real event, and you see the response at once."] : "Once you have an endpoint, send it a test event and see its response.", test),
    step(false, "Or read events without a server", "List events, or keep a stream open. Authenticate with an API key.", reading(app)),
  );
}

function step(done, title, text, content) {
  return h(
    "li",
    { class: done ? "done" : null },
    h("div", { class: "step-mark", "aria-hidden": "true" }, done ? icon("check") : null),
    h("div", { class: "step-body" }, h("h2", {}, title, done && h("span", { class: "visually-hidden" }, " (done)")), h("p", {}, text), content),
  );
}
