// The list of events, with the states of their deliveries, filters and a search.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { MOST_NAMED, byEndpoint, retry, selection, selectionBar } from "./bulk.js";
import { periodFilter, periodQuery, select, typeFilter } from "./forms.js";
import { time } from "./format.js";
import { icon } from "./icons.js";
import { pagedTable, unlessNotSupported } from "./lists.js";
import { EVENT_STATES, eventPills } from "./states.js";
import { button, empty, linkButton, pill, rowId, rowLink, toast } from "./ui.js";
import { masked, shortened } from "./urls.js";

const FILTERS = ["text", "state", "endpoint", "type", "channel", "period", "from", "to"];
const PAGE = 25;
// One call looks at a few thousand events. At most this many are made until enough events match.
const CALLS = 10;
const ENOUGH = 10;
const IDS = [[/^msg_[0-9A-Za-z]{27}$/, "/events/"], [/^ep_[0-9A-Za-z]{22,40}$/, "/endpoints/"]];

export async function eventsPage(app, view) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, view.query.get(name) ?? ""]));
  const picked = app.write ? selection() : null;
  const bar = picked && selectionBar(picked, () => retryEvents(app, view, picked.chosen(), filters.endpoint, () => list.reload()));
  view.title("Events", { text: "Everything that happened, and whether it was delivered.", actions: linkButton("Watch live", "#/live", { glyph: "live" }) });
  const change = (changes) => {
    Object.assign(filters, changes);
    view.setQuery(filters);
    list.reload();
  };
  const fetch = async (cursor) => {
    const found = await search(app, view, filters, cursor);
    tools.states.forEach((one) => (one.hidden = !found.states));
    if (cursor === null) picked?.clear();
    return found;
  };
  const blank = () =>
    Object.values(filters).some(Boolean)
      ? empty({ glyph: "search", title: "No matches", text: "No events match these filters." })
      : empty({ glyph: "events", title: "No events yet", text: "Events appear here as soon as they happen.", action: linkButton("Getting started", "#/start") });
  const head = [["Event", ""], ["State", ""], ["Id", "wide"], ["Time", "middle end"], ["", "wide"]];
  if (picked) head.unshift([picked.all, "pick"]);
  const list = pagedTable(app, view, { label: "Events", head, fetch, row: (event) => eventRow(event, picked), blank });
  // Made while the list waits for the server.
  const tools = toolbar(app, view, filters, change, list.reload);
  view.root.append(tools.element, bar ?? "", h("div", { class: "card flush" }, list));
  list.shown.then(tools.load);
}

function toolbar(app, view, filters, change, reload) {
  const text = searchField("Search in payloads, or an event id", filters.text, (value) => {
    const [, address] = IDS.find(([pattern]) => pattern.test(value)) ?? [];
    if (address) app.go(`${address}${value}`);
    else change({ text: value });
  });
  const state = select("State", EVENT_STATES, filters.state, (value) => change({ state: value }));
  const endpoint = endpointFilter(app, view, filters, change);
  const types = typeFilter(app, filters, change);
  const channel = h("input", { class: "input", type: "search", placeholder: "Any channel", "aria-label": "Channel", value: filters.channel });
  channel.addEventListener("change", () => change({ channel: channel.value.trim() }));
  const refresh = button("Refresh", { small: true, kind: "ghost", glyph: "rotate", action: reload });
  const element = h("div", { class: "filters" }, text, state, endpoint, types, channel, periodFilter(filters, change), refresh);
  const load = () => Promise.all([types.load(), endpoint.load()]);
  return { element, load, states: [text, state, endpoint] };
}

/** A filter by endpoint. `.load()` adds its options page by page, once nothing more important is loading. */
export function endpointFilter(app, view, filters, change) {
  const chosen = filters.endpoint;
  const made = select("Endpoint", [["", "All endpoints"], ...(chosen ? [[chosen, chosen]] : [])], chosen, (endpoint) => change({ endpoint }));
  const add = (endpoint) => {
    const name = endpoint.description || shortened(masked(endpoint.url), 40);
    if (endpoint.id === chosen) fill(made.options[1], name);
    else made.append(h("option", { value: endpoint.id }, name));
  };
  made.load = async () => {
    try {
      for await (const endpoints of app.endpointPages(view.signal)) endpoints.forEach(add);
    } catch {
      // Without its options, the filter is of less use. The page is not.
    }
  };
  return made;
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

/** Retry the deliveries of events that failed, to one endpoint or to all. */
async function retryEvents(app, view, events, endpoint, changed) {
  const found = [];
  for (const event of events) found.push(...(await failedDeliveries(app, view, event, endpoint, MOST_NAMED - found.length)));
  if (found.length > MOST_NAMED) return toast(`These are more than ${MOST_NAMED} deliveries. Select fewer events, or retry them under Undelivered.`, "bad");
  if (found.length > 0) return retry(app, { deliveries: byEndpoint(found) }, view.signal, changed);
  toast("Nothing to retry: these deliveries have succeeded meanwhile.");
  changed();
}

/** At most `most` of them, or one more if there are more. */
async function failedDeliveries(app, view, event, endpoint, most) {
  const found = [];
  let cursor = null;
  do {
    const page = await app.api.get(path`events/${event.id}/deliveries`, { limit: 250, cursor }, view.signal);
    found.push(...page.deliveries.filter((one) => failed(one.state) && (!endpoint || one.endpointId === endpoint)));
    cursor = page.done ? null : page.nextCursor;
  } while (cursor && found.length <= most);
  return found.slice(0, most + 1).map(({ endpointId }) => ({ endpointId, eventId: event.id }));
}

const failed = (state) => state === "failing" || state === "exhausted";

function eventRow(event, picked) {
  const retryable = event.failing > 0 || event.exhausted > 0;
  const link = rowLink(`#/events/${encodeURIComponent(event.id)}`, { className: "strong" }, event.eventType);
  return h(
    "tr",
    {},
    picked && h("td", { class: "pick" }, retryable && picked.add(event, `${event.eventType} ${event.id}`)),
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
