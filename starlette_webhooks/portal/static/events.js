// The list of events, and one event with its deliveries.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { attemptAddress, attemptPill, showAttempt } from "./attempts.js";
import { periodFilter, periodQuery, typeSelect } from "./forms.js";
import { ago, count, duration, size, time } from "./format.js";
import { icon } from "./icons.js";
import { loader, pagedTable, table } from "./lists.js";
import { button, card, codeBlock, copyButton, empty, linkButton, pill, rowId, rowLink, toast } from "./ui.js";
import { urlText } from "./urls.js";

const FILTERS = ["type", "channel", "period", "from", "to"];

export async function eventsPage(app, view) {
  view.title("Events", { text: "Everything that happened, whether it was delivered or not.", actions: linkButton("Watch live", "#/live", { glyph: "live" }) });
  const filters = Object.fromEntries(FILTERS.map((name) => [name, view.query.get(name) ?? ""]));
  const change = (changes) => {
    Object.assign(filters, changes);
    view.setQuery(filters);
    list.reload();
  };
  const fetch = async (cursor) => {
    const query = { event_type: filters.type, channel: filters.channel, limit: 50, cursor, ...periodQuery(filters) };
    const page = await app.api.get("events", query, view.signal);
    return { ...page, items: page.events };
  };
  const blank = () =>
    Object.values(filters).some(Boolean)
      ? empty({ glyph: "search", title: "No matches", text: "No events match these filters." })
      : empty({ glyph: "events", title: "No events yet", text: "Events appear here as soon as they happen.", action: linkButton("Getting started", "#/start") });
  const list = pagedTable(app, view, { label: "Events", head: [["Event", ""], ["Id", "wide"], ["Time", "middle end"], ["", "wide"]], fetch, row: eventRow, blank });
  const types = h("span", { class: "slot" }, typeSelect("Event type", [], "", () => {}));
  app.catalog().then((catalog) => fill(types, typeSelect("Event type", catalog, filters.type, (type) => change({ type })))).catch(() => {});
  const channel = h("input", { class: "input", type: "search", placeholder: "Any channel", "aria-label": "Channel", value: filters.channel });
  channel.addEventListener("change", () => change({ channel: channel.value.trim() }));
  const reload = button("Refresh", { small: true, kind: "ghost", glyph: "rotate", action: () => list.reload() });
  view.root.append(h("div", { class: "filters" }, types, channel, periodFilter(filters, change), reload), h("div", { class: "card flush" }, list));
}

function eventRow(event) {
  const link = rowLink(`#/events/${encodeURIComponent(event.id)}`, { className: "strong" }, event.eventType);
  return h(
    "tr",
    {},
    h("td", { class: "grow" }, h("div", {}, link), h("div", { class: "under preview" }, preview(event.payload?.data)), h("div", { class: "under small-only" }, time(event.timestamp))),
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

export async function eventPage(app, view) {
  view.back("Events", "#/events");
  view.title("Event");
  const id = view.params[0];
  view.root.append(
    loader(app, view, {
      rows: 8,
      fetch: () => app.api.get(path`events/${id}`, {}, view.signal),
      render: (event) => {
        view.title(event.eventType, { badge: time(event.timestamp), text: [h("span", { class: "mono break" }, event.id), copyButton(event.id, "Copy event id")] });
        return h("div", { class: "columns even" }, card("Payload", {}, codeBlock(event.payload, { label: "Payload", title: `JSON · ${size(JSON.stringify(event.payload))}` })), deliveries(app, view, event));
      },
    }),
  );
}

function deliveries(app, view, event) {
  let wanted = view.query.get("attempt");
  const place = loader(app, view, {
    fetch: () => Promise.all([everyAttempt(app, event, view.signal), app.endpoints(view.signal)]),
    render: ([attempts, endpoints]) => {
      const known = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
      const tried = group(attempts);
      // The address of an attempt opens it, once.
      const asked = attempts.find((attempt) => attempt.id === wanted);
      wanted = null;
      if (asked) showAttempt(app, asked, known.get(asked.endpointId), () => place.reload());
      const shown = [...tried].map(([id, list]) => delivery(app, event, known.get(id), list, place.reload));
      const others = endpoints.filter((endpoint) => !tried.has(endpoint.id));
      if (shown.length === 0) shown.push(h("p", { class: "note" }, "This event was not delivered to any endpoint."));
      return [shown, others.length > 0 && rest(app, event, others, place.reload)];
    },
  });
  return card("Deliveries", { actions: button("Refresh", { small: true, kind: "ghost", glyph: "rotate", action: () => place.reload() }) }, place);
}

async function everyAttempt(app, event, signal) {
  const attempts = [];
  let cursor = null;
  do {
    const page = await app.api.get(path`events/${event.id}/attempts`, { limit: 250, cursor }, signal);
    attempts.push(...page.attempts);
    cursor = page.done ? null : page.nextCursor;
  } while (cursor && attempts.length < 1000);
  return attempts;
}

function group(attempts) {
  const groups = new Map();
  for (const attempt of attempts) groups.set(attempt.endpointId, [...(groups.get(attempt.endpointId) ?? []), attempt]);
  return groups;
}

function resendButton(app, event, id, label, changed) {
  return button(label, {
    small: true,
    glyph: "send",
    action: async () => {
      await app.api.post(path`events/${event.id}/endpoints/${id}/resend`);
      toast("Queued for delivery. The result will appear in a moment.");
      setTimeout(changed, 1200);
    },
  });
}

function delivery(app, event, endpoint, attempts, changed) {
  const last = attempts[0];
  const waits = last.status === "fail" && last.nextAttemptAt;
  const state = last.status === "success" ? pill("good", "Delivered") : waits ? pill("warn", "Retrying") : pill("bad", "Failed");
  const row = (attempt) =>
    h(
      "tr",
      {},
      h("td", { class: "fit" }, rowLink(attemptAddress(attempt), { show: () => showAttempt(app, attempt, endpoint, changed) }, h("span", { class: "visually-hidden" }, "Attempt "), `#${attempt.number}`)),
      h("td", { class: "fit" }, attemptPill(attempt)),
      h("td", { class: "wide number" }, duration(attempt.durationMs)),
      h("td", { class: "fit end" }, time(attempt.timestamp)),
    );
  return h(
    "article",
    { class: "delivery" },
    h("div", { class: "delivery-head" }, h("div", {}, h("h3", {}, urlText(endpoint?.url ?? last.url)), h("p", { class: "under" }, state, count(attempts.length, "attempt"), waits && [" · next ", ago(last.nextAttemptAt)])), app.write && endpoint && !endpoint.disabled && resendButton(app, event, endpoint.id, "Resend", changed)),
    table("Attempts", [["Number", ""], ["Result", ""], ["Duration", "wide number"], ["Time", "end"]], h("tbody", {}, attempts.map(row))),
  );
}

function rest(app, event, endpoints, changed) {
  const rows = endpoints.map((endpoint) => h("li", {}, urlText(endpoint.url), app.write && !endpoint.disabled && resendButton(app, event, endpoint.id, "Send", changed)));
  return h("details", { class: "rest" }, h("summary", {}, `${count(endpoints.length, "endpoint")} without an attempt`), h("ul", {}, rows));
}
