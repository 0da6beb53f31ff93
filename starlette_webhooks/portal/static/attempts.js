// Attempts: the table for an endpoint or an event, and the details of one attempt.

import { h } from "./dom.js";
import { path } from "./api.js";
import { open } from "./dialogs.js";
import { periodFilter, periodQuery, select, typeFilter } from "./forms.js";
import { requestHead, resend, response } from "./exchange.js";
import { due, duration, time } from "./format.js";
import { pagedTable, loader } from "./lists.js";
import { button, card, codeBlock, copyButton, empty, facts, linkButton, notice, pill, rowId, rowLink, toast } from "./ui.js";

const STATUSES = [["", "Any result"], ["success", "Succeeded"], ["fail", "Failed"]];
const CLASSES = [["", "Any response"], ["2", "2xx"], ["3", "3xx"], ["4", "4xx"], ["5", "5xx"], ["0", "No response"]];
const TRIGGERS = { scheduled: "Scheduled", manual: "Manual", test: "Test" };

/** The result of an attempt as a word or a number. */
export function attemptPill(attempt) {
  const label = attempt.statusCode ? String(attempt.statusCode) : attempt.status === "success" ? "OK" : "No response";
  return pill(attempt.status === "success" ? "good" : "bad", label, attempt.error || undefined);
}

/** The first attempts of an endpoint by the filters in the address, read beside the endpoint itself. */
export function firstAttempts(app, view, id) {
  const found = readAttempts(app, view, id, filtersOf(view), null);
  // The list shows its error.
  found.catch(() => {});
  return found;
}

const filtersOf = (view) => Object.fromEntries(["status", "code", "type", "period", "from", "to"].map((name) => [name, view.query.get(name) ?? ""]));

async function readAttempts(app, view, id, filters, cursor) {
  const query = { status: filters.status, status_code_class: filters.code, event_type: filters.type, limit: 25, cursor };
  const page = await app.api.get(path`endpoints/${id}/attempts`, { ...query, ...periodQuery(filters) }, view.signal);
  return { ...page, items: page.attempts };
}

/** The attempts of an endpoint, with filters that are kept in the address. `early` are the first ones. */
function attemptLog(app, view, endpoint, early) {
  const filters = filtersOf(view);
  const change = (changes) => {
    Object.assign(filters, changes);
    view.setQuery(filters);
    list.reload();
  };
  const filtered = () => Object.values(filters).some((value) => value !== "");
  let first = early;
  const fetch = (cursor) => {
    const found = first ?? readAttempts(app, view, endpoint.id, filters, cursor);
    first = null;
    return found;
  };
  const blank = () =>
    filtered()
      ? empty({ glyph: "search", title: "No matches", text: "No deliveries match these filters." })
      : empty({ glyph: "inbox", title: "No deliveries yet", text: "Deliveries appear here with your server's response as soon as an event is sent." });
  const row = (attempt) => attemptRow(app, attempt, () => showAttempt(app, attempt, endpoint, list.reload));
  const head = [["Result", ""], ["Event", ""], ["Duration", "wide number"], ["Time", "middle end"]];
  const list = pagedTable(app, view, { label: "Deliveries", head, fetch, row, blank });
  const types = typeFilter(app, filters, change);
  const tools = h(
    "div",
    { class: "filters" },
    select("Result", STATUSES, filters.status, (status) => change({ status })),
    select("Response", CLASSES, filters.code, (code) => change({ code })),
    types,
    periodFilter(filters, change),
  );
  list.shown.then(types.load);
  return { tools, list };
}

function attemptRow(app, attempt, show) {
  const details = [h("span", { class: "small-only" }, time(attempt.timestamp)), rowId(attempt.eventId, "event id"), attempt.trigger !== "scheduled" && pill("quiet", TRIGGERS[attempt.trigger] ?? attempt.trigger)];
  const opener = rowLink(attemptAddress(attempt), { className: "strong", show }, attempt.eventType);
  return h(
    "tr",
    {},
    h("td", { class: "fit" }, attemptPill(attempt)),
    h("td", {}, h("div", {}, opener), h("div", { class: "under" }, details)),
    h("td", { class: "wide number" }, duration(attempt.durationMs)),
    h("td", { class: "middle fit end" }, time(attempt.timestamp)),
  );
}

/** The address of an attempt: the page of its event, with the attempt open. */
export function attemptAddress(attempt) {
  return `#/events/${encodeURIComponent(attempt.eventId)}?attempt=${encodeURIComponent(attempt.id)}`;
}

/** One attempt in a side panel: the request, the response, and what happens next. */
export function showAttempt(app, attempt, endpoint, changed = () => {}) {
  const describe = h("p", { class: "dialog-note" }, attemptPill(attempt), h("span", {}, "Attempt ", attempt.number, " · "), time(attempt.timestamp));
  const closer = new AbortController();
  const dialog = open(attempt.eventType, { className: "sheet", describe });
  dialog.addEventListener("close", () => closer.abort());
  const view = { signal: closer.signal };
  const go = linkButton("Open event", `#/events/${encodeURIComponent(attempt.eventId)}`, { small: true });
  go.addEventListener("click", () => dialog.close());
  const again = () => resendAndShow(app, attempt, endpoint, closer.signal, () => {
    dialog.close();
    changed();
  });
  const resendButton = app.write && endpoint && !endpoint.disabled && button("Resend", { small: true, glyph: "send", action: again });
  const request = loader(app, view, {
    rows: 2,
    fetch: () => app.api.get(path`events/${attempt.eventId}`, {}, view.signal).catch((error) => (error.status === 404 ? null : Promise.reject(error))),
    render: (event) =>
      event ? codeBlock(event.payload, { label: "Request body" }) : h("p", { class: "note" }, "This event is no longer stored."),
  });
  dialog.body.append(
    h("div", { class: "actions" }, resendButton, go),
    attempt.error ? notice("bad", h("strong", {}, "No response. "), attempt.error) : "",
    outcome(attempt),
    h("h3", {}, "Response"),
    h("div", { class: "exchange" }, response(attempt)),
    h("h3", {}, "Request"),
    h("div", { class: "exchange" }, requestHead(app, attempt, endpoint), request),
  );
}

/** Deliver the event of a delivery or an attempt again, and show the attempt. `done` is called when it was made. */
export async function resendAndShow(app, { eventId, endpointId }, endpoint, signal, done) {
  const made = await resend(app, eventId, endpointId, signal);
  done();
  if (made) showAttempt(app, made, endpoint, done);
  else toast("Queued for delivery. No response yet: the attempt will appear in the list.");
}

function outcome(attempt) {
  const made = facts(
    ["Event", h("span", { class: "mono break" }, attempt.eventId), copyButton(attempt.eventId, "Copy event id")],
    ["Status", attempt.statusCode ? `HTTP ${attempt.statusCode}` : "No response"],
    ["Duration", duration(attempt.durationMs)],
    ["Trigger", TRIGGERS[attempt.trigger] ?? attempt.trigger],
    ["Next attempt", attempt.nextAttemptAt ? [time(attempt.nextAttemptAt), h("span", { class: "faint" }, " (", due(attempt.nextAttemptAt), ")")] : "None"],
  );
  made.classList.add("pairs");
  return made;
}

/** A card with the attempts of an endpoint. */
export function attemptCard(app, view, endpoint, { early, actions }) {
  const { tools, list } = attemptLog(app, view, endpoint, early);
  return { element: card("Deliveries", { actions }, tools, list), shown: list.shown, reload: () => list.reload() };
}
