// Undelivered events of all endpoints, and retrying them: selected rows, or everything that matches the filters.

import { h } from "./dom.js";
import { byEndpoint, retry, selection, selectionBar } from "./bulk.js";
import { endpointFilter } from "./events.js";
import { periodFilter, periodQuery, select, typeFilter } from "./forms.js";
import { count, due, time } from "./format.js";
import { pagedTable } from "./lists.js";
import { UNDELIVERED, statePillOf } from "./states.js";
import { button, empty, pill, rowId, rowLink } from "./ui.js";
import { urlText } from "./urls.js";

const FILTERS = ["endpoint", "state", "type", "code", "period", "from", "to"];
const STATES = [["", "Any state"], ...UNDELIVERED];
const CLASSES = [["", "Any response"], ["2", "2xx"], ["3", "3xx"], ["4", "4xx"], ["5", "5xx"], ["0", "No response"]];

export async function undeliveredPage(app, view) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, view.query.get(name) ?? ""]));
  const picked = app.write ? selection() : null;
  const again = () => list.reload();
  const all = app.write && button("Retry all of these", { kind: "primary", glyph: "rotate", action: () => retry(app, filterOf(filters), view.signal, again) });
  const bar = picked && selectionBar(picked, () => retry(app, { deliveries: byEndpoint(picked.chosen()) }, view.signal, again));
  view.title("Undelivered", { text: "What no endpoint has confirmed yet.", actions: all });
  const change = (changes) => {
    Object.assign(filters, changes);
    view.setQuery(filters);
    list.reload();
  };
  const fetch = async (cursor) => {
    const query = { endpoint: filters.endpoint, state: filters.state, event_type: filters.type, status_code_class: filters.code, limit: 25, cursor };
    const page = await app.api.get("undelivered", { ...query, ...periodQuery(filters) }, view.signal);
    if (cursor === null) picked?.clear();
    // Deliveries that wait for their first attempt need no retry.
    if (all) all.hidden = filters.state === "waiting" || (cursor === null && page.done && page.undelivered.length === 0);
    return { ...page, items: page.undelivered };
  };
  const blank = () =>
    Object.values(filters).some(Boolean)
      ? empty({ glyph: "search", title: "No matches", text: "No undelivered events match these filters." })
      : empty({ glyph: "check", title: "Everything was delivered", text: "Every event that your endpoints should receive was confirmed." });
  const head = [["State", ""], ["Event", ""], ["Endpoint", "wide"], ["Next attempt", "middle end"]];
  if (picked) head.unshift([picked.all, "pick"]);
  const list = pagedTable(app, view, { label: "Undelivered", head, fetch, row: (one) => undeliveredRow(one, picked), blank });
  const endpoint = endpointFilter(app, view, filters, change);
  const types = typeFilter(app, filters, change);
  view.root.append(toolbar(endpoint, types, filters, change), bar ?? "", h("div", { class: "card flush" }, list));
  list.shown.then(() => Promise.all([types.load(), endpoint.load()]));
}

function toolbar(endpoint, types, filters, change) {
  const state = select("State", STATES, filters.state, (value) => change({ state: value }));
  const code = select("Response", CLASSES, filters.code, (value) => change({ code: value }));
  return h("div", { class: "filters" }, endpoint, state, code, types, periodFilter(filters, change));
}

function undeliveredRow(one, picked) {
  const last = one.statusCode ? `HTTP ${one.statusCode}` : one.error || "No response";
  return h(
    "tr",
    {},
    picked && h("td", { class: "pick" }, picked.add(one, `${one.eventType} ${one.eventId}`)),
    h("td", { class: "fit" }, one.endpointDisabled ? pill("quiet", "Disabled") : statePillOf(one.state)),
    h("td", {}, h("div", {}, rowLink(`#/events/${encodeURIComponent(one.eventId)}`, { className: "strong" }, one.eventType)), h("div", { class: "under" }, rowId(one.eventId, "event id"), time(one.timestamp))),
    h("td", { class: "wide" }, h("div", {}, urlText(one.url)), h("div", { class: "under" }, one.attempts === 0 ? "No attempt yet" : `${last} · ${count(one.attempts, "attempt")}`)),
    h("td", { class: "middle fit end" }, one.nextAttemptAt && !one.endpointDisabled ? due(one.nextAttemptAt) : "None"),
  );
}

function filterOf(filters) {
  const { after, before } = periodQuery(filters);
  return {
    ...(filters.endpoint && { endpoint: filters.endpoint }),
    ...(filters.type && { eventTypes: [filters.type] }),
    ...(["exhausted", "failing"].includes(filters.state) && { states: [filters.state] }),
    ...(filters.code && { statusCodeClass: Number(filters.code) }),
    ...(after && { after }),
    ...(before && { before }),
  };
}
