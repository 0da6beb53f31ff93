// Sending a test event, and showing the result.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { open } from "./dialogs.js";
import { requestHead, response, waitFor } from "./exchange.js";
import { field, typeSelect } from "./forms.js";
import { duration } from "./format.js";
import { attemptPill } from "./attempts.js";
import { button, busy, codeBlock, notice } from "./ui.js";
import { urlText } from "./urls.js";

const PING = "test.ping";

/** The dialog that sends a test event to one endpoint. `changed` is called after an attempt was made. */
export function sendTest(app, endpoint, catalog, changed = () => {}) {
  const exampleOf = (name) => JSON.stringify(catalog.find((type) => type.name === name)?.example ?? {}, null, 2);
  const first = catalog.some((type) => type.name === PING) ? PING : catalog[0]?.name;
  const data = h("textarea", { class: "input mono", rows: 7, spellcheck: "false", value: exampleOf(first) });
  const type = typeSelect("Event type", catalog, first, (name) => (data.value = exampleOf(name)), "Choose…");
  type.removeAttribute("aria-label");
  const result = h("div", { class: "test-result", "aria-live": "polite" });
  const send = h("button", { type: "submit", class: "button primary" }, h("span", {}, "Send test event"));
  const form = h(
    "form",
    {},
    field("Event type", type),
    field("Data", data, { hint: "JSON, initially the example from the catalog." }),
    h("div", { class: "dialog-foot" }, send),
  );
  const stop = new AbortController();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(send, async () => {
      const body = { eventType: type.value || PING };
      try {
        body.data = JSON.parse(data.value || "{}");
      } catch (error) {
        fill(result, notice("bad", `Invalid JSON: ${error.message}`));
        return;
      }
      fill(result, waiting("Sending…"));
      try {
        const sent = await app.api.post(path`endpoints/${endpoint.id}/test`, body, stop.signal);
        fill(result, waiting("Sent. Waiting for your endpoint to answer…"));
        await follow(app, endpoint, sent, result, stop.signal);
        changed();
      } catch (error) {
        if (error.name !== "AbortError") fill(result, notice("bad", error.message));
      }
    });
  });
  const describe = h("p", { class: "dialog-note" }, urlText(endpoint.url));
  const made = open("Send a test event", { describe }, form, result);
  made.addEventListener("close", () => stop.abort());
}

const waiting = (text) => h("p", { class: "waiting" }, h("span", { class: "spinner", "aria-hidden": "true" }), text);

async function follow(app, endpoint, sent, place, signal) {
  const attempt = await waitFor(app, sent.id, (one) => one.endpointId === endpoint.id, signal);
  fill(place, attempt ? outcome(app, endpoint, sent, attempt) : notice("warn", "No response yet. The attempt will appear in the list of deliveries."));
}

function outcome(app, endpoint, sent, attempt) {
  const good = attempt.status === "success";
  const words = good ? "Your endpoint accepted the event." : attempt.error || `Your endpoint answered ${attempt.statusCode}. Only 2xx counts as success.`;
  const request = h("div", { class: "exchange" }, requestHead(app, attempt, endpoint), codeBlock(sent.payload, { label: "Request body" }));
  return h(
    "div",
    {},
    notice(good ? "good" : "bad", h("strong", {}, good ? "Delivered. " : "Not delivered. "), words),
    h("p", { class: "dialog-note" }, attemptPill(attempt), ` in ${duration(attempt.durationMs)}`),
    h("div", { class: "exchange" }, attempt.statusCode ? response(attempt) : null),
    h("details", { class: "rest" }, h("summary", {}, "The request"), request),
  );
}

/** A button that opens the dialog. */
export function testButton(app, endpoint, changed, { label = "Send test", ...options } = {}) {
  const action = async (made) => {
    const catalog = await app.catalog();
    // The page may have been left meanwhile.
    if (made.isConnected) sendTest(app, endpoint, catalog, changed);
  };
  return button(label, { glyph: "send", action, ...options });
}
