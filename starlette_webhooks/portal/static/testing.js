// Sending a test event, and showing the result.

import { fill, h } from "./dom.js";
import { path } from "./api.js";
import { open } from "./dialogs.js";
import { field, typeSelect } from "./forms.js";
import { duration } from "./format.js";
import { attemptPill } from "./attempts.js";
import { button, busy, codeBlock, notice } from "./ui.js";
import { urlText } from "./urls.js";

const PATIENCE = 25_000;
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
        await follow(app, endpoint, sent.id, result, stop.signal);
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

async function follow(app, endpoint, id, place, signal) {
  const end = Date.now() + PATIENCE;
  while (Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 400));
    signal.throwIfAborted();
    const page = await app.api.get(path`events/${id}/attempts`, { limit: 10 }, signal);
    const attempt = page.attempts.find((one) => one.endpointId === endpoint.id);
    if (attempt) return void fill(place, outcome(attempt));
  }
  fill(place, notice("warn", "No response yet. The attempt will appear in the list of deliveries."));
}

function outcome(attempt) {
  const good = attempt.status === "success";
  const words = good ? "Your endpoint accepted the event." : attempt.error || `Your endpoint answered ${attempt.statusCode}. Only 2xx counts as success.`;
  return h(
    "div",
    {},
    notice(good ? "good" : "bad", h("strong", {}, good ? "Delivered. " : "Not delivered. "), words),
    h("p", { class: "dialog-note" }, attemptPill(attempt), ` in ${duration(attempt.durationMs)}`),
    attempt.response ? codeBlock(attempt.response, { language: "text", label: "Response body" }) : null,
  );
}

/** A button that opens the dialog. */
export function testButton(app, endpoint, catalog, changed, { label = "Send test", ...options } = {}) {
  return button(label, { glyph: "send", action: () => sendTest(app, endpoint, catalog, changed), ...options });
}
