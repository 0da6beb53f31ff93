// The list of events, with the states of their deliveries, filters and a search.

import { fill, h } from "./dom.js";
import { periodFilter, periodQuery, select, typeSelect } from "./forms.js";
import { time } from "./format.js";
import { icon } from "./icons.js";
import { pagedTable, unlessNotSupported } from "./lists.js";
import { EVENT_STATES, eventPills } from "./states.js";
import { button, empty, linkButton, pill, rowId, rowLink } from "./ui.js";
import { masked, shortened } from "./urls.js";

const FILTERS = ["text", "state", "endpoint", "type", "channel", "period", "from", "to"];
const PAGE = 50;
// One call looks at a few thousand events. So many of them are made until some match.
const CALLS = 10;
const ENOUGH = 10;
const IDS = [[/^msg_[0-9A-Za-z]{27}$/, "/events/"], [/^ep_[0-9A-Za-z]{22,40}$/, "/endpoints/"]];

export async function eventsPage(app, view) {
  view.title("Events", { text: "Everything that happened, and whether it was delivered.", actions: linkButton("Watch live", "#/live", { glyph: "live" }) });
  const filters = Object.fromEntries(FILTERS.map((name) => [name, view.query.get(name) ?? ""]));
  const change = (changes) => {
    Object.assign(filters, changes);
    view.setQuery(filters);
    list.reload();
  };
  const tools = toolbar(app, view, filters, change, () => list.reload());
  const fetch = async (cursor) => {
    const found = await search(app, view, filters, cursor);
    tools.states.forEach((one) => (one.hidden = !found.states));
    return found;
  };
  const blank = () =>
    Object.values(filters).some(Boolean)
      ? empty({ glyph: "search", title: "No matches", text: "No events match these filters." })
      : empty({ glyph: "events", title: "No events yet", text: "Events appear here as soon as they happen.", action: linkButton("Getting started", "#/start") });
  const head = [["Event", ""], ["State", ""], ["Id", "wide"], ["Time", "middle end"], ["", "wide"]];
  const list = pagedTable(app, view, { label: "Events", head, fetch, row: eventRow, blank });
  view.root.append(tools.element, h("div", { class: "card flush" }, list));
}

function toolbar(app, view, filters, change, reload) {
  const text = searchField("Search in payloads, or an event id", filters.text, (value) => {
    const [, address] = IDS.find(([pattern]) => pattern.test(value)) ?? [];
    if (address) app.go(`${address}${value}`);
    else change({ text: value });
  });
  const state = select("State", EVENT_STATES, filters.state, (value) => change({ state: value }));
  const endpoint = h("span", { class: "slot" }, select("Endpoint", [["", "All endpoints"]], ""));
  app
    .endpoints(view.signal)
    .then((endpoints) => fill(endpoint, endpointSelect(endpoints, filters.endpoint, (value) => change({ endpoint: value }))))
    .catch(() => {});
  const types = h("span", { class: "slot" }, typeSelect("Event type", [], ""));
  app.catalog().then((catalog) => fill(types, typeSelect("Event type", catalog, filters.type, (type) => change({ type })))).catch(() => {});
  const channel = h("input", { class: "input", type: "search", placeholder: "Any channel", "aria-label": "Channel", value: filters.channel });
  channel.addEventListener("change", () => change({ channel: channel.value.trim() }));
  const refresh = button("Refresh", { small: true, kind: "ghost", glyph: "rotate", action: reload });
  const element = h("div", { class: "filters" }, text, state, endpoint, types, channel, periodFilter(filters, change), refresh);
  return { element, states: [text, state, endpoint] };
}

/** A drop-down of endpoints. */
export function endpointSelect(endpoints, value, change) {
  const names = endpoints.map((endpoint) => [endpoint.id, endpoint.description || shortened(masked(endpoint.url), 40)]);
  return select("Endpoint", [["", "All endpoints"], ...names], value, change);
}

/** A field that searches when Enter is pressed, or when it is left. */
export function searchField(label, value, change) {
  const input = h("input", { class: "input", type: "search", placeholder: label, "aria-label": label, maxlength: 200, autocomplete: "off", value });
  input.addEventListener("change", () => change(input.value.trim()));
  return h("div", { class: "search" }, icon("search"), input);
}

/** Some events that match. `states` says whether the server knows the states of deliveries. */
async function search(app, view, filters, cursor) {
  const { text, state, endpoint } = filters;
  const query = { event_type: filters.type, channel: filters.channel, limit: PAGE, ...periodQuery(filters) };
  const items = [];
  for (let call = 0; call < CALLS; call += 1) {
    const page = await unlessNotSupported(app.api.get("events/search", { ...query, text, state, endpoint, cursor }, view.signal));
    if (page === null) return withoutStates(app, view, { ...query, cursor });
    items.push(...page.events);
    cursor = page.nextCursor;
    if (page.done || items.length >= ENOUGH) return { items, nextCursor: cursor, done: page.done, states: true };
  }
  return { items, nextCursor: cursor, done: false, states: true };
}

async function withoutStates(app, view, query) {
  const page = await app.api.get("events", query, view.signal);
  const items = page.events.map((event) => ({ ...event, preview: preview(event.payload?.data) }));
  return { items, nextCursor: page.nextCursor, done: page.done, states: false };
}

function eventRow(event) {
  const link = rowLink(`#/events/${encodeURIComponent(event.id)}`, { className: "strong" }, event.eventType);
  return h(
    "tr",
    {},
    h("td", { class: "grow" }, h("div", {}, link, event.test && pill("quiet", "Test")), h("div", { class: "under preview" }, event.preview), h("div", { class: "under small-only" }, time(event.timestamp))),
    h("td", { class: "fit" }, h("div", { class: "pills" }, eventPills(event))),
    h("td", { class: "wide fit" }, rowId(event.id, "event id")),
    h("td", { class: "middle fit end" }, time(event.timestamp)),
    h("td", { class: "wide fit arrow" }, icon("chevron")),
  );
}

/** The start of some data, on one line. */
export function preview(data) {
  const text = JSON.stringify(data ?? {}, (key, value) => (typeof value === "string" && value.length > 80 ? `${value.slice(0, 80)}…` : value));
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}
