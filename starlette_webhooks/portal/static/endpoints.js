// The list of endpoints: what needs attention comes first.

import { afterFrame, fill, h } from "./dom.js";
import { path } from "./api.js";
import { sparkline } from "./charts.js";
import { count, rate } from "./format.js";
import { icon } from "./icons.js";
import { pagedTable, unlessNotSupported } from "./lists.js";
import { searchField } from "./events.js";
import { statePill, urgency } from "./health.js";
import { copyButton, empty, linkButton, rowLink } from "./ui.js";
import { urlText } from "./urls.js";

const AT_A_TIME = 4;
const SHOWN = 25;

export async function endpointsPage(app, view) {
  view.title("Endpoints", {
    text: "Where your events are delivered.",
    actions: app.write && linkButton("Add endpoint", "#/endpoints/new", { kind: "primary", glyph: "plus" }),
  });
  const queue = limited(AT_A_TIME);
  let text = view.query.get("text") ?? "";
  // All of them are read only for a search, or where the server cannot order them.
  let all = null;
  const listed = new Set();
  const fetch = async (start) => {
    const page = all === null && text === "" ? await byUrgency(app, view, start) : null;
    if (page !== null) {
      if (start === null) {
        listed.clear();
        tools.hidden = page.endpoints.length === 0;
      }
      // One whose state has changed meanwhile may come again.
      return { ...page, items: page.endpoints.filter(({ id }) => !listed.has(id) && listed.add(id)) };
    }
    all ??= (await app.endpoints(view.signal)).sort((one, other) => urgency(one) - urgency(other));
    tools.hidden = all.length === 0;
    const found = all.filter((endpoint) => contains(endpoint, text));
    const end = (start ?? 0) + SHOWN;
    return { items: found.slice(start ?? 0, end), nextCursor: end, done: end >= found.length };
  };
  const search = searchField("Search by URL, description or id", text, (value) => {
    text = value;
    view.setQuery({ text });
    list.reload();
  });
  const tools = h("div", { class: "filters", hidden: true }, search);
  const noMatches = () => empty({ glyph: "search", title: "No matches", text: "No endpoint has this text in its URL, description or id." });
  const noneYet = () =>
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
  const blank = () => (text ? noMatches() : noneYet());
  const list = pagedTable(app, view, { label: "Endpoints", head, fetch, row, blank });
  view.root.append(tools, h("div", { class: "card flush" }, list));
}

function byUrgency(app, view, cursor) {
  return unlessNotSupported(app.api.get("endpoints", { order: "urgency", limit: SHOWN, cursor }, view.signal));
}

function contains({ id, url, description }, text) {
  const wanted = text.toLowerCase();
  return [id, url, description].some((value) => value.toLowerCase().includes(wanted));
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

/** Runs at most `size` tasks at a time, in order, each after the frame that shows what came with it. */
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
    afterFrame(next);
  };
}
