// The list of endpoints.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { sparkline } from "./charts.js";
import { count, rate } from "./format.js";
import { icon } from "./icons.js";
import { pagedTable } from "./lists.js";
import { copyButton, empty, linkButton, pill, rowLink } from "./ui.js";
import { urlText } from "./urls.js";

const REASONS = { gone: "Your server answered 410 Gone", failing: "Failed for days", manual: "Disabled manually" };
const AT_A_TIME = 4;

/** Whether an endpoint receives events, in one word. */
export function statePill(endpoint) {
  if (!endpoint.disabled) return pill("good", "Enabled");
  const failed = endpoint.disabledReason === "gone" || endpoint.disabledReason === "failing";
  return pill(failed ? "bad" : "quiet", "Disabled", REASONS[endpoint.disabledReason]);
}

/** Why an endpoint is disabled, in one sentence. */
export function disabledWords(endpoint) {
  if (endpoint.disabledReason === "gone") return "Your server answered 410 Gone, which means that it wants no more deliveries.";
  if (endpoint.disabledReason === "failing") return "Every delivery failed for days, so the endpoint was disabled.";
  return "Nothing is delivered here. Events are still stored.";
}

export async function endpointsPage(app, view) {
  view.title("Endpoints", {
    text: "Where your events are delivered.",
    actions: app.write && linkButton("Add endpoint", "#/endpoints/new", { kind: "primary", glyph: "plus" }),
  });
  const queue = limited(AT_A_TIME);
  const fetch = async (cursor) => {
    const page = await app.api.get("endpoints", { limit: 50, cursor }, view.signal);
    return { ...page, items: page.endpoints };
  };
  const blank = () =>
    empty({
      glyph: "endpoints",
      title: "No endpoints yet",
      text: app.write
        ? "Add the URL of your server and choose the events to send there."
        : "Someone with write access can add the first one.",
      action: app.write
        ? [linkButton("Add endpoint", "#/endpoints/new", { kind: "primary", glyph: "plus" }), linkButton("Getting started", "#/start")]
        : linkButton("Getting started", "#/start"),
    });
  const head = [["Endpoint", ""], ["Events", "wide"], ["Last 24 hours", "middle"], ["State", ""], ["", "wide"]];
  const row = (endpoint) => endpointRow(app, view, endpoint, queue);
  view.root.append(h("div", { class: "card flush" }, pagedTable(app, view, { label: "Endpoints", head, fetch, row, blank })));
}

function endpointRow(app, view, endpoint, queue) {
  const figures = h("div", { class: "figures" }, h("span", { class: "skeleton-bar" }));
  const below = h("div", { class: "figures small-only" });
  queue(async () => {
    try {
      const stats = await app.api.get(path`endpoints/${endpoint.id}/stats`, {}, view.signal);
      for (const place of [figures, below]) fill(place, sparkline(stats), h("span", { class: "rate" }, rate(stats.success, stats.fail)));
    } catch {
      fill(figures, h("span", { class: "faint" }, "–"));
    }
  });
  const types = endpoint.eventTypes.length === 0 ? "All events" : count(endpoint.eventTypes.length, "type");
  const link = rowLink(`#/endpoints/${encodeURIComponent(endpoint.id)}`, {}, h("span", { class: "above" }, urlText(endpoint.url)));
  return h(
    "tr",
    {},
    h("td", { class: "grow" }, h("div", { class: "row-url" }, link, h("span", { class: "row-id" }, copyButton(endpoint.url, "Copy URL"))), endpoint.description && h("div", { class: "under" }, endpoint.description), below),
    h("td", { class: "wide fit", title: endpoint.eventTypes.join("\n") || null }, types),
    h("td", { class: "middle fit" }, figures),
    h("td", { class: "fit" }, statePill(endpoint)),
    h("td", { class: "wide fit arrow" }, icon("chevron")),
  );
}

/** Runs at most `size` tasks at a time, in order. */
function limited(size) {
  const waiting = [];
  let running = 0;
  const next = () => {
    if (running >= size || waiting.length === 0) return;
    running += 1;
    waiting.shift()().finally(() => {
      running -= 1;
      next();
    });
  };
  return (task) => {
    waiting.push(task);
    next();
  };
}
