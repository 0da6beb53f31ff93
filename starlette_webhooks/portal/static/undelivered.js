// What never arrived, over all endpoints, and its retry: of some rows, or of everything that the filters show.

import { fill, h } from "./dom.js";
import { open } from "./dialogs.js";
import { endpointSelect } from "./events.js";
import { periodFilter, periodQuery, select, typeSelect } from "./forms.js";
import { ago, count, number, time } from "./format.js";
import { pagedTable } from "./lists.js";
import { attemptsBefore, follow } from "./progress.js";
import { UNDELIVERED, statePillOf } from "./states.js";
import { busy, button, empty, notice, pill, rowId, rowLink } from "./ui.js";
import { urlText } from "./urls.js";

const FILTERS = ["endpoint", "state", "type", "code", "period", "from", "to"];
const STATES = [["", "Any state"], ...UNDELIVERED];
const CLASSES = [["", "Any response"], ["2", "2xx"], ["3", "3xx"], ["4", "4xx"], ["5", "5xx"], ["0", "No response"]];
const MOST_PICKED = 250;

export async function undeliveredPage(app, view) {
  const filters = Object.fromEntries(FILTERS.map((name) => [name, view.query.get(name) ?? ""]));
  const picked = app.write ? selection() : null;
  const again = () => list.reload();
  const all = app.write && button("Retry all of these", { kind: "primary", glyph: "rotate", action: () => retry(app, filterOf(filters), view.signal, again) });
  const some = app.write && button("Retry selected", { glyph: "rotate", action: () => retry(app, { deliveries: picked.named() }, view.signal, again) });
  view.title("Undelivered", { text: "What no endpoint has confirmed yet.", actions: [some, all] });
  picked?.onChange((size) => {
    some.hidden = size === 0;
    fill(some.querySelector("span"), `Retry ${number(size)} selected`);
  });
  const change = (changes) => {
    Object.assign(filters, changes);
    view.setQuery(filters);
    list.reload();
  };
  const fetch = async (cursor) => {
    const query = { endpoint: filters.endpoint, state: filters.state, event_type: filters.type, status_code_class: filters.code, limit: 50, cursor };
    const page = await app.api.get("undelivered", { ...query, ...periodQuery(filters) }, view.signal);
    if (cursor === null) picked?.clear();
    // What waits for its first attempt needs no retry.
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
  view.root.append(toolbar(app, view, filters, change), h("div", { class: "card flush" }, list));
}

function toolbar(app, view, filters, change) {
  const endpoint = h("span", { class: "slot" }, endpointSelect([], ""));
  app
    .endpoints(view.signal)
    .then((endpoints) => fill(endpoint, endpointSelect(endpoints, filters.endpoint, (value) => change({ endpoint: value }))))
    .catch(() => {});
  const types = h("span", { class: "slot" }, typeSelect("Event type", [], ""));
  app.catalog().then((catalog) => fill(types, typeSelect("Event type", catalog, filters.type, (type) => change({ type })))).catch(() => {});
  const state = select("State", STATES, filters.state, (value) => change({ state: value }));
  const code = select("Response", CLASSES, filters.code, (value) => change({ code: value }));
  return h("div", { class: "filters" }, endpoint, state, code, types, periodFilter(filters, change));
}

/** The rows that someone selected. `all` selects those that are shown. */
function selection() {
  const boxes = new Map();
  const listeners = [];
  const all = h("input", { type: "checkbox", "aria-label": "Select all that are shown" });
  const chosen = () => [...boxes].filter(([, box]) => box.checked);
  const tell = () => {
    const size = chosen().length;
    all.checked = size > 0 && size === Math.min(boxes.size, MOST_PICKED);
    all.indeterminate = size > 0 && !all.checked;
    listeners.forEach((listener) => listener(size));
  };
  all.addEventListener("change", () => {
    [...boxes.values()].forEach((box, index) => (box.checked = all.checked && index < MOST_PICKED));
    tell();
  });
  const add = (one) => {
    const box = h("input", { type: "checkbox", "aria-label": `Select ${one.eventType} ${one.eventId}` });
    box.addEventListener("change", () => {
      if (chosen().length > MOST_PICKED) box.checked = false;
      tell();
    });
    boxes.set(one, box);
    tell();
    return box;
  };
  const clear = () => {
    boxes.clear();
    tell();
  };
  const onChange = (listener) => {
    listeners.push(listener);
    tell();
  };
  const named = () => {
    const events = {};
    for (const [one] of chosen()) (events[one.endpointId] ??= []).push(one.eventId);
    return events;
  };
  return { all, add, clear, onChange, named };
}

function undeliveredRow(one, picked) {
  const last = one.attempts === 0 ? "No attempt yet" : one.statusCode ? `HTTP ${one.statusCode}` : one.error || "No response";
  return h(
    "tr",
    {},
    picked && h("td", { class: "pick" }, picked.add(one)),
    h("td", { class: "fit" }, one.endpointDisabled ? pill("quiet", "Disabled") : statePillOf(one.state)),
    h("td", {}, h("div", {}, rowLink(`#/events/${encodeURIComponent(one.eventId)}`, { className: "strong" }, one.eventType)), h("div", { class: "under" }, rowId(one.eventId, "event id"), time(one.timestamp))),
    h("td", { class: "wide" }, h("div", {}, urlText(one.url)), h("div", { class: "under" }, `${last} · ${count(one.attempts, "attempt")}`)),
    h("td", { class: "middle fit end" }, one.nextAttemptAt && !one.endpointDisabled ? ago(one.nextAttemptAt) : "None"),
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

/** Count what a filter matches, or what was selected, ask, retry it, and show the progress. */
async function retry(app, body, signal, changed) {
  const found = await app.api.post("undelivered/retry", { ...body, countOnly: true }, signal);
  const many = `${found.exact ? "" : "More than "}${count(found.matching, "delivery", "deliveries")}`;
  const stop = new AbortController();
  const place = h("div", { class: "test-result", "aria-live": "polite" });
  const cancel = button("Cancel", { action: () => made.close() });
  const go = found.matching > 0 && found.exact ? button("Retry now", { kind: "primary" }) : null;
  const foot = h("div", { class: "dialog-foot" }, cancel, go);
  const made = open(found.matching === 0 ? "Nothing to retry" : `Retry ${many}?`, { className: "narrow" }, h("div", { class: "prose" }, h("p", {}, advice(found))), place, foot);
  made.addEventListener("close", () => {
    stop.abort();
    changed();
  });
  go?.addEventListener("click", () =>
    busy(go, async () => {
      try {
        const before = await attemptsBefore(app, "attempts", {}, stop.signal);
        const done = await app.api.post("undelivered/retry", body, stop.signal);
        go.remove();
        fill(cancel.querySelector("span"), "Close");
        await show(app, done, before, place, stop.signal);
      } catch (error) {
        if (error.name !== "AbortError") fill(place, notice("bad", error.message));
      }
    }),
  );
  (go || cancel).focus();
}

function advice({ matching, exact }) {
  if (matching === 0) return "Deliveries that wait for their first attempt are made by themselves.";
  return exact ? "They are sent again now, to the endpoints that have not confirmed them." : "That is too much for one go. Choose one endpoint or a shorter time first.";
}

async function show(app, done, before, place, signal) {
  const disabled = done.disabled > 0 && notice("warn", `${number(done.disabled)} left out, because their endpoints are disabled.`);
  if (done.queued === 0) return void fill(place, disabled || notice("good", "Nothing to hurry: these are attempted again within half a minute."));
  const bar = h("div", {});
  fill(place, disabled, h("p", { class: "dialog-note" }, `${number(done.queued)} queued.`), bar);
  await follow(app, { address: "attempts", total: done.queued, before, place: bar, signal });
}
