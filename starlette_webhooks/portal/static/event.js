// One event, with its delivery to each endpoint.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { attemptAddress, attemptPill, resendAndShow, showAttempt } from "./attempts.js";
import { count, duration, size, time } from "./format.js";
import { readDeliveries } from "./event_deliveries.js";
import { inParts, loader, table } from "./lists.js";
import { deliveryState, reasonOf } from "./states.js";
import { button, card, codeBlock, copyButton, failure, rowLink, toast } from "./ui.js";
import { urlText } from "./urls.js";

const ORDER = ["exhausted", "failing", "waiting", "delivered"];

export async function eventPage(app, view) {
  view.back("Events", "#/events");
  view.title("Event");
  const id = view.params[0];
  // Read beside the event itself. If that fails, its own error is shown.
  const early = readDeliveries(app, id, view.signal);
  early.catch(() => {});
  view.root.append(
    loader(app, view, {
      rows: 8,
      fetch: () => app.api.get(path`events/${id}`, {}, view.signal),
      render: (event) => {
        view.title(event.eventType, { badge: time(event.timestamp), text: [h("span", { class: "mono break" }, event.id), copyButton(event.id, "Copy event id")] });
        return h("div", { class: "columns even" }, card("Payload", {}, codeBlock(event.payload, { label: "Payload", title: `JSON · ${size(JSON.stringify(event.payload))}` })), deliveries(app, view, event, early));
      },
    }),
  );
}

function deliveries(app, view, event, early) {
  let wanted = view.query.get("attempt");
  let started = early;
  const place = loader(app, view, {
    fetch: () => {
      const found = started ?? readDeliveries(app, event.id, view.signal);
      started = null;
      return found;
    },
    render: ({ deliveries: first, rest, tried }) => {
      const show = (attempt) => showAttemptOf(app, attempt, view.signal, place.reload);
      // The address of an attempt opens it, once.
      tried.onAdd((attempts) => {
        const asked = attempts.find((attempt) => attempt.id === wanted);
        if (!asked) return;
        wanted = null;
        show(asked);
      });
      const row = (delivery) => article(app, view, event, delivery, tried, show, place.reload);
      const unsent = (all) => notSent(app, view, event, all.filter(({ state }) => state === "unsent"), place.reload);
      const everything = (all) => [sent(all, row) ?? h("p", { class: "note" }, "This event was not delivered to any endpoint."), unsent(all)];
      if (rest === null) return everything(first);
      const shown = h("div", {}, sent(first, row), h("p", { class: "note" }, "Reading the other endpoints…"));
      rest.then((all) => fill(shown, everything(all))).catch((error) => error.name !== "AbortError" && fill(shown, failure(error, place.reload)));
      return shown;
    },
  });
  return card("Deliveries", { actions: button("Refresh", { small: true, kind: "ghost", glyph: "rotate", action: () => place.reload() }) }, place);
}

function sent(all, row) {
  const made = all.filter(({ state }) => state !== "unsent").sort((one, other) => ORDER.indexOf(one.state) - ORDER.indexOf(other.state));
  return made.length > 0 ? inParts("div", made, row) : null;
}

/** Show an attempt with its endpoint, which may have been deleted. */
async function showAttemptOf(app, attempt, signal, changed) {
  try {
    const found = await app.api.get(path`endpoints/${attempt.endpointId}`, {}, signal).catch((error) => (error.status === 404 ? null : Promise.reject(error)));
    showAttempt(app, attempt, found, changed);
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, "bad");
  }
}

function resendButton(app, view, event, delivery, label, changed) {
  if (!app.write || delivery.endpointDisabled || delivery.deleted) return null;
  const { endpointId, url } = delivery;
  const resent = { eventId: event.id, endpointId };
  return button(label, { small: true, glyph: "send", action: () => resendAndShow(app, resent, { id: endpointId, url, disabled: false }, view.signal, changed) });
}

function article(app, view, event, delivery, tried, show, changed) {
  const [state, words] = deliveryState(delivery);
  const row = (attempt) =>
    h(
      "tr",
      {},
      h("td", { class: "fit" }, rowLink(attemptAddress(attempt), { show: () => show(attempt) }, h("span", { class: "visually-hidden" }, "Attempt "), `#${attempt.number}`)),
      h("td", { class: "fit" }, attemptPill(attempt)),
      h("td", { class: "wide number" }, duration(attempt.durationMs)),
      h("td", { class: "fit end" }, time(attempt.timestamp)),
    );
  const head = [["Number", ""], ["Result", ""], ["Duration", "wide number"], ["Time", "end"]];
  const made = h(
    "article",
    { class: "delivery" },
    h("div", { class: "delivery-head" }, h("div", {}, h("h3", {}, urlText(delivery.url)), h("p", { class: "under" }, state, h("span", {}, words))), resendButton(app, view, event, delivery, "Resend", changed)),
  );
  tried.show(delivery.endpointId, (attempts) => {
    made.querySelector("table")?.remove();
    if (attempts.length > 0) made.append(table("Attempts", head, h("tbody", {}, attempts.map(row))));
  });
  return made;
}

function notSent(app, view, event, deliveries, changed) {
  if (deliveries.length === 0) return null;
  const row = (delivery) => h("li", {}, h("div", {}, urlText(delivery.url), h("div", { class: "under" }, reasonOf(delivery))), resendButton(app, view, event, delivery, "Send", changed));
  const made = h("details", { class: "rest" }, h("summary", {}, `Not sent to ${count(deliveries.length, "endpoint")}`));
  made.addEventListener("toggle", () => made.append(...inParts("ul", deliveries, row)), { once: true });
  return made;
}
