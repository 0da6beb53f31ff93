// One event, with its delivery to each endpoint.

import { h } from "./dom.js";
import { path } from "./api.js";
import { attemptAddress, attemptPill, resendAndShow, showAttempt } from "./attempts.js";
import { count, duration, size, time } from "./format.js";
import { inParts, loader, table, unlessNotSupported } from "./lists.js";
import { deliveryState, reasonOf } from "./states.js";
import { button, card, codeBlock, copyButton, rowLink } from "./ui.js";
import { urlText } from "./urls.js";

const MOST_ATTEMPTS = 1000;
const ORDER = ["exhausted", "failing", "waiting", "delivered"];

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
    fetch: () => Promise.all([everyAttempt(app, event, view.signal), app.endpoints(view.signal), everyDelivery(app, event, view.signal)]),
    render: ([attempts, endpoints, known]) => {
      const found = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
      const tried = group(attempts);
      // The address of an attempt opens it, once.
      const asked = attempts.find((attempt) => attempt.id === wanted);
      wanted = null;
      if (asked) showAttempt(app, asked, found.get(asked.endpointId), () => place.reload());
      const all = known ?? guessed(endpoints, tried);
      const made = all.filter(({ state }) => state !== "unsent").sort((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state));
      const row = (delivery) => article(app, view, event, delivery, found.get(delivery.endpointId), tried.get(delivery.endpointId) ?? [], place.reload);
      const shown = made.length > 0 ? inParts("div", made, row) : h("p", { class: "note" }, "This event was not delivered to any endpoint.");
      return [shown, rest(app, view, event, all.filter(({ state }) => state === "unsent"), found, place.reload)];
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
  } while (cursor && attempts.length < MOST_ATTEMPTS);
  return attempts;
}

/** The delivery to each endpoint, or null if the server does not list deliveries. */
async function everyDelivery(app, event, signal) {
  const found = [];
  let cursor = null;
  do {
    const page = await unlessNotSupported(app.api.get(path`events/${event.id}/deliveries`, { limit: 250, cursor }, signal));
    if (page === null) return null;
    found.push(...page.deliveries);
    cursor = page.done ? null : page.nextCursor;
  } while (cursor);
  return found;
}

function group(attempts) {
  const groups = new Map();
  for (const attempt of attempts) groups.set(attempt.endpointId, [...(groups.get(attempt.endpointId) ?? []), attempt]);
  return groups;
}

/** The deliveries that attempts show, for servers that do not list deliveries. */
function guessed(endpoints, tried) {
  const known = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
  const stateOf = ([last]) => (last.status === "success" ? "delivered" : last.nextAttemptAt ? "failing" : "exhausted");
  const made = [...tried].map(([endpointId, attempts]) => ({
    endpointId,
    url: known.get(endpointId)?.url ?? attempts[0].url,
    state: stateOf(attempts),
    attempts: attempts.length,
    nextAttemptAt: attempts[0].nextAttemptAt,
    endpointDisabled: known.get(endpointId)?.disabled ?? false,
  }));
  const others = endpoints.filter((endpoint) => !tried.has(endpoint.id));
  return [...made, ...others.map((endpoint) => ({ endpointId: endpoint.id, url: endpoint.url, state: "unsent", endpointDisabled: endpoint.disabled }))];
}

function resendButton(app, view, event, endpoint, label, changed) {
  const delivery = { eventId: event.id, endpointId: endpoint.id };
  return button(label, { small: true, glyph: "send", action: () => resendAndShow(app, delivery, endpoint, view.signal, changed) });
}

function article(app, view, event, delivery, endpoint, attempts, changed) {
  const [state, words] = deliveryState(delivery);
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
    h("div", { class: "delivery-head" }, h("div", {}, h("h3", {}, urlText(delivery.url)), h("p", { class: "under" }, state, h("span", {}, words))), app.write && endpoint && !endpoint.disabled && resendButton(app, view, event, endpoint, "Resend", changed)),
    attempts.length > 0 && table("Attempts", [["Number", ""], ["Result", ""], ["Duration", "wide number"], ["Time", "end"]], h("tbody", {}, attempts.map(row))),
  );
}

function rest(app, view, event, deliveries, endpoints, changed) {
  if (deliveries.length === 0) return null;
  const row = (delivery) => {
    const endpoint = endpoints.get(delivery.endpointId);
    const send = app.write && endpoint && !endpoint.disabled && resendButton(app, view, event, endpoint, "Send", changed);
    return h("li", {}, h("div", {}, urlText(delivery.url), h("div", { class: "under" }, reasonOf(delivery))), send);
  };
  const made = h("details", { class: "rest" }, h("summary", {}, `Not sent to ${count(deliveries.length, "endpoint")}`));
  made.addEventListener("toggle", () => made.append(...inParts("ul", deliveries, row)), { once: true });
  return made;
}
